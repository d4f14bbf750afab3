-- migrate:up

set local role chainworkd_indexer;

create table chain.log (
    chain_id bigint not null,
    block_number bigint not null,
    log_index integer not null,
    tx_index integer not null,
    address bytea not null,
    topic0 bytea,
    topic1 bytea,
    topic2 bytea,
    topic3 bytea,
    data bytea not null,
    primary key (chain_id, block_number, log_index)
) partition by range (block_number);
comment on table chain.log is 'Raw logs that settings or a watcher want kept (indexer/decode/logs.py); not all of them.';

create table chain.token_transfer (
    chain_id bigint not null,
    block_number bigint not null,
    log_index integer not null,
    position integer not null,
    tx_index integer not null,
    standard smallint not null,
    token bytea not null,
    sender bytea not null,
    recipient bytea not null,
    amount chain.uint256 not null,
    token_id chain.uint256,
    primary key (chain_id, block_number, log_index, position)
) partition by range (block_number);
comment on column chain.token_transfer.position is 'Place within the log: an ERC-1155 batch moves several tokens.';
comment on column chain.token_transfer.standard is '20, 721 or 1155: the number of the ERC whose event it was.';
comment on column chain.token_transfer.amount is 'Base units of the token; 1 for ERC-721.';

comment on column chain.address_transaction.roles is
    'Bitmask: 1 from, 2 to, 4 created, 8 sent tokens, 16 received tokens (core/store/copy.py).';

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

-- Ranges that hold blocks from before this migration need the new tables' partitions as well.
select chain.ensure_partitions(lower(blocks), upper(blocks) - 1) from chain.coverage;

reset role;

-- migrate:down

drop table chain.token_transfer;
drop table chain.log;
