-- migrate:up

set local role chainworkd_indexer;

create table chain.token_seen (
    chain_id bigint not null,
    address bytea not null,
    standard smallint not null,
    first_block bigint not null,
    read_at timestamptz,
    primary key (chain_id, address)
);
comment on table chain.token_seen is 'Contracts whose transfers were stored; read_at null waits for its metadata.';
create index token_seen_unread on chain.token_seen (chain_id, first_block) where read_at is null;

create table chain.token (
    chain_id bigint not null,
    address bytea not null,
    block_number bigint not null,
    block_hash bytea not null,
    symbol text,
    name text,
    decimals smallint,
    read_at timestamptz not null,
    primary key (chain_id, address, block_number)
);
create index token_by_block on chain.token (chain_id, block_number);
comment on table chain.token is 'What a token said of itself at a block; a change adds a version.';
comment on column chain.token.decimals is 'Null where the contract has none, or one that no amount can have (over 77).';

reset role;

-- migrate:down

drop table chain.token;
drop table chain.token_seen;
