-- migrate:up

set local role chainworkd_indexer;

create table chain.endpoint (
    chain_id bigint not null,
    url_hash bytea not null check (octet_length(url_hash) = 32),
    request_window double precision,
    calls_per_s double precision,
    batch_calls integer,
    log_blocks integer,
    block_receipts boolean,
    learned_at timestamptz not null,
    primary key (chain_id, url_hash)
);
comment on table chain.endpoint is
    'What nodes bear, learned from how they answered: where a new process starts. Null: not known. Nothing depends on it.';
comment on column chain.endpoint.url_hash is 'SHA-256 of the URL, which may hold a key.';

reset role;

-- migrate:down

drop table chain.endpoint;
