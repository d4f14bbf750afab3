-- migrate:up

set local role chainworkd_indexer;

alter table chain.head
    add column safe_number bigint,
    add column finalized_number bigint,
    add column finality_by_depth boolean not null default false;
comment on column chain.head.safe_number is 'Highest stored block that the node''s `safe` block proved canonical; a rewind lowers it.';
comment on column chain.head.finalized_number is 'The same by `finalized`.';
comment on column chain.head.finality_by_depth is 'The node has no such tags: the numbers are the head less a depth that settings say.';

create table chain.watched_vault (
    chain_id bigint not null,
    vault bytea not null,
    watched_from bigint not null,
    scanned int8multirange not null default '{}',
    primary key (chain_id, vault)
);
comment on table chain.watched_vault is 'SignedVault contracts that settings name; deposits of others are not shown.';
comment on column chain.watched_vault.watched_from is 'First block the head writer committed with this vault in its settings.';
comment on column chain.watched_vault.scanned is 'Finalized blocks whose logs of this vault were asked for by address as well.';

-- Few rows, looked up by person and not by block: not partitioned.
create table chain.vault_event (
    chain_id bigint not null,
    block_number bigint not null,
    log_index integer not null,
    tx_index integer not null,
    generation smallint,
    block_time timestamptz not null,
    kind text not null check (kind in ('deposit', 'withdraw', 'nonce_cancelled', 'upgraded')),
    block_hash bytea not null,
    tx_hash bytea not null,
    vault bytea not null,
    account bytea,
    token bytea,
    resolver bytea,
    implementation bytea,
    amount chain.uint256,
    nonce chain.uint256,
    primary key (chain_id, block_number, log_index)
);
comment on column chain.vault_event.generation is 'Of deposits: 3 current, 2 without resolver, 1 without resolver and nonce.';
comment on column chain.vault_event.account is 'Who deposited, or who received a withdrawal.';
comment on column chain.vault_event.token is '20 zero bytes for the native coin.';
create index vault_event_by_account on chain.vault_event (chain_id, account, block_number) where kind = 'deposit';
create index vault_event_by_resolver on chain.vault_event (chain_id, resolver, block_number) where kind = 'deposit';
create index vault_event_by_nonce on chain.vault_event (chain_id, nonce) where kind = 'deposit';
create index vault_upgrade on chain.vault_event (chain_id, vault, block_number, log_index) where kind = 'upgraded';

-- detected_at comes first, so that a column added to the table and to its archive stays at the end of both.
create table chain.orphan_vault_event (
    detected_at timestamptz not null,
    like chain.vault_event,
    primary key (chain_id, detected_at, block_number, log_index)
);
create index orphan_vault_event_by_log on chain.orphan_vault_event (chain_id, block_number, log_index);

reset role;

-- migrate:down

drop table chain.orphan_vault_event;
drop table chain.vault_event;
drop table chain.watched_vault;
alter table chain.head
    drop column safe_number,
    drop column finalized_number,
    drop column finality_by_depth;
