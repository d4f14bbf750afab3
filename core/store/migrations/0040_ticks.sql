-- migrate:up

set local role chainworkd_indexer;

-- What pools of Uniswap v3 announced: Swap, Initialize, Mint, Burn (indexer/decode/tables.py keeps them on every chain).
create index log_of_pool on chain.log (chain_id, address, block_number, log_index)
where topic0 in (
    '\xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67',
    '\x98636036cb66a9c19a37435efc1e90142190214e8abeb821bdba3f2990dd4c95',
    '\x7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde',
    '\x0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c'
);

-- Words of the data are 32 bytes, big-endian; int24 is sign-extended, so its last four bytes are an int32.
-- Initialize(uint160 sqrtPriceX96, int24 tick) has 64 bytes; Swap(…, int256 amount0, int256 amount1,
-- uint160 sqrtPriceX96, uint128 liquidity, int24 tick) has 160. Source: Uniswap v3 core, IUniswapV3PoolEvents.
create view chain.tick as
select l.chain_id, l.block_number, l.log_index, l.tx_index, l.address as pool,
    octet_length(l.data) = 64 as first_price,
    ('0x' || encode(substr(l.data, case octet_length(l.data) when 160 then 65 else 1 end, 32), 'hex'))::numeric
        as sqrt_price_x96,
    ((('0x' || encode(substr(l.data, octet_length(l.data) - 3), 'hex'))::bigint # 2147483648) - 2147483648)::integer
        as tick,
    case octet_length(l.data)
        when 160 then ('0x' || encode(substr(l.data, 97, 32), 'hex'))::numeric
        else 0
    end as liquidity,
    case octet_length(l.data)
        when 160 then ('0x' || encode(substr(l.data, 1, 32), 'hex'))::numeric
            - case when get_byte(l.data, 0) < 128 then 0
                else 115792089237316195423570985008687907853269984665640564039457584007913129639936 end
    end as amount0,
    case octet_length(l.data)
        when 160 then ('0x' || encode(substr(l.data, 33, 32), 'hex'))::numeric
            - case when get_byte(l.data, 32) < 128 then 0
                else 115792089237316195423570985008687907853269984665640564039457584007913129639936 end
    end as amount1,
    l.data
from chain.log l
where l.topic0 in (
        '\xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67',
        '\x98636036cb66a9c19a37435efc1e90142190214e8abeb821bdba3f2990dd4c95'
    )
    and octet_length(l.data) = case l.topic0
        when '\xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67' then 160
        else 64
    end;
comment on view chain.tick is 'What pools of Uniswap v3 said their price was, after each swap and at first; whoever says so, pool or not.';
comment on column chain.tick.sqrt_price_x96 is 'Square root of token1/token0 in base units, times 2**96.';
comment on column chain.tick.liquidity is 'In range, behind the log; 0 at first.';
comment on column chain.tick.first_price is 'Initialize: a price that no swap made; amounts are null.';
comment on column chain.tick.data is 'What the others are decoded from.';
comment on column chain.tick.amount0 is 'What the pool received; negative: what it paid.';

-- Mint(address sender, address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, …) has
-- 128 bytes of data; Burn(address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, …) 96.
create view chain.liquidity_change as
select l.chain_id, l.block_number, l.log_index, l.address as pool,
    ((('0x' || encode(substr(l.topic2, 29, 4), 'hex'))::bigint # 2147483648) - 2147483648)::integer as tick_lower,
    ((('0x' || encode(substr(l.topic3, 29, 4), 'hex'))::bigint # 2147483648) - 2147483648)::integer as tick_upper,
    case octet_length(l.data)
        when 128 then ('0x' || encode(substr(l.data, 33, 32), 'hex'))::numeric
        else - ('0x' || encode(substr(l.data, 1, 32), 'hex'))::numeric
    end as change
from chain.log l
where l.topic0 in (
        '\x7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde',
        '\x0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c'
    )
    and l.topic3 is not null
    and octet_length(l.data) = case l.topic0
        when '\x7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde' then 128
        else 96
    end;
comment on view chain.liquidity_change is 'Liquidity that was added to pools of Uniswap v3 or taken from them: Mint and Burn.';

reset role;

-- migrate:down

drop view chain.liquidity_change;
drop view chain.tick;
drop index chain.log_of_pool;
