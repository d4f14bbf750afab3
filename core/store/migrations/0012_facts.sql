-- migrate:up

set local role chainworkd_indexer;

create table chain.fact_tail (
    chain_id bigint not null,
    last bigint not null,
    pruned bigint not null default 0,
    primary key (chain_id)
);
comment on table chain.fact_tail is
    'Whoever tells a fact takes its number here, last thing before it commits, and holds the row until it has: numbers become visible in their order, without a gap.';
comment on column chain.fact_tail.pruned is 'Facts up to this number are not kept any more.';

create table chain.fact (
    chain_id bigint not null,
    seq bigint not null,
    told_at timestamptz not null,
    kind text not null check (kind in ('block', 'reorg', 'finalize', 'fill')),
    first_block bigint,
    last_block bigint,
    hash bytea,
    parent_hash bytea,
    block_time timestamptz,
    tx_count integer,
    reason text,
    safe_number bigint,
    safe_hash bytea,
    by_depth boolean,
    primary key (chain_id, seq)
);
comment on table chain.fact is
    'What happened to the stored chain, in order, written in the transaction of what it tells (core/facts.py).';
comment on column chain.fact.first_block is
    'block and fill: what is stored now; reorg: what is orphaned; finalize: null. last_block: of finalize the finalized block.';
comment on column chain.fact.hash is 'Of last_block.';
comment on column chain.fact.parent_hash is 'Of first_block; null where the block below is not stored (reorg).';

-- What is stored already is told first, so that whoever reads from 0 knows all there is.
insert into chain.fact (chain_id, seq, told_at, kind, first_block, last_block, hash, parent_hash)
select c.chain_id, row_number() over (partition by c.chain_id order by lower(c.blocks)), now(), 'fill',
    lower(c.blocks), upper(c.blocks) - 1, top.hash, bottom.parent_hash
from chain.coverage c
join chain.block top on top.chain_id = c.chain_id and top.number = upper(c.blocks) - 1
join chain.block bottom on bottom.chain_id = c.chain_id and bottom.number = lower(c.blocks);
insert into chain.fact_tail (chain_id, last) select f.chain_id, max(f.seq) from chain.fact f group by f.chain_id;

create table chain.alarm (
    chain_id bigint not null,
    raised_at timestamptz not null,
    finalized_number bigint not null,
    by_depth boolean not null,
    first_block bigint not null,
    last_block bigint not null,
    tip_hash bytea not null,
    reason text not null,
    cleared_at timestamptz,
    cleared_by text,
    cleared_because text,
    primary key (chain_id, raised_at, tip_hash)
);
comment on table chain.alarm is
    'Blocks were orphaned that had been called finalized. While one of a chain''s rows has no cleared_at, nothing may spend money on what that chain says.';
comment on column chain.alarm.finalized_number is 'What had been called finalized; by_depth: by a depth that settings say, not by the node.';

create table chain.projection (
    chain_id bigint not null,
    name text not null,
    seq bigint not null,
    number bigint,
    hash bytea,
    updated_at timestamptz not null,
    primary key (chain_id, name)
);
comment on table chain.projection is
    'How far who derives something from facts has come: written in the transaction of what it derives (core/projection.py).';
comment on column chain.projection.number is 'The newest block it knows, with its hash; null while it knows none.';
-- Robots and payments write their own tables, and their place with them.
grant insert, update on chain.projection to chainworkd_worker;

reset role;

-- migrate:down

drop table chain.projection;
drop table chain.alarm;
drop table chain.fact;
drop table chain.fact_tail;
