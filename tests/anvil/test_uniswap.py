"""Uniswap's own contracts against our integers, to the wei and in both token orders: mint, swap, collect, burn."""

from builders import liquidity, uniswap_v3
from builders.ticks import floored, sqrt_at, tick_at
from builders.uniswap_v3 import Collected, Decreased, Moved, Paid
from devnet.deploy import FOREVER
from tests.anvil.pools import SPACING, Place


async def test_a_position_lives_as_our_integers_say(spot: Place) -> None:
    spacing = SPACING
    start = await spot.state()
    bucket = floored(start.tick, spacing)
    lower, upper = bucket - 2 * spacing, bucket + 3 * spacing
    tenth = liquidity.amounts(start.sqrt_x96, sqrt_at(lower), sqrt_at(upper), start.liquidity // 10, up=True)
    made = await spot.mint(lower, upper, tenth)
    await spot.mint(upper, upper + 10 * spacing, (tenth[0], 0))
    await spot.mint(lower - 5 * spacing, lower, (0, tenth[1]))

    # Far enough to leave the range on both sides, so that ticks are crossed there and back.
    far = start.liquidity
    up = liquidity.amount1_delta(start.sqrt_x96, sqrt_at(upper + 4 * spacing), far, up=True)
    down = liquidity.amount0_delta(sqrt_at(lower - 4 * spacing), sqrt_at(upper + 4 * spacing), far, up=True)
    assert {tick for tick, _ in (await spot.swap(up, down=False)).crossed} >= {upper}
    assert {tick for tick, _ in (await spot.swap(down, down=True)).crossed} >= {lower, upper}
    out = liquidity.amount0_delta(sqrt_at(lower - spacing), sqrt_at(lower + spacing), far, up=False)
    await spot.swap(-out, down=False)
    await spot.swap(12_345, down=True)

    fees = await spot.fees(made.token_id, lower, upper)
    assert all(fees)
    now, before = await spot.state(), await spot.held()
    edges = sqrt_at(lower), sqrt_at(upper)
    principal = liquidity.amounts(now.sqrt_x96, *edges, made.liquidity, up=False)
    least = liquidity.least_burned(now.sqrt_x96, *edges, made.liquidity, 50)
    end = [
        uniswap_v3.decrease(spot.manager, made.token_id, made.liquidity, least=least, deadline=FOREVER),
        uniswap_v3.collect(spot.manager, made.token_id, recipient=spot.wallet),
        uniswap_v3.burn(spot.manager, made.token_id),
    ]
    effects = spot.effects(await spot.send(uniswap_v3.multicall(spot.manager, end)))
    paid = tuple(amount + fee for amount, fee in zip(principal, fees, strict=True))
    assert [type(each) for each in effects] == [Decreased, Paid, Collected, Moved]
    assert effects[0] == Decreased(made.token_id, made.liquidity, *principal)
    assert effects[1] == Paid(spot.at["pool"], spot.wallet, lower, upper, *paid)
    assert effects[2] == Collected(made.token_id, spot.wallet, *paid)
    assert effects[3] == Moved(made.token_id, spot.wallet, bytes(20))
    assert [now - was for was, now in zip(before, await spot.held(), strict=True)] == list(paid)
    assert tick_at(now.sqrt_x96) == now.tick
