-- migrate:up

set local role chainworkd_indexer;

create table chain.lease (
    chain_id bigint not null,
    blocks int8range not null check (not isempty(blocks) and not lower_inf(blocks) and not upper_inf(blocks)),
    token uuid not null,
    holder text not null,
    expires_at timestamptz not null,
    primary key (chain_id, token),
    constraint lease_disjoint exclude using gist (int8range(chain_id, chain_id, '[]') with &&, blocks with &&)
);
comment on table chain.lease is 'Ranges of history that a process is filling: others leave them alone until they expire.';
comment on column chain.lease.token is 'Named in every transaction that stores rows of the range: who lost the lease stores nothing.';

reset role;

-- migrate:down

drop table chain.lease;
