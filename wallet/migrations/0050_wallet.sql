-- migrate:up

set local role chainworkd_indexer;
grant usage on schema chain to chainworkd_sender;
-- Blocks that were orphaned after they had been called finalized stop what spends money.
grant select on chain.alarm to chainworkd_sender;
reset role;

create schema wallet;
grant usage on schema wallet to chainworkd_sender, chainworkd_worker, chainworkd_api;

create table wallet.intent (
    intent_id uuid primary key,
    chain_id bigint not null,
    wallet bytea not null check (octet_length(wallet) = 20),
    owner text not null,
    kind text not null,
    target bytea not null check (octet_length(target) = 20),
    data bytea not null,
    value chain.uint256 not null,
    priority smallint not null check (priority between 1 and 5),
    deadline timestamptz not null,
    queued_at timestamptz not null default now(),
    cancel_at timestamptz,
    cancel_by text,
    cancel_because text,
    state text not null default 'queued'
        check (state in ('queued', 'pending', 'mined', 'settled', 'dropped', 'rehearsed', 'lost')),
    nonce bigint,
    outcome text check (outcome in ('done', 'reverted', 'cancelled')),
    note text not null default '',
    changed_at timestamptz not null default now(),
    reopened integer not null default 0,
    check ((state in ('pending', 'mined', 'settled', 'lost')) = (nonce is not null)),
    check ((state in ('mined', 'settled')) = (outcome is not null)),
    unique (chain_id, wallet, nonce)
);
create index intent_open on wallet.intent (chain_id, wallet, priority, queued_at)
    where state in ('queued', 'pending', 'mined');
create index intent_queued_at on wallet.intent (queued_at);
comment on table wallet.intent is 'What features mean to send. They insert and read; the sender alone moves the state (docs/sending.md).';
comment on column wallet.intent.note is 'Why it is where it is, for people.';
comment on column wallet.intent.reopened is 'How often a reorg took it out of a block.';

create table wallet.attempt (
    tx_hash bytea primary key check (octet_length(tx_hash) = 32),
    intent_id uuid not null,
    place integer not null,
    kind text not null check (kind in ('send', 'cancel')),
    raw bytea not null,
    gas bigint not null,
    fee_cap chain.uint256 not null,
    tip_cap chain.uint256 not null,
    head_number bigint not null,
    signed_at timestamptz not null,
    note text not null default '',
    unique (intent_id, place)
);
comment on table wallet.attempt is 'Signed transactions, committed before a node sees them; all of one intent have its nonce.';
comment on column wallet.attempt.note is 'What the node said to the last broadcast.';

create table wallet.receipt (
    tx_hash bytea primary key,
    intent_id uuid not null unique,
    block_number bigint not null,
    block_hash bytea not null,
    ok boolean not null,
    gas_used bigint not null,
    fee chain.uint256 not null,
    logs jsonb not null
);
comment on table wallet.receipt is 'Of the one attempt of an intent that is in the chain; taken away when a reorg takes the block.';

create table wallet.movement (
    tx_hash bytea not null,
    asset bytea not null,
    amount numeric(79, 0) not null,
    primary key (tx_hash, asset)
);
comment on table wallet.movement is 'The ledger: what a receipt moved into (positive) or out of the wallet; empty asset: wei, fee included.';

create table wallet.spend (
    intent_id uuid not null,
    asset bytea not null,
    amount chain.uint256 not null,
    at timestamptz not null,
    primary key (intent_id, asset)
);
create index spend_at on wallet.spend (at);
comment on table wallet.spend is 'The most that a signed intent may take out: what the caps of 24 hours count.';

create table wallet.activation (
    activation_id uuid primary key,
    chain_id bigint not null,
    wallet bytea not null,
    code_hashes jsonb not null,
    activated_at timestamptz not null,
    activated_by text not null,
    because text not null,
    revoked_at timestamptz,
    revoked_by text
);
create unique index activation_active on wallet.activation (chain_id, wallet) where revoked_at is null;
comment on table wallet.activation is 'Without a row that is not revoked, and the setting live, nothing is signed for a wallet.';
comment on column wallet.activation.code_hashes is 'keccak-256 of the code of every contract it may call, by address.';

create table wallet.halt (
    halt_id uuid primary key,
    halted_at timestamptz not null,
    halted_by text not null,
    because text not null,
    lifted_at timestamptz,
    lifted_by text
);
comment on table wallet.halt is 'The kill switch: while a row is not lifted, nothing is signed or broadcast for any wallet.';

grant select on all tables in schema wallet to chainworkd_sender, chainworkd_worker, chainworkd_api;
grant insert (intent_id, chain_id, wallet, owner, kind, target, data, value, priority, deadline),
      update (cancel_at, cancel_by, cancel_because)
    on wallet.intent to chainworkd_worker, chainworkd_api;
grant update (state, nonce, outcome, note, changed_at, reopened) on wallet.intent to chainworkd_sender;
grant insert, update (note) on wallet.attempt to chainworkd_sender;
grant insert, delete on wallet.receipt, wallet.movement to chainworkd_sender;
grant insert, update (amount) on wallet.spend to chainworkd_sender;

-- migrate:down

drop schema wallet cascade;
set local role chainworkd_indexer;
revoke select on chain.alarm from chainworkd_sender;
revoke usage on schema chain from chainworkd_sender;
