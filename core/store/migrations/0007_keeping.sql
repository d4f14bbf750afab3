-- migrate:up

set local role chainworkd_indexer;

alter table chain.chain add column backfill_paused text;
comment on column chain.chain.backfill_paused is 'Why backfill waits: too little room on the disk. Null while it works.';

alter table chain.chain add column watched bytea[];
comment on column chain.chain.watched is 'Addresses whose transactions alone are stored, ascending. Null: all transactions are.';
alter table chain.block add column stored_tx_count integer;
comment on column chain.block.stored_tx_count is 'How many of tx_count transactions are stored. Null: all.';
alter table chain.orphan_block add column stored_tx_count integer;

-- One at a time, parent first: readers hold a parent before its partitions, and several parents.
create function chain.drop_empty_partition(below bigint) returns text
language plpgsql as $$
declare
    width constant bigint := 1000000;
    part record;
    filled boolean;
begin
    for part in
        select child.relname as name, parent.relname as parent, right(child.relname, 8)::bigint as slot
        from pg_catalog.pg_inherits link
        join pg_catalog.pg_class child on child.oid = link.inhrelid
        join pg_catalog.pg_class parent on parent.oid = link.inhparent
        where parent.relnamespace = 'chain'::regnamespace and parent.relkind = 'p' and child.relkind = 'r'
            and child.relname ~ '_p[0-9]{8}$'
        order by slot, parent
    loop
        continue when (part.slot + 1) * width > below;
        -- Other chains of this database share the partitions.
        continue when exists (
            select from chain.coverage where blocks && int8range(part.slot * width, (part.slot + 1) * width));
        execute format('select exists (select from chain.%I)', part.name) into filled;
        continue when filled;
        execute format('lock table only chain.%I in access exclusive mode', part.parent);
        execute format('lock table chain.%I in access exclusive mode', part.name);
        execute format('select exists (select from chain.%I)', part.name) into filled;
        continue when filled;
        execute format('drop table chain.%I', part.name);
        return part.name;
    end loop;
    return null;
end
$$;

reset role;

-- migrate:down

drop function chain.drop_empty_partition(bigint);
alter table chain.orphan_block drop column stored_tx_count;
alter table chain.block drop column stored_tx_count;
alter table chain.chain drop column watched;
alter table chain.chain drop column backfill_paused;
