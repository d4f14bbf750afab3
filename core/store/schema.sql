-- Written by `make schema` from the migrations; do not edit.

CREATE SCHEMA accounts;

CREATE SCHEMA chain;

CREATE SCHEMA droid;

CREATE SCHEMA wallet;

CREATE DOMAIN chain.uint256 AS numeric(78,0);

CREATE DOMAIN chain.uint64 AS numeric(20,0);

CREATE FUNCTION chain.drop_empty_partition(below bigint) RETURNS text
    LANGUAGE plpgsql
    AS $_$
declare
    width constant bigint := 1000000;
    part record;
    filled boolean;
begin
    for part in
        select child.relname as name, parent.relname as parent, right(child.relname, 8)::bigint as slot
        from pg_catalog.pg_inherits link
        join pg_catalog.pg_class child on child.oid = link.inhrelid
        join pg_catalog.pg_class parent on parent.oid = link.inhparent
        where parent.relnamespace = 'chain'::regnamespace and parent.relkind = 'p' and child.relkind = 'r'
            and child.relname ~ '_p[0-9]{8}$'
        order by slot, parent
    loop
        continue when (part.slot + 1) * width > below;
        -- Other chains of this database share the partitions.
        continue when exists (
            select from chain.coverage where blocks && int8range(part.slot * width, (part.slot + 1) * width));
        execute format('select exists (select from chain.%I)', part.name) into filled;
        continue when filled;
        execute format('lock table only chain.%I in access exclusive mode', part.parent);
        execute format('lock table chain.%I in access exclusive mode', part.name);
        execute format('select exists (select from chain.%I)', part.name) into filled;
        continue when filled;
        execute format('drop table chain.%I', part.name);
        return part.name;
    end loop;
    return null;
end
$_$;

CREATE FUNCTION chain.ensure_partitions(first bigint, last bigint) RETURNS integer
    LANGUAGE plpgsql
    AS $$
declare
    width constant bigint := 1000000;
    parent text;
    part text;
    made integer := 0;
begin
    for slot in first / width .. last / width loop
        foreach parent in array array['block', 'transaction', 'log', 'token_transfer', 'event_transaction'] loop
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

CREATE TABLE accounts.api_token (
    token_hash bytea NOT NULL,
    prefix text NOT NULL,
    label text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    last_used_at timestamp with time zone,
    user_id text
);

COMMENT ON TABLE accounts.api_token IS 'SHA-256 of keys of 160 random bits; the key itself is shown once and never kept.';

COMMENT ON COLUMN accounts.api_token.prefix IS 'First 16 characters of the key, which name it in lists.';

COMMENT ON COLUMN accounts.api_token.user_id IS 'Whose token it is; none for those of the command line.';

CREATE TABLE accounts.audit (
    audit_id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL
);

COMMENT ON TABLE accounts.audit IS 'Who changed what. Processes may add and read, none may change or remove.';

CREATE TABLE accounts.person (
    user_id text NOT NULL,
    email text NOT NULL,
    email_key text NOT NULL,
    password_hash text NOT NULL,
    role text NOT NULL,
    status text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT person_role_check CHECK ((role = ANY (ARRAY['PENDING'::text, 'OPERATOR'::text, 'ADMIN'::text]))),
    CONSTRAINT person_status_check CHECK ((status = ANY (ARRAY['PENDING'::text, 'ACTIVE'::text, 'DISABLED'::text])))
);

COMMENT ON TABLE accounts.person IS 'Who may sign in. What somebody may do is read from here at every request.';

COMMENT ON COLUMN accounts.person.email_key IS 'The address in lower case: one account each.';

COMMENT ON COLUMN accounts.person.password_hash IS 'argon2id, in the PHC string format.';

CREATE TABLE accounts.refresh_token (
    token_hash bytea NOT NULL,
    session_id uuid NOT NULL,
    generation integer NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    salt bytea
);

COMMENT ON TABLE accounts.refresh_token IS 'SHA-256 of tokens of 256 random bits. Used ones are kept, so that a replay is recognised.';

COMMENT ON COLUMN accounts.refresh_token.salt IS 'With the token itself it makes the successor; null once that was used.';

CREATE TABLE accounts.session (
    session_id uuid NOT NULL,
    user_id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    ended_because text
);

COMMENT ON TABLE accounts.session IS 'One sign-in: the family of all refresh tokens that follow from it.';

CREATE TABLE accounts.signing_key (
    kid text NOT NULL,
    secret bytea NOT NULL,
    created_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE accounts.signing_key IS 'HMAC keys of access tokens, readable by the API alone; rotated (ADR 0030).';

CREATE TABLE chain.address_count (
    chain_id bigint NOT NULL,
    address bytea NOT NULL,
    width integer NOT NULL,
    first_block bigint NOT NULL,
    total integer NOT NULL,
    incoming integer NOT NULL,
    outgoing integer NOT NULL
);

COMMENT ON TABLE chain.address_count IS 'How many rows of address_transaction an address has in a segment: always exact, or not here. Taken away in the transaction that takes away a row of the segment.';

COMMENT ON COLUMN chain.address_count.width IS 'Blocks of the segment, which begins at first_block, a multiple of it.';

COMMENT ON COLUMN chain.address_count.incoming IS 'Rows with a role of direction `in`, outgoing with one of `out` (core/store/listing.py); a row can be both.';

CREATE TABLE chain.address_transaction (
    chain_id bigint NOT NULL,
    address bytea NOT NULL,
    block_number bigint NOT NULL,
    tx_index integer NOT NULL,
    roles smallint NOT NULL
);

COMMENT ON COLUMN chain.address_transaction.roles IS 'Bitmask: 1 from, 2 to, 4 created, 8 sent tokens, 16 received tokens (core/store/copy.py).';

CREATE TABLE chain.alarm (
    chain_id bigint NOT NULL,
    raised_at timestamp with time zone NOT NULL,
    finalized_number bigint NOT NULL,
    by_depth boolean NOT NULL,
    first_block bigint NOT NULL,
    last_block bigint NOT NULL,
    tip_hash bytea NOT NULL,
    reason text NOT NULL,
    cleared_at timestamp with time zone,
    cleared_by text,
    cleared_because text
);

COMMENT ON TABLE chain.alarm IS 'Blocks were orphaned that had been called finalized. While one of a chain''s rows has no cleared_at, nothing may spend money on what that chain says.';

COMMENT ON COLUMN chain.alarm.finalized_number IS 'What had been called finalized; by_depth: by a depth that settings say, not by the node.';

CREATE TABLE chain.block (
    chain_id bigint NOT NULL,
    number bigint NOT NULL,
    block_time timestamp with time zone NOT NULL,
    size bigint NOT NULL,
    tx_count integer NOT NULL,
    hash bytea NOT NULL,
    parent_hash bytea NOT NULL,
    miner bytea NOT NULL,
    state_root bytea NOT NULL,
    transactions_root bytea NOT NULL,
    receipts_root bytea NOT NULL,
    uncles_hash bytea NOT NULL,
    logs_bloom bytea NOT NULL,
    extra_data bytea NOT NULL,
    mix_hash bytea,
    nonce bytea,
    difficulty chain.uint256 NOT NULL,
    total_difficulty chain.uint256,
    gas_limit chain.uint64 NOT NULL,
    gas_used chain.uint64 NOT NULL,
    base_fee chain.uint256,
    uncles bytea[] NOT NULL,
    extra json,
    stored_tx_count integer
)
PARTITION BY RANGE (number);

COMMENT ON COLUMN chain.block.extra IS 'Header fields of some forks or chains, as the node sent them (withdrawals, blobs, L2).';

COMMENT ON COLUMN chain.block.stored_tx_count IS 'How many of tx_count transactions are stored. Null: all.';

CREATE TABLE chain.chain (
    chain_id bigint NOT NULL,
    name text NOT NULL,
    genesis_hash bytea,
    followed_from bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    backfill_paused text,
    watched bytea[],
    events_only boolean DEFAULT false NOT NULL,
    checks_held smallint,
    checks smallint,
    rechecked_to bigint,
    checks_failed_at bigint[] DEFAULT '{}'::bigint[] NOT NULL
);

COMMENT ON TABLE chain.chain IS 'Chains this database holds. genesis_hash tells two chains with one id apart.';

COMMENT ON COLUMN chain.chain.followed_from IS 'First block the head writer ever committed: holes above it are filled.';

COMMENT ON COLUMN chain.chain.backfill_paused IS 'Why backfill waits: too little room on the disk. Null while it works.';

COMMENT ON COLUMN chain.chain.watched IS 'Addresses whose transactions alone are stored, ascending. Null: all transactions are.';

COMMENT ON COLUMN chain.chain.events_only IS 'Of the contracts in `watched` only the events are stored, and no transactions.';

COMMENT ON COLUMN chain.chain.checks_held IS 'Checks (core/verify/checks.py) that blocks of this chain were seen to pass; a later calibration never takes one away.';

COMMENT ON COLUMN chain.chain.checks IS 'Checks that blocks have to pass now: those that hold, without what settings leave out; null before the first calibration.';

COMMENT ON COLUMN chain.chain.rechecked_to IS 'How far down the slow second look at stored blocks has come; it starts again at the top.';

COMMENT ON COLUMN chain.chain.checks_failed_at IS 'Blocks at which a check failed that did not hold then: a calibration looks at them again, whichever others it takes.';

CREATE TABLE chain.coverage (
    chain_id bigint NOT NULL,
    blocks int8range NOT NULL,
    CONSTRAINT coverage_blocks_check CHECK (((NOT isempty(blocks)) AND (lower_inf(blocks) = false) AND (upper_inf(blocks) = false)))
);

COMMENT ON TABLE chain.coverage IS 'Block ranges whose rows are all here, written in the transaction of the rows.';

CREATE TABLE chain.cursor (
    chain_id bigint NOT NULL,
    number bigint NOT NULL,
    hash bytea NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE chain.cursor IS 'Last block the head writer committed; it moves by compare-and-set only.';

CREATE TABLE chain.deposit_count (
    chain_id bigint NOT NULL,
    width integer NOT NULL,
    first_block bigint NOT NULL,
    vault bytea NOT NULL,
    resolver bytea NOT NULL,
    token bytea NOT NULL,
    deposits integer NOT NULL,
    worth integer NOT NULL,
    amount numeric NOT NULL
);

COMMENT ON TABLE chain.deposit_count IS 'Deposits of vault_event in a segment, by vault, resolver and token: all that deposit_seal says are there, each exact (core/store/deposit_counts.py).';

COMMENT ON COLUMN chain.deposit_count.width IS 'Blocks of the segment, which begins at first_block, a multiple of it.';

COMMENT ON COLUMN chain.deposit_count.resolver IS 'Empty for deposits that name none.';

COMMENT ON COLUMN chain.deposit_count.deposits IS 'All of them, whatever they are worth.';

COMMENT ON COLUMN chain.deposit_count.worth IS 'Those of the current generation with an amount; amount is the sum of these.';

CREATE TABLE chain.deposit_seal (
    chain_id bigint NOT NULL,
    width integer NOT NULL,
    blocks int8multirange NOT NULL
);

COMMENT ON TABLE chain.deposit_seal IS 'Blocks whose deposits are counted in segments of this width. Taken away in the transaction that adds a deposit there or takes one away.';

CREATE TABLE chain.endpoint (
    chain_id bigint NOT NULL,
    url_hash bytea NOT NULL,
    request_window double precision,
    calls_per_s double precision,
    batch_calls integer,
    log_blocks integer,
    block_receipts boolean,
    learned_at timestamp with time zone NOT NULL,
    CONSTRAINT endpoint_url_hash_check CHECK ((octet_length(url_hash) = 32))
);

COMMENT ON TABLE chain.endpoint IS 'What nodes bear, learned from how they answered: where a new process starts. Null: not known. Nothing depends on it.';

COMMENT ON COLUMN chain.endpoint.url_hash IS 'SHA-256 of the URL, which may hold a key.';

CREATE TABLE chain.event_transaction (
    chain_id bigint NOT NULL,
    block_number bigint NOT NULL,
    tx_index integer NOT NULL,
    hash bytea NOT NULL
)
PARTITION BY RANGE (block_number);

COMMENT ON TABLE chain.event_transaction IS 'Which transactions emitted the stored events, where transactions are not stored.';

CREATE TABLE chain.fact (
    chain_id bigint NOT NULL,
    seq bigint NOT NULL,
    told_at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    first_block bigint,
    last_block bigint,
    hash bytea,
    parent_hash bytea,
    block_time timestamp with time zone,
    tx_count integer,
    reason text,
    safe_number bigint,
    safe_hash bytea,
    by_depth boolean,
    CONSTRAINT fact_kind_check CHECK ((kind = ANY (ARRAY['block'::text, 'reorg'::text, 'finalize'::text, 'fill'::text])))
);

COMMENT ON TABLE chain.fact IS 'What happened to the stored chain, in order, written in the transaction of what it tells (core/facts.py).';

COMMENT ON COLUMN chain.fact.first_block IS 'block and fill: what is stored now; reorg: what is orphaned; finalize: null. last_block: of finalize the finalized block.';

COMMENT ON COLUMN chain.fact.hash IS 'Of last_block.';

COMMENT ON COLUMN chain.fact.parent_hash IS 'Of first_block; null where the block below is not stored (reorg).';

CREATE TABLE chain.fact_tail (
    chain_id bigint NOT NULL,
    last bigint NOT NULL,
    pruned bigint DEFAULT 0 NOT NULL
);

COMMENT ON TABLE chain.fact_tail IS 'Whoever tells a fact takes its number here, last thing before it commits, and holds the row until it has: numbers become visible in their order, without a gap.';

COMMENT ON COLUMN chain.fact_tail.pruned IS 'Facts up to this number are not kept any more.';

CREATE TABLE chain.head (
    chain_id bigint NOT NULL,
    number bigint NOT NULL,
    hash bytea NOT NULL,
    block_time timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    safe_number bigint,
    finalized_number bigint,
    finality_by_depth boolean DEFAULT false NOT NULL
);

COMMENT ON TABLE chain.head IS 'Newest block a node announced, and when: what lag is measured against.';

COMMENT ON COLUMN chain.head.safe_number IS 'Highest stored block that the node''s `safe` block proved canonical; a rewind lowers it.';

COMMENT ON COLUMN chain.head.finalized_number IS 'The same by `finalized`.';

COMMENT ON COLUMN chain.head.finality_by_depth IS 'The node has no such tags: the numbers are the head less a depth that settings say.';

CREATE TABLE chain.lease (
    chain_id bigint NOT NULL,
    blocks int8range NOT NULL,
    token uuid NOT NULL,
    holder text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT lease_blocks_check CHECK (((NOT isempty(blocks)) AND (NOT lower_inf(blocks)) AND (NOT upper_inf(blocks))))
);

COMMENT ON TABLE chain.lease IS 'Ranges of history that a process is filling: others leave them alone until they expire.';

COMMENT ON COLUMN chain.lease.token IS 'Named in every transaction that stores rows of the range: who lost the lease stores nothing.';

CREATE TABLE chain.log (
    chain_id bigint NOT NULL,
    block_number bigint NOT NULL,
    log_index integer NOT NULL,
    tx_index integer NOT NULL,
    address bytea NOT NULL,
    topic0 bytea,
    topic1 bytea,
    topic2 bytea,
    topic3 bytea,
    data bytea NOT NULL
)
PARTITION BY RANGE (block_number);

COMMENT ON TABLE chain.log IS 'Raw logs that settings or a watcher want kept (indexer/decode/logs.py); not all of them.';

CREATE VIEW chain.liquidity_change AS
 SELECT chain_id,
    block_number,
    log_index,
    address AS pool,
    ((((('0x'::text || encode(substr(topic2, 29, 4), 'hex'::text)))::bigint # '2147483648'::bigint) - '2147483648'::bigint))::integer AS tick_lower,
    ((((('0x'::text || encode(substr(topic3, 29, 4), 'hex'::text)))::bigint # '2147483648'::bigint) - '2147483648'::bigint))::integer AS tick_upper,
        CASE octet_length(data)
            WHEN 128 THEN (('0x'::text || encode(substr(data, 33, 32), 'hex'::text)))::numeric
            ELSE (- (('0x'::text || encode(substr(data, 1, 32), 'hex'::text)))::numeric)
        END AS change
   FROM chain.log l
  WHERE ((topic0 = ANY (ARRAY['\x7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde'::bytea, '\x0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c'::bytea])) AND (topic3 IS NOT NULL) AND (octet_length(data) =
        CASE topic0
            WHEN '\x7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde'::bytea THEN 128
            ELSE 96
        END));

COMMENT ON VIEW chain.liquidity_change IS 'Liquidity that was added to pools of Uniswap v3 or taken from them: Mint and Burn.';

CREATE TABLE chain.orphan_block (
    detected_at timestamp with time zone NOT NULL,
    chain_id bigint CONSTRAINT block_chain_id_not_null NOT NULL,
    number bigint CONSTRAINT block_number_not_null NOT NULL,
    block_time timestamp with time zone CONSTRAINT block_block_time_not_null NOT NULL,
    size bigint CONSTRAINT block_size_not_null NOT NULL,
    tx_count integer CONSTRAINT block_tx_count_not_null NOT NULL,
    hash bytea CONSTRAINT block_hash_not_null NOT NULL,
    parent_hash bytea CONSTRAINT block_parent_hash_not_null NOT NULL,
    miner bytea CONSTRAINT block_miner_not_null NOT NULL,
    state_root bytea CONSTRAINT block_state_root_not_null NOT NULL,
    transactions_root bytea CONSTRAINT block_transactions_root_not_null NOT NULL,
    receipts_root bytea CONSTRAINT block_receipts_root_not_null NOT NULL,
    uncles_hash bytea CONSTRAINT block_uncles_hash_not_null NOT NULL,
    logs_bloom bytea CONSTRAINT block_logs_bloom_not_null NOT NULL,
    extra_data bytea CONSTRAINT block_extra_data_not_null NOT NULL,
    mix_hash bytea,
    nonce bytea,
    difficulty chain.uint256 CONSTRAINT block_difficulty_not_null NOT NULL,
    total_difficulty chain.uint256,
    gas_limit chain.uint64 CONSTRAINT block_gas_limit_not_null NOT NULL,
    gas_used chain.uint64 CONSTRAINT block_gas_used_not_null NOT NULL,
    base_fee chain.uint256,
    uncles bytea[] CONSTRAINT block_uncles_not_null NOT NULL,
    extra json,
    stored_tx_count integer
);

CREATE TABLE chain.orphan_transaction (
    detected_at timestamp with time zone NOT NULL,
    chain_id bigint CONSTRAINT transaction_chain_id_not_null NOT NULL,
    block_number bigint CONSTRAINT transaction_block_number_not_null NOT NULL,
    tx_index integer CONSTRAINT transaction_tx_index_not_null NOT NULL,
    type smallint CONSTRAINT transaction_type_not_null NOT NULL,
    status smallint,
    hash bytea CONSTRAINT transaction_hash_not_null NOT NULL,
    sender bytea CONSTRAINT transaction_sender_not_null NOT NULL,
    recipient bytea,
    contract_address bytea,
    value chain.uint256 CONSTRAINT transaction_value_not_null NOT NULL,
    nonce chain.uint64 CONSTRAINT transaction_nonce_not_null NOT NULL,
    gas chain.uint64 CONSTRAINT transaction_gas_not_null NOT NULL,
    gas_used chain.uint64 CONSTRAINT transaction_gas_used_not_null NOT NULL,
    cumulative_gas_used chain.uint64 CONSTRAINT transaction_cumulative_gas_used_not_null NOT NULL,
    gas_price chain.uint256,
    effective_gas_price chain.uint256,
    fee_cap chain.uint256,
    tip_cap chain.uint256,
    v chain.uint256,
    signature bytea,
    receipt_root bytea,
    logs_bloom bytea,
    input bytea CONSTRAINT transaction_input_not_null NOT NULL,
    extra json,
    receipt_extra json
);

CREATE TABLE chain.orphan_vault_event (
    detected_at timestamp with time zone NOT NULL,
    chain_id bigint CONSTRAINT vault_event_chain_id_not_null NOT NULL,
    block_number bigint CONSTRAINT vault_event_block_number_not_null NOT NULL,
    log_index integer CONSTRAINT vault_event_log_index_not_null NOT NULL,
    tx_index integer CONSTRAINT vault_event_tx_index_not_null NOT NULL,
    generation smallint,
    block_time timestamp with time zone CONSTRAINT vault_event_block_time_not_null NOT NULL,
    kind text CONSTRAINT vault_event_kind_not_null NOT NULL,
    block_hash bytea CONSTRAINT vault_event_block_hash_not_null NOT NULL,
    tx_hash bytea CONSTRAINT vault_event_tx_hash_not_null NOT NULL,
    vault bytea CONSTRAINT vault_event_vault_not_null NOT NULL,
    account bytea,
    token bytea,
    resolver bytea,
    implementation bytea,
    amount chain.uint256,
    nonce chain.uint256
);

CREATE TABLE chain.projection (
    chain_id bigint NOT NULL,
    name text NOT NULL,
    seq bigint NOT NULL,
    number bigint,
    hash bytea,
    updated_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE chain.projection IS 'How far who derives something from facts has come: written in the transaction of what it derives (core/projection.py).';

COMMENT ON COLUMN chain.projection.number IS 'The newest block it knows, with its hash; null while it knows none.';

CREATE TABLE chain.quarantine (
    chain_id bigint NOT NULL,
    number bigint NOT NULL,
    hash bytea NOT NULL,
    endpoint text NOT NULL,
    failed text NOT NULL,
    which text NOT NULL,
    expected text NOT NULL,
    found text NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    times integer DEFAULT 1 NOT NULL,
    resolved_at timestamp with time zone
);

COMMENT ON TABLE chain.quarantine IS 'Blocks that no endpoint served so that they pass, and stored blocks that differ from the node''s: evidence for a person.';

COMMENT ON COLUMN chain.quarantine.failed IS 'The check that failed, or `stored` where what is stored differs.';

COMMENT ON COLUMN chain.quarantine.resolved_at IS 'When a verified block was stored in its place, or what is stored was found equal.';

CREATE TABLE chain.reorg (
    chain_id bigint NOT NULL,
    detected_at timestamp with time zone NOT NULL,
    ancestor_number bigint NOT NULL,
    ancestor_hash bytea,
    orphan_number bigint NOT NULL,
    orphan_hash bytea NOT NULL,
    reason text NOT NULL
);

COMMENT ON TABLE chain.reorg IS 'One row per rewind: blocks above the ancestor up to the orphan were replaced.';

CREATE TABLE chain.seal (
    chain_id bigint NOT NULL,
    width integer NOT NULL,
    first_block bigint NOT NULL,
    transactions bigint NOT NULL
);

COMMENT ON TABLE chain.seal IS 'Segments of finalized blocks that are counted. An address without a row in address_count has few transactions there (core/store/counts.py).';

COMMENT ON COLUMN chain.seal.transactions IS 'How many transactions of the segment are stored.';

CREATE VIEW chain.tick AS
 SELECT chain_id,
    block_number,
    log_index,
    tx_index,
    address AS pool,
    (octet_length(data) = 64) AS first_price,
    (('0x'::text || encode(substr(data,
        CASE octet_length(data)
            WHEN 160 THEN 65
            ELSE 1
        END, 32), 'hex'::text)))::numeric AS sqrt_price_x96,
    ((((('0x'::text || encode(substr(data, (octet_length(data) - 3)), 'hex'::text)))::bigint # '2147483648'::bigint) - '2147483648'::bigint))::integer AS tick,
        CASE octet_length(data)
            WHEN 160 THEN (('0x'::text || encode(substr(data, 97, 32), 'hex'::text)))::numeric
            ELSE (0)::numeric
        END AS liquidity,
        CASE octet_length(data)
            WHEN 160 THEN ((('0x'::text || encode(substr(data, 1, 32), 'hex'::text)))::numeric -
            CASE
                WHEN (get_byte(data, 0) < 128) THEN (0)::numeric
                ELSE '115792089237316195423570985008687907853269984665640564039457584007913129639936'::numeric
            END)
            ELSE NULL::numeric
        END AS amount0,
        CASE octet_length(data)
            WHEN 160 THEN ((('0x'::text || encode(substr(data, 33, 32), 'hex'::text)))::numeric -
            CASE
                WHEN (get_byte(data, 32) < 128) THEN (0)::numeric
                ELSE '115792089237316195423570985008687907853269984665640564039457584007913129639936'::numeric
            END)
            ELSE NULL::numeric
        END AS amount1,
    data
   FROM chain.log l
  WHERE ((topic0 = ANY (ARRAY['\xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67'::bytea, '\x98636036cb66a9c19a37435efc1e90142190214e8abeb821bdba3f2990dd4c95'::bytea])) AND (octet_length(data) =
        CASE topic0
            WHEN '\xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67'::bytea THEN 160
            ELSE 64
        END));

COMMENT ON VIEW chain.tick IS 'What pools of Uniswap v3 said their price was, after each swap and at first; whoever says so, pool or not.';

COMMENT ON COLUMN chain.tick.first_price IS 'Initialize: a price that no swap made; amounts are null.';

COMMENT ON COLUMN chain.tick.sqrt_price_x96 IS 'Square root of token1/token0 in base units, times 2**96.';

COMMENT ON COLUMN chain.tick.liquidity IS 'In range, behind the log; 0 at first.';

COMMENT ON COLUMN chain.tick.amount0 IS 'What the pool received; negative: what it paid.';

COMMENT ON COLUMN chain.tick.data IS 'What the others are decoded from.';

CREATE TABLE chain.token (
    chain_id bigint NOT NULL,
    address bytea NOT NULL,
    block_number bigint NOT NULL,
    block_hash bytea NOT NULL,
    symbol text,
    name text,
    decimals smallint,
    read_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE chain.token IS 'What a token said of itself at a block; a change adds a version.';

COMMENT ON COLUMN chain.token.decimals IS 'Null where the contract has none, or one that no amount can have (over 77).';

CREATE TABLE chain.token_seen (
    chain_id bigint NOT NULL,
    address bytea NOT NULL,
    standard smallint NOT NULL,
    first_block bigint NOT NULL,
    read_at timestamp with time zone
);

COMMENT ON TABLE chain.token_seen IS 'Contracts whose transfers were stored; read_at null waits for its metadata.';

CREATE TABLE chain.token_transfer (
    chain_id bigint NOT NULL,
    block_number bigint NOT NULL,
    log_index integer NOT NULL,
    "position" integer NOT NULL,
    tx_index integer NOT NULL,
    standard smallint NOT NULL,
    token bytea NOT NULL,
    sender bytea NOT NULL,
    recipient bytea NOT NULL,
    amount chain.uint256 NOT NULL,
    token_id chain.uint256
)
PARTITION BY RANGE (block_number);

COMMENT ON COLUMN chain.token_transfer."position" IS 'Place within the log: an ERC-1155 batch moves several tokens.';

COMMENT ON COLUMN chain.token_transfer.standard IS '20, 721 or 1155: the number of the ERC whose event it was.';

COMMENT ON COLUMN chain.token_transfer.amount IS 'Base units of the token; 1 for ERC-721.';

CREATE TABLE chain.transaction (
    chain_id bigint NOT NULL,
    block_number bigint NOT NULL,
    tx_index integer NOT NULL,
    type smallint NOT NULL,
    status smallint,
    hash bytea NOT NULL,
    sender bytea NOT NULL,
    recipient bytea,
    contract_address bytea,
    value chain.uint256 NOT NULL,
    nonce chain.uint64 NOT NULL,
    gas chain.uint64 NOT NULL,
    gas_used chain.uint64 NOT NULL,
    cumulative_gas_used chain.uint64 NOT NULL,
    gas_price chain.uint256,
    effective_gas_price chain.uint256,
    fee_cap chain.uint256,
    tip_cap chain.uint256,
    v chain.uint256,
    signature bytea,
    receipt_root bytea,
    logs_bloom bytea,
    input bytea NOT NULL,
    extra json,
    receipt_extra json
)
PARTITION BY RANGE (block_number);

COMMENT ON COLUMN chain.transaction.status IS '1 or 0; null before Byzantium, when receipts carried receipt_root instead (EIP-658).';

COMMENT ON COLUMN chain.transaction.logs_bloom IS 'Null when all 2048 bits are zero: a transaction without logs.';

COMMENT ON COLUMN chain.transaction.extra IS 'Fields of some transaction types or chains, as the node sent them.';

CREATE TABLE chain.tx_hash (
    chain_id bigint NOT NULL,
    hash_key bigint NOT NULL,
    block_number bigint NOT NULL,
    tx_index integer NOT NULL
);

COMMENT ON COLUMN chain.tx_hash.hash_key IS 'First 8 bytes of the hash, big-endian; the full hash is compared on the fetched row.';

CREATE TABLE chain.vault_event (
    chain_id bigint NOT NULL,
    block_number bigint NOT NULL,
    log_index integer NOT NULL,
    tx_index integer NOT NULL,
    generation smallint,
    block_time timestamp with time zone NOT NULL,
    kind text NOT NULL,
    block_hash bytea NOT NULL,
    tx_hash bytea NOT NULL,
    vault bytea NOT NULL,
    account bytea,
    token bytea,
    resolver bytea,
    implementation bytea,
    amount chain.uint256,
    nonce chain.uint256,
    CONSTRAINT vault_event_kind_check CHECK ((kind = ANY (ARRAY['deposit'::text, 'withdraw'::text, 'nonce_cancelled'::text, 'upgraded'::text])))
);

COMMENT ON COLUMN chain.vault_event.generation IS 'Of deposits: 3 current, 2 without resolver, 1 without resolver and nonce.';

COMMENT ON COLUMN chain.vault_event.account IS 'Who deposited, or who received a withdrawal.';

COMMENT ON COLUMN chain.vault_event.token IS '20 zero bytes for the native coin.';

CREATE TABLE chain.verified (
    chain_id bigint NOT NULL,
    checks smallint NOT NULL,
    blocks int8multirange NOT NULL,
    CONSTRAINT verified_checks_check CHECK ((checks > 0))
);

COMMENT ON TABLE chain.verified IS 'Which stored blocks passed which checks, written in the transaction of their rows; a block is in one row at most, and in none if it was never verified.';

CREATE TABLE chain.watched_vault (
    chain_id bigint NOT NULL,
    vault bytea NOT NULL,
    watched_from bigint NOT NULL,
    scanned int8multirange DEFAULT '{}'::int8multirange NOT NULL
);

COMMENT ON TABLE chain.watched_vault IS 'SignedVault contracts that settings name; deposits of others are not shown.';

COMMENT ON COLUMN chain.watched_vault.watched_from IS 'First block the head writer committed with this vault in its settings.';

COMMENT ON COLUMN chain.watched_vault.scanned IS 'Finalized blocks whose logs of this vault were asked for by address as well.';

CREATE TABLE droid.account (
    account_id integer NOT NULL,
    chain_id bigint NOT NULL,
    wallet bytea NOT NULL,
    CONSTRAINT account_wallet_check CHECK ((octet_length(wallet) = 20))
);

COMMENT ON TABLE droid.account IS 'Wallets that droids may use; settings of the sender say what each may do.';

CREATE SEQUENCE droid.bot_number
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE droid.bot (
    bot_id bigint DEFAULT nextval('droid.bot_number'::regclass) NOT NULL,
    droid_id bigint NOT NULL,
    slot integer,
    position_id numeric(78,0),
    lower_tick integer NOT NULL,
    upper_tick integer NOT NULL,
    liquidity numeric(39,0) NOT NULL,
    status text NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT bot_status_check CHECK ((status = ANY (ARRAY['PLANNED'::text, 'OPENING'::text, 'ACTIVE'::text, 'CLOSING'::text, 'CLOSED'::text, 'FAILED'::text, 'ORPHAN'::text])))
);

COMMENT ON TABLE droid.bot IS 'Slots of ladders, the centre is 0. A slot lives on while its position changes. Follows from positions and the open move.';

COMMENT ON COLUMN droid.bot.slot IS 'None for an ORPHAN: a position of this pool that the wallet has and the worker did not open.';

CREATE SEQUENCE droid.decision_number
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE droid.decision (
    decision_id bigint DEFAULT nextval('droid.decision_number'::regclass) NOT NULL,
    droid_id bigint NOT NULL,
    session_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    block_number bigint NOT NULL,
    block_hash bytea NOT NULL,
    decided text NOT NULL,
    word text NOT NULL,
    sentence text NOT NULL,
    price numeric,
    ema numeric,
    slope numeric,
    intent_id uuid,
    CONSTRAINT decision_decided_check CHECK ((decided = ANY (ARRAY['Hold'::text, 'Rebalance'::text, 'Close'::text, 'Approve'::text])))
);

COMMENT ON TABLE droid.decision IS 'Why a droid acted, or did not: one for each look at the chain.';

COMMENT ON COLUMN droid.decision.slope IS 'Of the EMA: d ln(price)/dt per hour.';

CREATE SEQUENCE droid.droid_number
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE droid.droid (
    droid_id bigint DEFAULT nextval('droid.droid_number'::regclass) NOT NULL,
    chain_id bigint NOT NULL,
    account_id integer NOT NULL,
    wallet bytea NOT NULL,
    pool_id integer NOT NULL,
    config jsonb NOT NULL,
    active smallint DEFAULT 0 NOT NULL,
    command bigint DEFAULT 0 NOT NULL,
    commanded_at timestamp with time zone,
    commanded_by text,
    commanded_as text,
    answered bigint DEFAULT 0 NOT NULL,
    holds boolean DEFAULT false NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT droid_active_check CHECK (((active >= 0) AND (active <= 3))),
    CONSTRAINT droid_wallet_check CHECK ((octet_length(wallet) = 20))
);

COMMENT ON TABLE droid.droid IS 'What people ask for. They write config and commands, the worker answers them.';

COMMENT ON COLUMN droid.droid.config IS 'Fields as in the API, valid by droids/droid.py when they were written.';

COMMENT ON COLUMN droid.droid.active IS '0 pause, 1 run, 2 reset and run, 3 close all and stop. The worker puts 1 after 2 and 0 after 3.';

COMMENT ON COLUMN droid.droid.command IS 'Counts commands, so that the same one given twice is two.';

COMMENT ON COLUMN droid.droid.answered IS 'The last command that the worker carried out.';

COMMENT ON COLUMN droid.droid.holds IS 'From its first session until it is stopped, the wallet is its own.';

COMMENT ON COLUMN droid.droid.note IS 'What keeps it from running at all, for people.';

CREATE TABLE droid.ledger (
    droid_id bigint NOT NULL,
    block_number bigint NOT NULL,
    block_hash bytea NOT NULL,
    entry integer NOT NULL,
    asset bytea NOT NULL,
    kind text NOT NULL,
    amount numeric(79,0) NOT NULL,
    at timestamp with time zone NOT NULL,
    intent_id uuid,
    tx_hash bytea,
    token_id numeric(78,0),
    CONSTRAINT ledger_kind_check CHECK ((kind = ANY (ARRAY['opening'::text, 'external'::text, 'put'::text, 'principal'::text, 'fee'::text, 'gas'::text])))
);

COMMENT ON TABLE droid.ledger IS 'Every base unit that came to the wallet (positive) or left it, since the droid has it. Empty asset: wei.';

COMMENT ON COLUMN droid.ledger.entry IS 'Index of the log; -1 for gas, -2 for what was found at a block.';

COMMENT ON COLUMN droid.ledger.kind IS 'opening: what was there at first. external: what came or went without us, found by the balance.';

CREATE TABLE droid.memory (
    droid_id bigint NOT NULL,
    ema numeric,
    slope numeric,
    sampled_at bigint,
    since bigint,
    anchor numeric,
    mark_sqrt_x96 numeric(49,0),
    lvr numeric(79,0) DEFAULT 0 NOT NULL,
    CONSTRAINT memory_check CHECK ((num_nonnulls(ema, slope, sampled_at, since) = ANY (ARRAY[0, 4])))
);

COMMENT ON TABLE droid.memory IS 'What a droid knows across restarts beside its moves and positions. Times are Unix seconds.';

COMMENT ON COLUMN droid.memory.lvr IS 'Loss versus rebalancing so far, base units of the quote; marked to mark_sqrt_x96.';

CREATE TABLE droid.move (
    intent_id uuid NOT NULL,
    droid_id bigint NOT NULL,
    session_id bigint NOT NULL,
    kind text NOT NULL,
    at timestamp with time zone NOT NULL,
    block_number bigint NOT NULL,
    block_hash bytea NOT NULL,
    sqrt_x96 numeric(49,0) NOT NULL,
    spans jsonb NOT NULL,
    anchor numeric,
    native_price numeric NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    outcome text DEFAULT ''::text NOT NULL,
    ended_at timestamp with time zone,
    tx_hash bytea,
    mined_number bigint,
    mined_hash bytea,
    CONSTRAINT move_kind_check CHECK ((kind = ANY (ARRAY['approve'::text, 'rebalance'::text, 'close'::text]))),
    CONSTRAINT move_state_check CHECK ((state = ANY (ARRAY['open'::text, 'done'::text, 'failed'::text])))
);

COMMENT ON TABLE droid.move IS 'What a droid has had sent. One is open at a time; it counts once its intent is final, by its receipt.';

COMMENT ON COLUMN droid.move.spans IS 'The ladder that is meant, centre first: pairs of ticks of the pool.';

COMMENT ON COLUMN droid.move.native_price IS 'What the native coin was worth in USD when it was planned: gas is counted by it.';

COMMENT ON COLUMN droid.move.outcome IS 'What became of the intent: done, reverted, cancelled, dropped, rehearsed, lost; unexpected: done, and its receipt says something else.';

CREATE TABLE droid.pool (
    pool_id integer NOT NULL,
    chain_id bigint NOT NULL,
    address bytea NOT NULL,
    manager bytea NOT NULL,
    quote bytea NOT NULL,
    token0 bytea,
    token1 bytea,
    decimals0 smallint,
    decimals1 smallint,
    fee integer,
    spacing integer,
    CONSTRAINT pool_address_check CHECK ((octet_length(address) = 20)),
    CONSTRAINT pool_check CHECK ((num_nonnulls(token0, token1, decimals0, decimals1, fee, spacing) = ANY (ARRAY[0, 6]))),
    CONSTRAINT pool_check1 CHECK (((token0 IS NULL) OR ((quote = token0) OR (quote = token1)))),
    CONSTRAINT pool_manager_check CHECK ((octet_length(manager) = 20)),
    CONSTRAINT pool_quote_check CHECK ((octet_length(quote) = 20)),
    CONSTRAINT pool_token0_check CHECK ((octet_length(token0) = 20)),
    CONSTRAINT pool_token1_check CHECK ((octet_length(token1) = 20))
);

COMMENT ON TABLE droid.pool IS 'Pools of Uniswap v3 that droids may be in. What follows quote is read from the contracts by the worker.';

COMMENT ON COLUMN droid.pool.manager IS 'The NonfungiblePositionManager that holds the positions.';

COMMENT ON COLUMN droid.pool.quote IS 'The token that prices are in: taken for a dollar.';

CREATE TABLE droid."position" (
    chain_id bigint NOT NULL,
    manager bytea NOT NULL,
    token_id numeric(78,0) NOT NULL,
    droid_id bigint NOT NULL,
    slot integer NOT NULL,
    lower_tick integer NOT NULL,
    upper_tick integer NOT NULL,
    liquidity numeric(39,0) NOT NULL,
    opened_by uuid NOT NULL,
    put0 chain.uint256 NOT NULL,
    put1 chain.uint256 NOT NULL,
    closed_by uuid,
    closed_sqrt_x96 numeric(49,0),
    got0 chain.uint256,
    got1 chain.uint256,
    gone_at timestamp with time zone,
    CONSTRAINT position_check CHECK ((num_nonnulls(closed_by, closed_sqrt_x96, got0, got1) = ANY (ARRAY[0, 4])))
);

COMMENT ON TABLE droid."position" IS 'NFTs that droids opened, from receipts of final intents alone. put and got are without fees.';

COMMENT ON COLUMN droid."position".gone_at IS 'When the chain was found not to have it any more although no intent of ours closed it: a ghost.';

CREATE SEQUENCE droid.session_number
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE droid.session (
    session_id bigint DEFAULT nextval('droid.session_number'::regclass) NOT NULL,
    droid_id bigint NOT NULL,
    status text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    stopped_at timestamp with time zone,
    gas_wei chain.uint256 DEFAULT 0 NOT NULL,
    gas_usd numeric DEFAULT 0 NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    CONSTRAINT session_status_check CHECK ((status = ANY (ARRAY['WARMING'::text, 'RUNNING'::text, 'PAUSED'::text, 'RESETTING'::text, 'CLOSING'::text, 'STOPPED'::text, 'HALTED'::text])))
);

COMMENT ON TABLE droid.session IS 'From a start to a reset or stop; the gas budget is that of a session.';

CREATE SEQUENCE droid.snapshot_number
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE droid.snapshot (
    snapshot_id bigint DEFAULT nextval('droid.snapshot_number'::regclass) NOT NULL,
    droid_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    block_number bigint NOT NULL,
    block_hash bytea NOT NULL,
    price numeric NOT NULL,
    aum numeric(79,0) NOT NULL,
    base numeric(79,0) NOT NULL,
    quote numeric(79,0) NOT NULL,
    idle_base numeric(79,0) NOT NULL,
    idle_quote numeric(79,0) NOT NULL,
    fees_base numeric(79,0) NOT NULL,
    fees_quote numeric(79,0) NOT NULL,
    fees_earned numeric(79,0) NOT NULL,
    gas_wei numeric(79,0) NOT NULL,
    gas_usd numeric NOT NULL,
    hold numeric(79,0) NOT NULL,
    il numeric(79,0) NOT NULL,
    lvr numeric(79,0) NOT NULL,
    eth_wallet numeric(79,0) NOT NULL
);

COMMENT ON TABLE droid.snapshot IS 'What a droid is worth at a block: base units of the tokens; aum, hold, il, lvr and fees_earned in those of the quote.';

COMMENT ON COLUMN droid.snapshot.aum IS 'Positions, their fees and idle tokens; without the wei of the wallet, which are eth_wallet.';

COMMENT ON COLUMN droid.snapshot.base IS 'In positions, without fees; fees_base and fees_quote are not collected yet.';

COMMENT ON COLUMN droid.snapshot.hold IS 'What all that people gave would be worth now, had nothing been done with it.';

CREATE TABLE wallet.activation (
    activation_id uuid NOT NULL,
    chain_id bigint NOT NULL,
    wallet bytea NOT NULL,
    code_hashes jsonb NOT NULL,
    activated_at timestamp with time zone NOT NULL,
    activated_by text NOT NULL,
    because text NOT NULL,
    revoked_at timestamp with time zone,
    revoked_by text
);

COMMENT ON TABLE wallet.activation IS 'Without a row that is not revoked, and the setting live, nothing is signed for a wallet.';

COMMENT ON COLUMN wallet.activation.code_hashes IS 'keccak-256 of the code of every contract it may call, by address.';

CREATE TABLE wallet.attempt (
    tx_hash bytea NOT NULL,
    intent_id uuid NOT NULL,
    place integer NOT NULL,
    kind text NOT NULL,
    raw bytea NOT NULL,
    gas bigint NOT NULL,
    fee_cap chain.uint256 NOT NULL,
    tip_cap chain.uint256 NOT NULL,
    head_number bigint NOT NULL,
    signed_at timestamp with time zone NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    CONSTRAINT attempt_kind_check CHECK ((kind = ANY (ARRAY['send'::text, 'cancel'::text]))),
    CONSTRAINT attempt_tx_hash_check CHECK ((octet_length(tx_hash) = 32))
);

COMMENT ON TABLE wallet.attempt IS 'Signed transactions, committed before a node sees them; all of one intent have its nonce.';

COMMENT ON COLUMN wallet.attempt.note IS 'What the node said to the last broadcast.';

CREATE TABLE wallet.halt (
    halt_id uuid NOT NULL,
    halted_at timestamp with time zone NOT NULL,
    halted_by text NOT NULL,
    because text NOT NULL,
    lifted_at timestamp with time zone,
    lifted_by text
);

COMMENT ON TABLE wallet.halt IS 'The kill switch: while a row is not lifted, nothing is signed or broadcast for any wallet.';

CREATE TABLE wallet.intent (
    intent_id uuid NOT NULL,
    chain_id bigint NOT NULL,
    wallet bytea NOT NULL,
    owner text NOT NULL,
    kind text NOT NULL,
    target bytea NOT NULL,
    data bytea NOT NULL,
    value chain.uint256 NOT NULL,
    priority smallint NOT NULL,
    deadline timestamp with time zone NOT NULL,
    queued_at timestamp with time zone DEFAULT now() NOT NULL,
    cancel_at timestamp with time zone,
    cancel_by text,
    cancel_because text,
    state text DEFAULT 'queued'::text NOT NULL,
    nonce bigint,
    outcome text,
    note text DEFAULT ''::text NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    reopened integer DEFAULT 0 NOT NULL,
    max_fee chain.uint256,
    CONSTRAINT intent_check CHECK (((state = ANY (ARRAY['pending'::text, 'mined'::text, 'settled'::text, 'lost'::text])) = (nonce IS NOT NULL))),
    CONSTRAINT intent_check1 CHECK (((state = ANY (ARRAY['mined'::text, 'settled'::text])) = (outcome IS NOT NULL))),
    CONSTRAINT intent_outcome_check CHECK ((outcome = ANY (ARRAY['done'::text, 'reverted'::text, 'cancelled'::text]))),
    CONSTRAINT intent_priority_check CHECK (((priority >= 1) AND (priority <= 5))),
    CONSTRAINT intent_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'pending'::text, 'mined'::text, 'settled'::text, 'dropped'::text, 'rehearsed'::text, 'lost'::text]))),
    CONSTRAINT intent_target_check CHECK ((octet_length(target) = 20)),
    CONSTRAINT intent_wallet_check CHECK ((octet_length(wallet) = 20))
);

COMMENT ON TABLE wallet.intent IS 'What features mean to send. They insert and read; the sender alone moves the state (docs/sending.md).';

COMMENT ON COLUMN wallet.intent.note IS 'Why it is where it is, for people.';

COMMENT ON COLUMN wallet.intent.reopened IS 'How often a reorg took it out of a block.';

COMMENT ON COLUMN wallet.intent.max_fee IS 'The most for each gas that its owner wants paid, below what the wallet''s settings allow; none: no limit of its own.';

CREATE TABLE wallet.movement (
    tx_hash bytea NOT NULL,
    asset bytea NOT NULL,
    amount numeric(79,0) NOT NULL
);

COMMENT ON TABLE wallet.movement IS 'The ledger: what a receipt moved into (positive) or out of the wallet; empty asset: wei, fee included.';

CREATE TABLE wallet.receipt (
    tx_hash bytea NOT NULL,
    intent_id uuid NOT NULL,
    block_number bigint NOT NULL,
    block_hash bytea NOT NULL,
    ok boolean NOT NULL,
    gas_used bigint NOT NULL,
    fee chain.uint256 NOT NULL,
    logs jsonb NOT NULL
);

COMMENT ON TABLE wallet.receipt IS 'Of the one attempt of an intent that is in the chain; taken away when a reorg takes the block.';

CREATE TABLE wallet.spend (
    intent_id uuid NOT NULL,
    asset bytea NOT NULL,
    amount chain.uint256 NOT NULL,
    at timestamp with time zone NOT NULL
);

COMMENT ON TABLE wallet.spend IS 'The most that a signed intent may take out: what the caps of 24 hours count.';

ALTER TABLE ONLY accounts.api_token
    ADD CONSTRAINT api_token_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY accounts.api_token
    ADD CONSTRAINT api_token_prefix_key UNIQUE (prefix);

ALTER TABLE ONLY accounts.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (audit_id);

ALTER TABLE ONLY accounts.person
    ADD CONSTRAINT person_email_key_key UNIQUE (email_key);

ALTER TABLE ONLY accounts.person
    ADD CONSTRAINT person_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY accounts.refresh_token
    ADD CONSTRAINT refresh_token_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY accounts.refresh_token
    ADD CONSTRAINT refresh_token_session_id_generation_key UNIQUE (session_id, generation);

ALTER TABLE ONLY accounts.session
    ADD CONSTRAINT session_pkey PRIMARY KEY (session_id);

ALTER TABLE ONLY accounts.signing_key
    ADD CONSTRAINT signing_key_pkey PRIMARY KEY (kid);

ALTER TABLE ONLY chain.address_count
    ADD CONSTRAINT address_count_pkey PRIMARY KEY (chain_id, address, width, first_block);

ALTER TABLE ONLY chain.address_transaction
    ADD CONSTRAINT address_transaction_pkey PRIMARY KEY (chain_id, address, block_number, tx_index);

ALTER TABLE ONLY chain.alarm
    ADD CONSTRAINT alarm_pkey PRIMARY KEY (chain_id, raised_at, tip_hash);

ALTER TABLE ONLY chain.block
    ADD CONSTRAINT block_pkey PRIMARY KEY (chain_id, number);

ALTER TABLE ONLY chain.chain
    ADD CONSTRAINT chain_pkey PRIMARY KEY (chain_id);

ALTER TABLE ONLY chain.coverage
    ADD CONSTRAINT coverage_disjoint EXCLUDE USING gist (int8range(chain_id, chain_id, '[]'::text) WITH &&, blocks WITH &&);

ALTER TABLE ONLY chain.cursor
    ADD CONSTRAINT cursor_pkey PRIMARY KEY (chain_id);

ALTER TABLE ONLY chain.deposit_count
    ADD CONSTRAINT deposit_count_pkey PRIMARY KEY (chain_id, width, first_block, vault, resolver, token);

ALTER TABLE ONLY chain.deposit_seal
    ADD CONSTRAINT deposit_seal_pkey PRIMARY KEY (chain_id, width);

ALTER TABLE ONLY chain.endpoint
    ADD CONSTRAINT endpoint_pkey PRIMARY KEY (chain_id, url_hash);

ALTER TABLE ONLY chain.event_transaction
    ADD CONSTRAINT event_transaction_pkey PRIMARY KEY (chain_id, block_number, tx_index);

ALTER TABLE ONLY chain.fact
    ADD CONSTRAINT fact_pkey PRIMARY KEY (chain_id, seq);

ALTER TABLE ONLY chain.fact_tail
    ADD CONSTRAINT fact_tail_pkey PRIMARY KEY (chain_id);

ALTER TABLE ONLY chain.head
    ADD CONSTRAINT head_pkey PRIMARY KEY (chain_id);

ALTER TABLE ONLY chain.lease
    ADD CONSTRAINT lease_disjoint EXCLUDE USING gist (int8range(chain_id, chain_id, '[]'::text) WITH &&, blocks WITH &&);

ALTER TABLE ONLY chain.lease
    ADD CONSTRAINT lease_pkey PRIMARY KEY (chain_id, token);

ALTER TABLE ONLY chain.log
    ADD CONSTRAINT log_pkey PRIMARY KEY (chain_id, block_number, log_index);

ALTER TABLE ONLY chain.orphan_block
    ADD CONSTRAINT orphan_block_pkey PRIMARY KEY (chain_id, detected_at, number);

ALTER TABLE ONLY chain.orphan_transaction
    ADD CONSTRAINT orphan_transaction_pkey PRIMARY KEY (chain_id, detected_at, block_number, tx_index);

ALTER TABLE ONLY chain.orphan_vault_event
    ADD CONSTRAINT orphan_vault_event_pkey PRIMARY KEY (chain_id, detected_at, block_number, log_index);

ALTER TABLE ONLY chain.projection
    ADD CONSTRAINT projection_pkey PRIMARY KEY (chain_id, name);

ALTER TABLE ONLY chain.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (chain_id, number, hash, endpoint, failed);

ALTER TABLE ONLY chain.reorg
    ADD CONSTRAINT reorg_pkey PRIMARY KEY (chain_id, detected_at, orphan_hash);

ALTER TABLE ONLY chain.seal
    ADD CONSTRAINT seal_pkey PRIMARY KEY (chain_id, width, first_block);

ALTER TABLE ONLY chain.token
    ADD CONSTRAINT token_pkey PRIMARY KEY (chain_id, address, block_number);

ALTER TABLE ONLY chain.token_seen
    ADD CONSTRAINT token_seen_pkey PRIMARY KEY (chain_id, address);

ALTER TABLE ONLY chain.token_transfer
    ADD CONSTRAINT token_transfer_pkey PRIMARY KEY (chain_id, block_number, tx_index, log_index, "position");

ALTER TABLE ONLY chain.transaction
    ADD CONSTRAINT transaction_pkey PRIMARY KEY (chain_id, block_number, tx_index);

ALTER TABLE ONLY chain.tx_hash
    ADD CONSTRAINT tx_hash_pkey PRIMARY KEY (chain_id, hash_key, block_number, tx_index);

ALTER TABLE ONLY chain.vault_event
    ADD CONSTRAINT vault_event_pkey PRIMARY KEY (chain_id, block_number, log_index);

ALTER TABLE ONLY chain.verified
    ADD CONSTRAINT verified_pkey PRIMARY KEY (chain_id, checks);

ALTER TABLE ONLY chain.watched_vault
    ADD CONSTRAINT watched_vault_pkey PRIMARY KEY (chain_id, vault);

ALTER TABLE ONLY droid.account
    ADD CONSTRAINT account_chain_id_wallet_key UNIQUE (chain_id, wallet);

ALTER TABLE ONLY droid.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (account_id);

ALTER TABLE ONLY droid.bot
    ADD CONSTRAINT bot_droid_id_slot_key UNIQUE (droid_id, slot);

ALTER TABLE ONLY droid.bot
    ADD CONSTRAINT bot_pkey PRIMARY KEY (bot_id);

ALTER TABLE ONLY droid.decision
    ADD CONSTRAINT decision_pkey PRIMARY KEY (decision_id);

ALTER TABLE ONLY droid.droid
    ADD CONSTRAINT droid_pkey PRIMARY KEY (droid_id);

ALTER TABLE ONLY droid.ledger
    ADD CONSTRAINT ledger_pkey PRIMARY KEY (droid_id, block_number, entry, asset, kind);

ALTER TABLE ONLY droid.memory
    ADD CONSTRAINT memory_pkey PRIMARY KEY (droid_id);

ALTER TABLE ONLY droid.move
    ADD CONSTRAINT move_pkey PRIMARY KEY (intent_id);

ALTER TABLE ONLY droid.pool
    ADD CONSTRAINT pool_chain_id_address_key UNIQUE (chain_id, address);

ALTER TABLE ONLY droid.pool
    ADD CONSTRAINT pool_pkey PRIMARY KEY (pool_id);

ALTER TABLE ONLY droid."position"
    ADD CONSTRAINT position_pkey PRIMARY KEY (chain_id, manager, token_id);

ALTER TABLE ONLY droid.session
    ADD CONSTRAINT session_pkey PRIMARY KEY (session_id);

ALTER TABLE ONLY droid.snapshot
    ADD CONSTRAINT snapshot_droid_id_block_number_block_hash_key UNIQUE (droid_id, block_number, block_hash);

ALTER TABLE ONLY droid.snapshot
    ADD CONSTRAINT snapshot_pkey PRIMARY KEY (snapshot_id);

ALTER TABLE ONLY wallet.activation
    ADD CONSTRAINT activation_pkey PRIMARY KEY (activation_id);

ALTER TABLE ONLY wallet.attempt
    ADD CONSTRAINT attempt_intent_id_place_key UNIQUE (intent_id, place);

ALTER TABLE ONLY wallet.attempt
    ADD CONSTRAINT attempt_pkey PRIMARY KEY (tx_hash);

ALTER TABLE ONLY wallet.halt
    ADD CONSTRAINT halt_pkey PRIMARY KEY (halt_id);

ALTER TABLE ONLY wallet.intent
    ADD CONSTRAINT intent_chain_id_wallet_nonce_key UNIQUE (chain_id, wallet, nonce);

ALTER TABLE ONLY wallet.intent
    ADD CONSTRAINT intent_pkey PRIMARY KEY (intent_id);

ALTER TABLE ONLY wallet.movement
    ADD CONSTRAINT movement_pkey PRIMARY KEY (tx_hash, asset);

ALTER TABLE ONLY wallet.receipt
    ADD CONSTRAINT receipt_intent_id_key UNIQUE (intent_id);

ALTER TABLE ONLY wallet.receipt
    ADD CONSTRAINT receipt_pkey PRIMARY KEY (tx_hash);

ALTER TABLE ONLY wallet.spend
    ADD CONSTRAINT spend_pkey PRIMARY KEY (intent_id, asset);

CREATE UNIQUE INDEX api_token_owner ON accounts.api_token USING btree (user_id) WHERE ((user_id IS NOT NULL) AND (revoked_at IS NULL));

CREATE INDEX audit_at ON accounts.audit USING btree (at);

CREATE INDEX session_of ON accounts.session USING btree (user_id) WHERE (ended_at IS NULL);

CREATE INDEX address_count_by_block ON chain.address_count USING btree (chain_id, first_block);

CREATE INDEX block_by_time ON ONLY chain.block USING btree (chain_id, block_time, number);

CREATE INDEX deposit_count_by_resolver ON chain.deposit_count USING btree (chain_id, resolver, width, first_block);

CREATE INDEX log_of_pool ON ONLY chain.log USING btree (chain_id, address, block_number, log_index) WHERE (topic0 = ANY (ARRAY['\xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67'::bytea, '\x98636036cb66a9c19a37435efc1e90142190214e8abeb821bdba3f2990dd4c95'::bytea, '\x7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde'::bytea, '\x0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c'::bytea]));

CREATE INDEX orphan_vault_event_by_log ON chain.orphan_vault_event USING btree (chain_id, block_number, log_index);

CREATE INDEX quarantine_chain_id_number_idx ON chain.quarantine USING btree (chain_id, number) WHERE (resolved_at IS NULL);

CREATE INDEX token_by_block ON chain.token USING btree (chain_id, block_number);

CREATE INDEX token_seen_unread ON chain.token_seen USING btree (chain_id, first_block) WHERE (read_at IS NULL);

CREATE INDEX token_transfer_by_token ON ONLY chain.token_transfer USING btree (chain_id, token, block_number, tx_index);

CREATE INDEX vault_event_by_account ON chain.vault_event USING btree (chain_id, account, block_number) WHERE (kind = 'deposit'::text);

CREATE INDEX vault_event_by_nonce ON chain.vault_event USING btree (chain_id, nonce) WHERE (kind = 'deposit'::text);

CREATE INDEX vault_event_by_resolver ON chain.vault_event USING btree (chain_id, resolver, block_number) WHERE (kind = 'deposit'::text);

CREATE INDEX vault_upgrade ON chain.vault_event USING btree (chain_id, vault, block_number, log_index) WHERE (kind = 'upgraded'::text);

CREATE UNIQUE INDEX bot_orphan ON droid.bot USING btree (droid_id, position_id) WHERE (slot IS NULL);

CREATE INDEX decision_at ON droid.decision USING btree (at);

CREATE INDEX decision_of ON droid.decision USING btree (droid_id, decision_id);

CREATE UNIQUE INDEX droid_of_wallet ON droid.droid USING btree (chain_id, wallet) WHERE ((active <> 0) OR holds);

CREATE INDEX ledger_of_intent ON droid.ledger USING btree (intent_id) WHERE (intent_id IS NOT NULL);

CREATE INDEX move_of ON droid.move USING btree (droid_id, at);

CREATE UNIQUE INDEX move_open ON droid.move USING btree (droid_id) WHERE (state = 'open'::text);

CREATE INDEX position_of ON droid."position" USING btree (droid_id, slot) WHERE (closed_by IS NULL);

CREATE INDEX session_of ON droid.session USING btree (droid_id, session_id);

CREATE UNIQUE INDEX session_open ON droid.session USING btree (droid_id) WHERE (stopped_at IS NULL);

CREATE INDEX snapshot_of ON droid.snapshot USING btree (droid_id, snapshot_id);

CREATE UNIQUE INDEX activation_active ON wallet.activation USING btree (chain_id, wallet) WHERE (revoked_at IS NULL);

CREATE INDEX intent_open ON wallet.intent USING btree (chain_id, wallet, priority, queued_at) WHERE (state = ANY (ARRAY['queued'::text, 'pending'::text, 'mined'::text]));

CREATE INDEX intent_queued_at ON wallet.intent USING btree (queued_at);

CREATE INDEX spend_at ON wallet.spend USING btree (at);

GRANT USAGE ON SCHEMA accounts TO chainworkd_api;

GRANT USAGE ON SCHEMA chain TO chainworkd_api;
GRANT USAGE ON SCHEMA chain TO chainworkd_worker;
GRANT USAGE ON SCHEMA chain TO chainworkd_sender;

GRANT USAGE ON SCHEMA droid TO chainworkd_worker;
GRANT USAGE ON SCHEMA droid TO chainworkd_api;

GRANT USAGE ON SCHEMA wallet TO chainworkd_sender;
GRANT USAGE ON SCHEMA wallet TO chainworkd_worker;
GRANT USAGE ON SCHEMA wallet TO chainworkd_api;

GRANT SELECT,INSERT ON TABLE accounts.api_token TO chainworkd_api;

GRANT UPDATE(revoked_at) ON TABLE accounts.api_token TO chainworkd_api;

GRANT UPDATE(last_used_at) ON TABLE accounts.api_token TO chainworkd_api;

GRANT SELECT,INSERT ON TABLE accounts.audit TO chainworkd_api;

GRANT SELECT,INSERT ON TABLE accounts.person TO chainworkd_api;

GRANT UPDATE(password_hash) ON TABLE accounts.person TO chainworkd_api;

GRANT UPDATE(role) ON TABLE accounts.person TO chainworkd_api;

GRANT UPDATE(status) ON TABLE accounts.person TO chainworkd_api;

GRANT UPDATE(updated_at) ON TABLE accounts.person TO chainworkd_api;

GRANT SELECT,INSERT,DELETE ON TABLE accounts.refresh_token TO chainworkd_api;

GRANT UPDATE(used_at) ON TABLE accounts.refresh_token TO chainworkd_api;

GRANT UPDATE(salt) ON TABLE accounts.refresh_token TO chainworkd_api;

GRANT SELECT,INSERT,DELETE ON TABLE accounts.session TO chainworkd_api;

GRANT UPDATE(ended_at) ON TABLE accounts.session TO chainworkd_api;

GRANT UPDATE(ended_because) ON TABLE accounts.session TO chainworkd_api;

GRANT SELECT,INSERT,DELETE ON TABLE accounts.signing_key TO chainworkd_api;

GRANT SELECT ON TABLE chain.address_count TO chainworkd_worker;
GRANT SELECT ON TABLE chain.address_count TO chainworkd_api;

GRANT SELECT ON TABLE chain.address_transaction TO chainworkd_api;
GRANT SELECT ON TABLE chain.address_transaction TO chainworkd_worker;

GRANT SELECT ON TABLE chain.alarm TO chainworkd_worker;
GRANT SELECT ON TABLE chain.alarm TO chainworkd_api;
GRANT SELECT ON TABLE chain.alarm TO chainworkd_sender;

GRANT SELECT ON TABLE chain.block TO chainworkd_api;
GRANT SELECT ON TABLE chain.block TO chainworkd_worker;

GRANT SELECT ON TABLE chain.chain TO chainworkd_api;
GRANT SELECT ON TABLE chain.chain TO chainworkd_worker;

GRANT SELECT ON TABLE chain.coverage TO chainworkd_api;
GRANT SELECT ON TABLE chain.coverage TO chainworkd_worker;

GRANT SELECT ON TABLE chain.cursor TO chainworkd_api;
GRANT SELECT ON TABLE chain.cursor TO chainworkd_worker;

GRANT SELECT ON TABLE chain.deposit_count TO chainworkd_worker;
GRANT SELECT ON TABLE chain.deposit_count TO chainworkd_api;

GRANT SELECT ON TABLE chain.deposit_seal TO chainworkd_worker;
GRANT SELECT ON TABLE chain.deposit_seal TO chainworkd_api;

GRANT SELECT ON TABLE chain.endpoint TO chainworkd_worker;
GRANT SELECT ON TABLE chain.endpoint TO chainworkd_api;

GRANT SELECT ON TABLE chain.event_transaction TO chainworkd_worker;
GRANT SELECT ON TABLE chain.event_transaction TO chainworkd_api;

GRANT SELECT ON TABLE chain.fact TO chainworkd_worker;
GRANT SELECT ON TABLE chain.fact TO chainworkd_api;

GRANT SELECT ON TABLE chain.fact_tail TO chainworkd_worker;
GRANT SELECT ON TABLE chain.fact_tail TO chainworkd_api;

GRANT SELECT ON TABLE chain.head TO chainworkd_api;
GRANT SELECT ON TABLE chain.head TO chainworkd_worker;

GRANT SELECT ON TABLE chain.lease TO chainworkd_worker;
GRANT SELECT ON TABLE chain.lease TO chainworkd_api;

GRANT SELECT ON TABLE chain.log TO chainworkd_worker;
GRANT SELECT ON TABLE chain.log TO chainworkd_api;

GRANT SELECT ON TABLE chain.liquidity_change TO chainworkd_worker;
GRANT SELECT ON TABLE chain.liquidity_change TO chainworkd_api;

GRANT SELECT ON TABLE chain.orphan_block TO chainworkd_api;
GRANT SELECT ON TABLE chain.orphan_block TO chainworkd_worker;

GRANT SELECT ON TABLE chain.orphan_transaction TO chainworkd_api;
GRANT SELECT ON TABLE chain.orphan_transaction TO chainworkd_worker;

GRANT SELECT ON TABLE chain.orphan_vault_event TO chainworkd_worker;
GRANT SELECT ON TABLE chain.orphan_vault_event TO chainworkd_api;

GRANT SELECT,INSERT,UPDATE ON TABLE chain.projection TO chainworkd_worker;
GRANT SELECT ON TABLE chain.projection TO chainworkd_api;

GRANT SELECT ON TABLE chain.quarantine TO chainworkd_worker;
GRANT SELECT ON TABLE chain.quarantine TO chainworkd_api;

GRANT SELECT ON TABLE chain.reorg TO chainworkd_api;
GRANT SELECT ON TABLE chain.reorg TO chainworkd_worker;

GRANT SELECT ON TABLE chain.seal TO chainworkd_worker;
GRANT SELECT ON TABLE chain.seal TO chainworkd_api;

GRANT SELECT ON TABLE chain.tick TO chainworkd_worker;
GRANT SELECT ON TABLE chain.tick TO chainworkd_api;

GRANT SELECT ON TABLE chain.token TO chainworkd_worker;
GRANT SELECT ON TABLE chain.token TO chainworkd_api;

GRANT SELECT ON TABLE chain.token_seen TO chainworkd_worker;
GRANT SELECT ON TABLE chain.token_seen TO chainworkd_api;

GRANT SELECT ON TABLE chain.token_transfer TO chainworkd_worker;
GRANT SELECT ON TABLE chain.token_transfer TO chainworkd_api;

GRANT SELECT ON TABLE chain.transaction TO chainworkd_api;
GRANT SELECT ON TABLE chain.transaction TO chainworkd_worker;

GRANT SELECT ON TABLE chain.tx_hash TO chainworkd_api;
GRANT SELECT ON TABLE chain.tx_hash TO chainworkd_worker;

GRANT SELECT ON TABLE chain.vault_event TO chainworkd_worker;
GRANT SELECT ON TABLE chain.vault_event TO chainworkd_api;

GRANT SELECT ON TABLE chain.verified TO chainworkd_worker;
GRANT SELECT ON TABLE chain.verified TO chainworkd_api;

GRANT SELECT ON TABLE chain.watched_vault TO chainworkd_worker;
GRANT SELECT ON TABLE chain.watched_vault TO chainworkd_api;

GRANT SELECT,INSERT,UPDATE ON TABLE droid.account TO chainworkd_worker;
GRANT SELECT ON TABLE droid.account TO chainworkd_api;

GRANT INSERT(account_id) ON TABLE droid.account TO chainworkd_api;

GRANT INSERT(chain_id) ON TABLE droid.account TO chainworkd_api;

GRANT INSERT(wallet) ON TABLE droid.account TO chainworkd_api;

GRANT USAGE ON SEQUENCE droid.bot_number TO chainworkd_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE droid.bot TO chainworkd_worker;
GRANT SELECT ON TABLE droid.bot TO chainworkd_api;

GRANT USAGE ON SEQUENCE droid.decision_number TO chainworkd_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE droid.decision TO chainworkd_worker;
GRANT SELECT ON TABLE droid.decision TO chainworkd_api;

GRANT USAGE ON SEQUENCE droid.droid_number TO chainworkd_worker;
GRANT USAGE ON SEQUENCE droid.droid_number TO chainworkd_api;

GRANT SELECT ON TABLE droid.droid TO chainworkd_worker;
GRANT SELECT ON TABLE droid.droid TO chainworkd_api;

GRANT INSERT(chain_id) ON TABLE droid.droid TO chainworkd_api;

GRANT INSERT(account_id) ON TABLE droid.droid TO chainworkd_api;

GRANT INSERT(wallet) ON TABLE droid.droid TO chainworkd_api;

GRANT INSERT(pool_id) ON TABLE droid.droid TO chainworkd_api;

GRANT INSERT(config),UPDATE(config) ON TABLE droid.droid TO chainworkd_api;

GRANT INSERT(active),UPDATE(active) ON TABLE droid.droid TO chainworkd_api;
GRANT UPDATE(active) ON TABLE droid.droid TO chainworkd_worker;

GRANT INSERT(command),UPDATE(command) ON TABLE droid.droid TO chainworkd_api;

GRANT INSERT(commanded_at),UPDATE(commanded_at) ON TABLE droid.droid TO chainworkd_api;

GRANT INSERT(commanded_by),UPDATE(commanded_by) ON TABLE droid.droid TO chainworkd_api;

GRANT INSERT(commanded_as),UPDATE(commanded_as) ON TABLE droid.droid TO chainworkd_api;

GRANT UPDATE(answered) ON TABLE droid.droid TO chainworkd_worker;

GRANT UPDATE(holds) ON TABLE droid.droid TO chainworkd_worker;

GRANT UPDATE(note) ON TABLE droid.droid TO chainworkd_worker;

GRANT INSERT(created_by) ON TABLE droid.droid TO chainworkd_api;

GRANT SELECT,INSERT,UPDATE ON TABLE droid.ledger TO chainworkd_worker;
GRANT SELECT ON TABLE droid.ledger TO chainworkd_api;

GRANT SELECT,INSERT,UPDATE ON TABLE droid.memory TO chainworkd_worker;
GRANT SELECT ON TABLE droid.memory TO chainworkd_api;

GRANT SELECT,INSERT,UPDATE ON TABLE droid.move TO chainworkd_worker;
GRANT SELECT ON TABLE droid.move TO chainworkd_api;

GRANT SELECT,INSERT,UPDATE ON TABLE droid.pool TO chainworkd_worker;
GRANT SELECT ON TABLE droid.pool TO chainworkd_api;

GRANT INSERT(pool_id) ON TABLE droid.pool TO chainworkd_api;

GRANT INSERT(chain_id) ON TABLE droid.pool TO chainworkd_api;

GRANT INSERT(address) ON TABLE droid.pool TO chainworkd_api;

GRANT INSERT(manager) ON TABLE droid.pool TO chainworkd_api;

GRANT INSERT(quote) ON TABLE droid.pool TO chainworkd_api;

GRANT SELECT,INSERT,UPDATE ON TABLE droid."position" TO chainworkd_worker;
GRANT SELECT ON TABLE droid."position" TO chainworkd_api;

GRANT USAGE ON SEQUENCE droid.session_number TO chainworkd_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE droid.session TO chainworkd_worker;
GRANT SELECT ON TABLE droid.session TO chainworkd_api;

GRANT USAGE ON SEQUENCE droid.snapshot_number TO chainworkd_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE droid.snapshot TO chainworkd_worker;
GRANT SELECT ON TABLE droid.snapshot TO chainworkd_api;

GRANT SELECT ON TABLE wallet.activation TO chainworkd_sender;
GRANT SELECT ON TABLE wallet.activation TO chainworkd_worker;
GRANT SELECT ON TABLE wallet.activation TO chainworkd_api;

GRANT SELECT,INSERT ON TABLE wallet.attempt TO chainworkd_sender;
GRANT SELECT ON TABLE wallet.attempt TO chainworkd_worker;
GRANT SELECT ON TABLE wallet.attempt TO chainworkd_api;

GRANT UPDATE(note) ON TABLE wallet.attempt TO chainworkd_sender;

GRANT SELECT ON TABLE wallet.halt TO chainworkd_sender;
GRANT SELECT ON TABLE wallet.halt TO chainworkd_worker;
GRANT SELECT ON TABLE wallet.halt TO chainworkd_api;

GRANT SELECT ON TABLE wallet.intent TO chainworkd_sender;
GRANT SELECT ON TABLE wallet.intent TO chainworkd_worker;
GRANT SELECT ON TABLE wallet.intent TO chainworkd_api;

GRANT INSERT(intent_id) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(intent_id) ON TABLE wallet.intent TO chainworkd_api;

GRANT INSERT(chain_id) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(chain_id) ON TABLE wallet.intent TO chainworkd_api;

GRANT INSERT(wallet) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(wallet) ON TABLE wallet.intent TO chainworkd_api;

GRANT INSERT(owner) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(owner) ON TABLE wallet.intent TO chainworkd_api;

GRANT INSERT(kind) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(kind) ON TABLE wallet.intent TO chainworkd_api;

GRANT INSERT(target) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(target) ON TABLE wallet.intent TO chainworkd_api;

GRANT INSERT(data) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(data) ON TABLE wallet.intent TO chainworkd_api;

GRANT INSERT(value) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(value) ON TABLE wallet.intent TO chainworkd_api;

GRANT INSERT(priority) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(priority) ON TABLE wallet.intent TO chainworkd_api;

GRANT INSERT(deadline) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(deadline) ON TABLE wallet.intent TO chainworkd_api;

GRANT UPDATE(cancel_at) ON TABLE wallet.intent TO chainworkd_worker;
GRANT UPDATE(cancel_at) ON TABLE wallet.intent TO chainworkd_api;

GRANT UPDATE(cancel_by) ON TABLE wallet.intent TO chainworkd_worker;
GRANT UPDATE(cancel_by) ON TABLE wallet.intent TO chainworkd_api;

GRANT UPDATE(cancel_because) ON TABLE wallet.intent TO chainworkd_worker;
GRANT UPDATE(cancel_because) ON TABLE wallet.intent TO chainworkd_api;

GRANT UPDATE(state) ON TABLE wallet.intent TO chainworkd_sender;

GRANT UPDATE(nonce) ON TABLE wallet.intent TO chainworkd_sender;

GRANT UPDATE(outcome) ON TABLE wallet.intent TO chainworkd_sender;

GRANT UPDATE(note) ON TABLE wallet.intent TO chainworkd_sender;

GRANT UPDATE(changed_at) ON TABLE wallet.intent TO chainworkd_sender;

GRANT UPDATE(reopened) ON TABLE wallet.intent TO chainworkd_sender;

GRANT INSERT(max_fee) ON TABLE wallet.intent TO chainworkd_worker;
GRANT INSERT(max_fee) ON TABLE wallet.intent TO chainworkd_api;

GRANT SELECT,INSERT,DELETE ON TABLE wallet.movement TO chainworkd_sender;
GRANT SELECT ON TABLE wallet.movement TO chainworkd_worker;
GRANT SELECT ON TABLE wallet.movement TO chainworkd_api;

GRANT SELECT,INSERT,DELETE ON TABLE wallet.receipt TO chainworkd_sender;
GRANT SELECT ON TABLE wallet.receipt TO chainworkd_worker;
GRANT SELECT ON TABLE wallet.receipt TO chainworkd_api;

GRANT SELECT,INSERT ON TABLE wallet.spend TO chainworkd_sender;
GRANT SELECT ON TABLE wallet.spend TO chainworkd_worker;
GRANT SELECT ON TABLE wallet.spend TO chainworkd_api;

GRANT UPDATE(amount) ON TABLE wallet.spend TO chainworkd_sender;

ALTER DEFAULT PRIVILEGES FOR ROLE chainworkd_indexer IN SCHEMA chain GRANT SELECT ON TABLES TO chainworkd_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE chainworkd_indexer IN SCHEMA chain GRANT SELECT ON TABLES TO chainworkd_api;
