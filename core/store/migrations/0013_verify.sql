-- migrate:up

set local role chainworkd_indexer;

alter table chain.chain add column checks_held smallint;
alter table chain.chain add column checks smallint;
alter table chain.chain add column rechecked_to bigint;
comment on column chain.chain.checks_held is
    'Checks (core/verify/checks.py) that blocks of this chain were seen to pass; a later calibration never takes one away.';
comment on column chain.chain.checks is
    'Checks that blocks have to pass now: those that hold, without what settings leave out; null before the first calibration.';
comment on column chain.chain.rechecked_to is 'How far down the slow second look at stored blocks has come; it starts again at the top.';

create table chain.verified (
    chain_id bigint not null,
    checks smallint not null check (checks > 0),
    blocks int8multirange not null,
    primary key (chain_id, checks)
);
comment on table chain.verified is
    'Which stored blocks passed which checks, written in the transaction of their rows; a block is in one row at most, and in none if it was never verified.';

create table chain.quarantine (
    chain_id bigint not null,
    number bigint not null,
    hash bytea not null,
    endpoint text not null,
    failed text not null,
    which text not null,
    expected text not null,
    found text not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    times integer not null default 1,
    resolved_at timestamptz,
    primary key (chain_id, number, hash, endpoint, failed)
);
comment on table chain.quarantine is
    'Blocks that no endpoint served so that they pass, and stored blocks that differ from the node''s: evidence for a person.';
comment on column chain.quarantine.failed is 'The check that failed, or `stored` where what is stored differs.';
comment on column chain.quarantine.resolved_at is 'When a verified block was stored in its place, or what is stored was found equal.';
create index on chain.quarantine (chain_id, number) where resolved_at is null;

reset role;

-- migrate:down

drop table chain.quarantine;
drop table chain.verified;
alter table chain.chain drop column rechecked_to;
alter table chain.chain drop column checks;
alter table chain.chain drop column checks_held;
