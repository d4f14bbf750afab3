-- migrate:up

set local role chainworkd_indexer;

create table chain.deposit_count (
    chain_id bigint not null,
    width integer not null,
    first_block bigint not null,
    vault bytea not null,
    resolver bytea not null,
    token bytea not null,
    deposits integer not null,
    worth integer not null,
    amount numeric not null,
    primary key (chain_id, width, first_block, vault, resolver, token)
);
comment on table chain.deposit_count is
    'Deposits of vault_event in a segment, by vault, resolver and token: all that deposit_seal says are there, each exact (core/store/deposit_counts.py).';
comment on column chain.deposit_count.width is 'Blocks of the segment, which begins at first_block, a multiple of it.';
comment on column chain.deposit_count.resolver is 'Empty for deposits that name none.';
comment on column chain.deposit_count.deposits is 'All of them, whatever they are worth.';
comment on column chain.deposit_count.worth is 'Those of the current generation with an amount; amount is the sum of these.';
-- A resolver among very many has few rows: its totals must not read those of all others.
create index deposit_count_by_resolver on chain.deposit_count (chain_id, resolver, width, first_block);

create table chain.deposit_seal (
    chain_id bigint not null,
    width integer not null,
    blocks int8multirange not null,
    primary key (chain_id, width)
);
comment on table chain.deposit_seal is
    'Blocks whose deposits are counted in segments of this width. Taken away in the transaction that adds a deposit there or takes one away.';

reset role;

-- migrate:down

drop table chain.deposit_seal;
drop table chain.deposit_count;
