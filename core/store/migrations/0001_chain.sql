-- migrate:up

-- One group role per process; log-in users are granted one of them (docs/runbook.md). Roles belong to the whole
-- cluster, so another database of the same server may have made them already.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['chainworkd_indexer', 'chainworkd_worker', 'chainworkd_sender', 'chainworkd_api']
    loop
        begin
            execute format('create role %I nologin', wanted);
        exception
            when duplicate_object or unique_violation then null;
        end;
    end loop;
    -- Whoever migrates hands the chain tables over to the indexer, and must be a member of it to do so.
    -- Whoever creates a role administers it, but that alone does not let it act as the role.
    if not pg_has_role(current_user, 'chainworkd_indexer', 'set') then
        execute format('grant chainworkd_indexer to %I', current_user);
    end if;
end
$$;

-- Every process compares the applied migrations with its own before it starts.
grant select on public.chainworkd_migration
    to chainworkd_indexer, chainworkd_worker, chainworkd_sender, chainworkd_api;

-- The schema's owner is the indexer: it adds partitions as the chain grows.
create schema chain authorization chainworkd_indexer;
grant usage on schema chain to chainworkd_api, chainworkd_worker;
set local role chainworkd_indexer;

create domain chain.uint64 as numeric(20, 0);
create domain chain.uint256 as numeric(78, 0);

create table chain.chain (
    chain_id bigint primary key,
    name text not null,
    genesis_hash bytea,
    followed_from bigint,
    created_at timestamptz not null default now()
);
comment on table chain.chain is 'Chains this database holds. genesis_hash tells two chains with one id apart.';
comment on column chain.chain.followed_from is 'First block the head writer ever committed: holes above it are filled.';

create table chain.cursor (
    chain_id bigint primary key,
    number bigint not null,
    hash bytea not null,
    updated_at timestamptz not null default now()
);
comment on table chain.cursor is 'Last block the head writer committed; it moves by compare-and-set only.';

create table chain.head (
    chain_id bigint primary key,
    number bigint not null,
    hash bytea not null,
    block_time timestamptz not null,
    seen_at timestamptz not null
);
comment on table chain.head is 'Newest block a node announced, and when: what lag is measured against.';

create table chain.coverage (
    chain_id bigint not null,
    blocks int8range not null,
    check (not isempty(blocks) and lower_inf(blocks) = false and upper_inf(blocks) = false),
    -- A range of one chain id stands in for the btree operator class, which needs an extension.
    constraint coverage_disjoint exclude using gist (int8range(chain_id, chain_id, '[]') with &&, blocks with &&)
);
comment on table chain.coverage is 'Block ranges whose rows are all here, written in the transaction of the rows.';

create table chain.block (
    chain_id bigint not null,
    number bigint not null,
    block_time timestamptz not null,
    size bigint not null,
    tx_count integer not null,
    hash bytea not null,
    parent_hash bytea not null,
    miner bytea not null,
    state_root bytea not null,
    transactions_root bytea not null,
    receipts_root bytea not null,
    uncles_hash bytea not null,
    logs_bloom bytea not null,
    extra_data bytea not null,
    mix_hash bytea,
    nonce bytea,
    difficulty chain.uint256 not null,
    total_difficulty chain.uint256,
    gas_limit chain.uint64 not null,
    gas_used chain.uint64 not null,
    base_fee chain.uint256,
    uncles bytea[] not null,
    extra json,
    primary key (chain_id, number)
) partition by range (number);
comment on column chain.block.extra is 'Header fields of some forks or chains, as the node sent them (withdrawals, blobs, L2).';

create table chain.transaction (
    chain_id bigint not null,
    block_number bigint not null,
    tx_index integer not null,
    type smallint not null,
    status smallint,
    hash bytea not null,
    sender bytea not null,
    recipient bytea,
    contract_address bytea,
    value chain.uint256 not null,
    nonce chain.uint64 not null,
    gas chain.uint64 not null,
    gas_used chain.uint64 not null,
    cumulative_gas_used chain.uint64 not null,
    gas_price chain.uint256,
    effective_gas_price chain.uint256,
    fee_cap chain.uint256,
    tip_cap chain.uint256,
    v chain.uint256,
    signature bytea,
    receipt_root bytea,
    logs_bloom bytea,
    input bytea not null,
    extra json,
    receipt_extra json,
    primary key (chain_id, block_number, tx_index)
) partition by range (block_number);
comment on column chain.transaction.status is '1 or 0; null before Byzantium, when receipts carried receipt_root instead (EIP-658).';
comment on column chain.transaction.logs_bloom is 'Null when all 2048 bits are zero: a transaction without logs.';
comment on column chain.transaction.extra is 'Fields of some transaction types or chains, as the node sent them.';

-- Not an index on chain.transaction: a look-up there would probe every partition.
create table chain.tx_hash (
    chain_id bigint not null,
    hash_key bigint not null,
    block_number bigint not null,
    tx_index integer not null,
    primary key (chain_id, hash_key, block_number, tx_index)
);
comment on column chain.tx_hash.hash_key is 'First 8 bytes of the hash, big-endian; the full hash is compared on the fetched row.';

create table chain.address_transaction (
    chain_id bigint not null,
    address bytea not null,
    block_number bigint not null,
    tx_index integer not null,
    roles smallint not null,
    primary key (chain_id, address, block_number, tx_index)
);
comment on column chain.address_transaction.roles is 'Bitmask: 1 from, 2 to, 4 created (core/store/copy.py).';

-- What a reorg took away, and when. Nothing here is ever deleted by the program.
create table chain.reorg (
    chain_id bigint not null,
    detected_at timestamptz not null,
    ancestor_number bigint not null,
    ancestor_hash bytea,
    orphan_number bigint not null,
    orphan_hash bytea not null,
    reason text not null,
    primary key (chain_id, detected_at, orphan_hash)
);
comment on table chain.reorg is 'One row per rewind: blocks above the ancestor up to the orphan were replaced.';

-- detected_at comes first, so that a column added to a table and to its archive stays at the end of both.
create table chain.orphan_block (
    detected_at timestamptz not null,
    like chain.block,
    primary key (chain_id, detected_at, number)
);

create table chain.orphan_transaction (
    detected_at timestamptz not null,
    like chain.transaction,
    primary key (chain_id, detected_at, block_number, tx_index)
);

-- Partitions of 1,000,000 blocks, made before the first row that needs them. CREATE then ATTACH: the lock on the
-- parent lets readers and writers go on, which CREATE ... PARTITION OF does not.
create function chain.ensure_partitions(first bigint, last bigint) returns integer
language plpgsql as $$
declare
    width constant bigint := 1000000;
    parent text;
    part text;
    made integer := 0;
begin
    for slot in first / width .. last / width loop
        foreach parent in array array['block', 'transaction'] loop
            part := format('%s_p%s', parent, lpad(slot::text, 8, '0'));
            continue when to_regclass(format('chain.%I', part)) is not null;
            perform pg_advisory_xact_lock(hashtext('chain.ensure_partitions'));
            -- Another connection may have made it while we waited. to_regclass would not tell: it answers from a cache
            -- that an advisory lock does not refresh.
            continue when exists (
                select from pg_catalog.pg_class c
                where c.relname = part and c.relnamespace = 'chain'::regnamespace
            );
            execute format('create table chain.%I (like chain.%I including all)', part, parent);
            execute format('alter table chain.%I attach partition chain.%I for values from (%s) to (%s)',
                           parent, part, slot * width, (slot + 1) * width);
            made := made + 1;
        end loop;
    end loop;
    return made;
end
$$;

grant select on all tables in schema chain to chainworkd_api, chainworkd_worker;
alter default privileges in schema chain grant select on tables to chainworkd_api, chainworkd_worker;
reset role;

-- migrate:down

drop schema chain cascade;
