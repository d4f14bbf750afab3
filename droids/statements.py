"""What the worker asks of the schema `droid` (droids/journal.py)."""

from typing import Final

SQL_LEASE: Final = "select pg_try_advisory_lock(hashtextextended('droid', $1))"
SQL_DROID: Final = """
    select droid_id, chain_id, account_id, wallet, pool_id, config, active, command, commanded_at, commanded_by,
        commanded_as, answered, holds, note, created_at, created_by
    from droid.droid
    where droid_id = $1
"""
SQL_WANTED: Final = "select droid_id, chain_id from droid.droid where active <> 0 or holds or answered < command"
SQL_POOL: Final = """
    select pool_id, chain_id, address, manager, quote, token0, token1, decimals0, decimals1, fee, spacing
    from droid.pool
    where pool_id = $1
"""
SQL_SESSION: Final = """
    select session_id, droid_id, status, started_at, stopped_at, gas_wei, gas_usd, note
    from droid.session
    where droid_id = $1 and stopped_at is null
"""
SQL_OPEN_MOVE: Final = """
    select intent_id, session_id, kind, at, block_number, block_hash, sqrt_x96, spans, anchor, native_price
    from droid.move
    where droid_id = $1 and state = 'open'
"""
SQL_MEMORY: Final = """
    select ema, slope, sampled_at, since, anchor, mark_sqrt_x96, lvr from droid.memory where droid_id = $1
"""
SQL_HELD: Final = """
    select token_id, slot, lower_tick, upper_tick, liquidity, put0, put1, gone_at
    from droid.position
    where droid_id = $1 and closed_by is null and gone_at is null
    order by slot
"""
SQL_LAST: Final = """
    select m.mined_number, m.mined_hash
    from droid.move m
    join droid.session s on s.session_id = m.session_id
    where m.droid_id = $1 and m.mined_number is not null and s.stopped_at is null
    order by m.mined_number desc
    limit 1
"""
SQL_LADDER: Final = """
    select spans
    from droid.move
    where droid_id = $1 and state = 'done' and kind = 'rebalance'
    order by mined_number desc
    limit 1
"""
SQL_REFUSED: Final = """
    select at, outcome
    from droid.move
    where droid_id = $1 and state = 'failed' and kind = 'close'
    order by at desc
    limit 1
"""
# What failed counts too, whatever it was: it must not be tried again at every look.
SQL_ACTED: Final = """
    select at
    from droid.move
    where droid_id = $1 and at > $2 and state <> 'open' and (kind = 'rebalance' or state = 'failed')
    order by at
"""
SQL_AGAINST: Final = """
    select
        (select min(because) from wallet.halt where lifted_at is null) as halted,
        exists (select 1 from chain.alarm where chain_id = $1 and cleared_at is null) as alarmed
"""
SQL_LEARN: Final = """
    update droid.pool
    set token0 = $2, token1 = $3, decimals0 = $4, decimals1 = $5, fee = $6, spacing = $7
    where pool_id = $1
"""
SQL_NOTE: Final = "update droid.droid set note = $2 where droid_id = $1 and note <> $2"
SQL_HOLD: Final = "update droid.droid set holds = $2 where droid_id = $1"
SQL_ANSWER: Final = """
    update droid.droid
    set answered = $2, active = case when command = $2 then coalesce($3, active) else active end
    where droid_id = $1
"""
SQL_BEGIN: Final = "insert into droid.session (droid_id, status, started_at) values ($1, $2, $3)"
SQL_STATUS: Final = """
    update droid.session set status = $2, note = $3 where session_id = $1 and stopped_at is null
"""
SQL_END_SESSION: Final = """
    update droid.session set status = 'STOPPED', stopped_at = $2 where session_id = $1 and stopped_at is null
"""
SQL_FORGET: Final = """
    update droid.memory
    set ema = null, slope = null, sampled_at = null, since = null, anchor = null, mark_sqrt_x96 = null
    where droid_id = $1
"""
SQL_REMEMBER: Final = """
    insert into droid.memory (droid_id, ema, slope, sampled_at, since, mark_sqrt_x96, lvr)
    values ($1, $2, $3, $4, $5, $6, $7)
    on conflict (droid_id) do update
    set ema = excluded.ema, slope = excluded.slope, sampled_at = excluded.sampled_at, since = excluded.since,
        mark_sqrt_x96 = excluded.mark_sqrt_x96, lvr = excluded.lvr
"""
SQL_REANCHOR: Final = "update droid.memory set anchor = $2 where droid_id = $1"
SQL_SUMS: Final = "select asset, sum(amount) as amount from droid.ledger where droid_id = $1 group by asset"
SQL_LEDGER: Final = """
    select kind, asset, sum(amount) as amount from droid.ledger where droid_id = $1 group by kind, asset
"""
SQL_LINE: Final = """
    insert into droid.ledger
        (droid_id, block_number, block_hash, entry, asset, kind, amount, at, intent_id, tx_hash, token_id)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
SQL_GONE: Final = """
    update droid.position
    set gone_at = $4
    where chain_id = $1 and manager = $2 and token_id = any($3) and closed_by is null and gone_at is null
"""
SQL_RETURNED: Final = """
    update droid.position
    set gone_at = null
    where droid_id = $1 and closed_by is null and token_id = any($2)
"""
SQL_ORPHAN: Final = """
    insert into droid.bot (droid_id, position_id, lower_tick, upper_tick, liquidity, status, changed_at)
    values ($1, $2, $3, $4, $5, 'ORPHAN', $6)
    on conflict (droid_id, position_id) where slot is null do update
    set liquidity = excluded.liquidity
"""
SQL_ORPHANS_GONE: Final = "delete from droid.bot where droid_id = $1 and slot is null and position_id <> all($2)"
SQL_DECIDED: Final = """
    insert into droid.decision
        (droid_id, session_id, at, block_number, block_hash, decided, word, sentence, price, ema, slope, intent_id)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
SQL_FORGOTTEN: Final = "delete from droid.decision where at < $1 and intent_id is null"
SQL_SPENT: Final = """
    select coalesce(sum(gas_wei), 0) as wei, coalesce(sum(gas_usd), 0) as usd from droid.session where droid_id = $1
"""
SQL_CLOSED: Final = """
    select put0, put1, got0, got1, closed_sqrt_x96
    from droid.position
    where droid_id = $1 and closed_by is not null
"""
SQL_SNAPSHOT: Final = """
    insert into droid.snapshot
        (droid_id, at, block_number, block_hash, price, aum, base, quote, idle_base, idle_quote, fees_base, fees_quote,
        fees_earned, gas_wei, gas_usd, hold, il, lvr, eth_wallet)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
    on conflict (droid_id, block_number, block_hash) do nothing
"""
SQL_MOVE: Final = """
    insert into droid.move
        (intent_id, droid_id, session_id, kind, at, block_number, block_hash, sqrt_x96, spans, anchor, native_price)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
SQL_ACT: Final = """
    select tx_hash, block_number, block_hash, fee, logs from wallet.receipt where intent_id = $1
"""
SQL_END_MOVE: Final = """
    update droid.move
    set state = $2, outcome = $3, ended_at = $4, tx_hash = $5, mined_number = $6, mined_hash = $7
    where intent_id = $1 and state = 'open'
"""
SQL_CLOSE: Final = """
    update droid.position
    set closed_by = $4, closed_sqrt_x96 = $5, got0 = $6, got1 = $7
    where chain_id = $1 and manager = $2 and token_id = $3 and closed_by is null
"""
# The manager counts NFTs: one number for two positions means that the first one's block is orphaned, deep as it was.
SQL_OPEN: Final = """
    insert into droid.position
        (chain_id, manager, token_id, droid_id, slot, lower_tick, upper_tick, liquidity, opened_by, put0, put1)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    on conflict (chain_id, manager, token_id) do update
    set droid_id = excluded.droid_id, slot = excluded.slot, lower_tick = excluded.lower_tick,
        upper_tick = excluded.upper_tick, liquidity = excluded.liquidity, opened_by = excluded.opened_by,
        put0 = excluded.put0, put1 = excluded.put1, closed_by = null, closed_sqrt_x96 = null, got0 = null, got1 = null,
        gone_at = null
"""
SQL_GAS: Final = """
    update droid.session
    set gas_wei = gas_wei + $2, gas_usd = gas_usd + $2::numeric / 1000000000000000000 * $3
    where session_id = $1
"""
SQL_BOT: Final = """
    insert into droid.bot (droid_id, slot, position_id, lower_tick, upper_tick, liquidity, status, changed_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
    on conflict (droid_id, slot) do update
    set position_id = excluded.position_id, lower_tick = excluded.lower_tick, upper_tick = excluded.upper_tick,
        liquidity = excluded.liquidity, status = excluded.status, changed_at = excluded.changed_at
    where (droid.bot.position_id, droid.bot.status) is distinct from (excluded.position_id, excluded.status)
        or (droid.bot.lower_tick, droid.bot.upper_tick) <> (excluded.lower_tick, excluded.upper_tick)
"""
SQL_BOTS_CLOSED: Final = """
    update droid.bot
    set status = case when $4 and position_id is null then 'FAILED' else 'CLOSED' end, position_id = null,
        liquidity = 0, changed_at = $3
    where droid_id = $1 and slot <> all($2) and status not in ('CLOSED', 'FAILED')
"""
