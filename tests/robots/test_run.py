"""The long run in short: through its steps in both token orders, to the wei."""

from tests.robots.run import run


async def test_rows_and_chain_agree_at_every_step() -> None:
    report = await run(steps=36, seed=3)
    assert report.faults == []
    assert report.moves["rebalance/done"] >= 8
    assert report.opened == report.closed >= 40
    assert report.ticks[0] < 0 < report.ticks[1]
    assert report.sessions == 8
