-- migrate:up

create schema droid;
grant usage on schema droid to chainworkd_worker, chainworkd_api;

create table droid.pool (
    pool_id integer primary key,
    chain_id bigint not null,
    address bytea not null check (octet_length(address) = 20),
    manager bytea not null check (octet_length(manager) = 20),
    quote bytea not null check (octet_length(quote) = 20),
    token0 bytea check (octet_length(token0) = 20),
    token1 bytea check (octet_length(token1) = 20),
    decimals0 smallint,
    decimals1 smallint,
    fee integer,
    spacing integer,
    unique (chain_id, address),
    check (num_nonnulls(token0, token1, decimals0, decimals1, fee, spacing) in (0, 6)),
    check (token0 is null or quote in (token0, token1))
);
comment on table droid.pool is 'Pools of Uniswap v3 that droids may be in. What follows quote is read from the contracts by the worker.';
comment on column droid.pool.manager is 'The NonfungiblePositionManager that holds the positions.';
comment on column droid.pool.quote is 'The token that prices are in: taken for a dollar.';

create table droid.account (
    account_id integer primary key,
    chain_id bigint not null,
    wallet bytea not null check (octet_length(wallet) = 20),
    unique (chain_id, wallet)
);
comment on table droid.account is 'Wallets that droids may use; settings of the sender say what each may do.';

create sequence droid.droid_number;
create table droid.droid (
    droid_id bigint primary key default nextval('droid.droid_number'),
    chain_id bigint not null,
    account_id integer not null,
    wallet bytea not null check (octet_length(wallet) = 20),
    pool_id integer not null,
    config jsonb not null,
    active smallint not null default 0 check (active between 0 and 3),
    command bigint not null default 0,
    commanded_at timestamptz,
    commanded_by text,
    commanded_as text,
    answered bigint not null default 0,
    holds boolean not null default false,
    note text not null default '',
    created_at timestamptz not null default now(),
    created_by text not null
);
-- Its accounting is the wallet's: two droids could not tell whose tokens they are.
create unique index droid_of_wallet on droid.droid (chain_id, wallet) where active <> 0 or holds;
comment on table droid.droid is 'What people ask for. They write config and commands, the worker answers them.';
comment on column droid.droid.config is 'Fields as in the API, valid by droids/droid.py when they were written.';
comment on column droid.droid.active is '0 pause, 1 run, 2 reset and run, 3 close all and stop. The worker puts 1 after 2 and 0 after 3.';
comment on column droid.droid.command is 'Counts commands, so that the same one given twice is two.';
comment on column droid.droid.answered is 'The last command that the worker carried out.';
comment on column droid.droid.holds is 'From its first session until it is stopped, the wallet is its own.';
comment on column droid.droid.note is 'What keeps it from running at all, for people.';

create sequence droid.session_number;
create table droid.session (
    session_id bigint primary key default nextval('droid.session_number'),
    droid_id bigint not null,
    status text not null
        check (status in ('WARMING', 'RUNNING', 'PAUSED', 'RESETTING', 'CLOSING', 'STOPPED', 'HALTED')),
    started_at timestamptz not null,
    stopped_at timestamptz,
    gas_wei chain.uint256 not null default 0,
    gas_usd numeric not null default 0,
    note text not null default ''
);
create unique index session_open on droid.session (droid_id) where stopped_at is null;
create index session_of on droid.session (droid_id, session_id);
comment on table droid.session is 'From a start to a reset or stop; the gas budget is that of a session.';

create table droid.move (
    intent_id uuid primary key,
    droid_id bigint not null,
    session_id bigint not null,
    kind text not null check (kind in ('approve', 'rebalance', 'close')),
    at timestamptz not null,
    block_number bigint not null,
    block_hash bytea not null,
    sqrt_x96 numeric(49, 0) not null,
    spans jsonb not null,
    anchor numeric,
    native_price numeric not null,
    state text not null default 'open' check (state in ('open', 'done', 'failed')),
    outcome text not null default '',
    ended_at timestamptz,
    tx_hash bytea,
    mined_number bigint,
    mined_hash bytea
);
create unique index move_open on droid.move (droid_id) where state = 'open';
create index move_of on droid.move (droid_id, at);
comment on table droid.move is 'What a droid has had sent. One is open at a time; it counts once its intent is final, by its receipt.';
comment on column droid.move.spans is 'The ladder that is meant, centre first: pairs of ticks of the pool.';
comment on column droid.move.outcome is 'What became of the intent: done, reverted, cancelled, dropped, rehearsed, lost; unexpected: done, and its receipt says something else.';
comment on column droid.move.native_price is 'What the native coin was worth in USD when it was planned: gas is counted by it.';

create table droid.position (
    chain_id bigint not null,
    manager bytea not null,
    token_id numeric(78, 0) not null,
    droid_id bigint not null,
    slot integer not null,
    lower_tick integer not null,
    upper_tick integer not null,
    liquidity numeric(39, 0) not null,
    opened_by uuid not null,
    put0 chain.uint256 not null,
    put1 chain.uint256 not null,
    closed_by uuid,
    closed_sqrt_x96 numeric(49, 0),
    got0 chain.uint256,
    got1 chain.uint256,
    gone_at timestamptz,
    primary key (chain_id, manager, token_id),
    check (num_nonnulls(closed_by, closed_sqrt_x96, got0, got1) in (0, 4))
);
create index position_of on droid.position (droid_id, slot) where closed_by is null;
comment on table droid.position is 'NFTs that droids opened, from receipts of final intents alone. put and got are without fees.';
comment on column droid.position.gone_at is 'When the chain was found not to have it any more although no intent of ours closed it: a ghost.';

create sequence droid.bot_number;
create table droid.bot (
    bot_id bigint primary key default nextval('droid.bot_number'),
    droid_id bigint not null,
    slot integer,
    position_id numeric(78, 0),
    lower_tick integer not null,
    upper_tick integer not null,
    liquidity numeric(39, 0) not null,
    status text not null check (status in ('PLANNED', 'OPENING', 'ACTIVE', 'CLOSING', 'CLOSED', 'FAILED', 'ORPHAN')),
    changed_at timestamptz not null,
    unique (droid_id, slot)
);
create unique index bot_orphan on droid.bot (droid_id, position_id) where slot is null;
comment on table droid.bot is 'Slots of ladders, the centre is 0. A slot lives on while its position changes. Follows from positions and the open move.';
comment on column droid.bot.slot is 'None for an ORPHAN: a position of this pool that the wallet has and the worker did not open.';

create sequence droid.decision_number;
create table droid.decision (
    decision_id bigint primary key default nextval('droid.decision_number'),
    droid_id bigint not null,
    session_id bigint not null,
    at timestamptz not null,
    block_number bigint not null,
    block_hash bytea not null,
    decided text not null check (decided in ('Hold', 'Rebalance', 'Close', 'Approve')),
    word text not null,
    sentence text not null,
    price numeric,
    ema numeric,
    slope numeric,
    intent_id uuid
);
create index decision_of on droid.decision (droid_id, decision_id);
create index decision_at on droid.decision (at);
comment on table droid.decision is 'Why a droid acted, or did not: one for each look at the chain.';
comment on column droid.decision.slope is 'Of the EMA: d ln(price)/dt per hour.';

create table droid.memory (
    droid_id bigint primary key,
    ema numeric,
    slope numeric,
    sampled_at bigint,
    since bigint,
    anchor numeric,
    mark_sqrt_x96 numeric(49, 0),
    lvr numeric(79, 0) not null default 0,
    check (num_nonnulls(ema, slope, sampled_at, since) in (0, 4))
);
comment on table droid.memory is 'What a droid knows across restarts beside its moves and positions. Times are Unix seconds.';
comment on column droid.memory.lvr is 'Loss versus rebalancing so far, base units of the quote; marked to mark_sqrt_x96.';

create table droid.ledger (
    droid_id bigint not null,
    block_number bigint not null,
    block_hash bytea not null,
    entry integer not null,
    asset bytea not null,
    kind text not null check (kind in ('opening', 'external', 'put', 'principal', 'fee', 'gas')),
    amount numeric(79, 0) not null,
    at timestamptz not null,
    intent_id uuid,
    tx_hash bytea,
    token_id numeric(78, 0),
    primary key (droid_id, block_number, entry, asset, kind)
);
create index ledger_of_intent on droid.ledger (intent_id) where intent_id is not null;
comment on table droid.ledger is 'Every base unit that came to the wallet (positive) or left it, since the droid has it. Empty asset: wei.';
comment on column droid.ledger.entry is 'Index of the log; -1 for gas, -2 for what was found at a block.';
comment on column droid.ledger.kind is 'opening: what was there at first. external: what came or went without us, found by the balance.';

create sequence droid.snapshot_number;
create table droid.snapshot (
    snapshot_id bigint primary key default nextval('droid.snapshot_number'),
    droid_id bigint not null,
    at timestamptz not null,
    block_number bigint not null,
    block_hash bytea not null,
    price numeric not null,
    aum numeric(79, 0) not null,
    base numeric(79, 0) not null,
    quote numeric(79, 0) not null,
    idle_base numeric(79, 0) not null,
    idle_quote numeric(79, 0) not null,
    fees_base numeric(79, 0) not null,
    fees_quote numeric(79, 0) not null,
    fees_earned numeric(79, 0) not null,
    gas_wei numeric(79, 0) not null,
    gas_usd numeric not null,
    hold numeric(79, 0) not null,
    il numeric(79, 0) not null,
    lvr numeric(79, 0) not null,
    eth_wallet numeric(79, 0) not null,
    unique (droid_id, block_number, block_hash)
);
create index snapshot_of on droid.snapshot (droid_id, snapshot_id);
comment on table droid.snapshot is 'What a droid is worth at a block: base units of the tokens; aum, hold, il, lvr and fees_earned in those of the quote.';
comment on column droid.snapshot.base is 'In positions, without fees; fees_base and fees_quote are not collected yet.';
comment on column droid.snapshot.aum is 'Positions, their fees and idle tokens; without the wei of the wallet, which are eth_wallet.';
comment on column droid.snapshot.hold is 'What all that people gave would be worth now, had nothing been done with it.';

grant select on all tables in schema droid to chainworkd_worker, chainworkd_api;
grant insert, update on all tables in schema droid to chainworkd_worker;
grant delete on droid.bot, droid.decision to chainworkd_worker;
grant usage on all sequences in schema droid to chainworkd_worker;
-- People describe, create, configure and command. What happened is the worker's to say.
grant insert (pool_id, chain_id, address, manager, quote) on droid.pool to chainworkd_api;
grant insert (account_id, chain_id, wallet) on droid.account to chainworkd_api;
grant insert (chain_id, account_id, wallet, pool_id, config, active, command, commanded_at, commanded_by, commanded_as, created_by),
      update (config, active, command, commanded_at, commanded_by, commanded_as)
    on droid.droid to chainworkd_api;
grant usage on sequence droid.droid_number to chainworkd_api;
revoke insert, update on droid.droid from chainworkd_worker;
grant update (active, answered, holds, note) on droid.droid to chainworkd_worker;

-- migrate:down

drop schema droid cascade;
