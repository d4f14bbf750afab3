-- migrate:up

set local role chainworkd_indexer;

alter table chain.chain add column events_only boolean not null default false;
comment on column chain.chain.events_only is 'Of the contracts in `watched` only the events are stored, and no transactions.';

create table chain.event_transaction (
    chain_id bigint not null,
    block_number bigint not null,
    tx_index integer not null,
    hash bytea not null,
    primary key (chain_id, block_number, tx_index)
) partition by range (block_number);
comment on table chain.event_transaction is 'Which transactions emitted the stored events, where transactions are not stored.';

create or replace function chain.ensure_partitions(first bigint, last bigint) returns integer
language plpgsql as $$
declare
    width constant bigint := 1000000;
    parent text;
    part text;
    made integer := 0;
begin
    for slot in first / width .. last / width loop
        foreach parent in array array['block', 'transaction', 'log', 'token_transfer', 'event_transaction'] loop
            part := format('%s_p%s', parent, lpad(slot::text, 8, '0'));
            continue when to_regclass(format('chain.%I', part)) is not null;
            perform pg_advisory_xact_lock(hashtext('chain.ensure_partitions'));
            -- Another connection may have made it while we waited. to_regclass would not tell: it answers from a cache
            -- that an advisory lock does not refresh.
            continue when exists (
                select from pg_catalog.pg_class c
                where c.relname = part and c.relnamespace = 'chain'::regnamespace
            );
            execute format('create table chain.%I (like chain.%I including all)', part, parent);
            execute format('alter table chain.%I attach partition chain.%I for values from (%s) to (%s)',
                           parent, part, slot * width, (slot + 1) * width);
            made := made + 1;
        end loop;
    end loop;
    return made;
end
$$;

select chain.ensure_partitions(lower(blocks), upper(blocks) - 1) from chain.coverage;

reset role;

-- migrate:down

set local role chainworkd_indexer;
drop table chain.event_transaction;
alter table chain.chain drop column events_only;

create or replace function chain.ensure_partitions(first bigint, last bigint) returns integer
language plpgsql as $$
declare
    width constant bigint := 1000000;
    parent text;
    part text;
    made integer := 0;
begin
    for slot in first / width .. last / width loop
        foreach parent in array array['block', 'transaction', 'log', 'token_transfer'] loop
            part := format('%s_p%s', parent, lpad(slot::text, 8, '0'));
            continue when to_regclass(format('chain.%I', part)) is not null;
            perform pg_advisory_xact_lock(hashtext('chain.ensure_partitions'));
            continue when exists (
                select from pg_catalog.pg_class c
                where c.relname = part and c.relnamespace = 'chain'::regnamespace
            );
            execute format('create table chain.%I (like chain.%I including all)', part, parent);
            execute format('alter table chain.%I attach partition chain.%I for values from (%s) to (%s)',
                           parent, part, slot * width, (slot + 1) * width);
            made := made + 1;
        end loop;
    end loop;
    return made;
end
$$;
reset role;
