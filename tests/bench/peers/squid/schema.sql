create table block (
    id text primary key,
    number integer not null,
    hash text not null,
    parent_hash text not null,
    timestamp timestamptz not null
);

create table transfer (
    id text primary key,
    block_number integer not null,
    log_index integer not null,
    tx_hash text not null,
    token text not null,
    sender text not null,
    recipient text not null,
    amount numeric not null
);
