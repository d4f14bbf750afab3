"""The crash campaign in short: nothing lost, nothing doubled; and a droid with one thing wrong is found out."""

from tests.robots.crash import campaign

STORM_S = (4.0, 10.0)


async def test_killed_droids_lose_nothing_and_open_nothing_twice() -> None:
    report = await campaign(runs=6, seed=1, storm_s=STORM_S)
    assert report.faults == []
    assert (report.lost, report.doubled) == (0, 0)
    assert sum(report.kills.values()) >= 4
    assert report.minted == report.positions > 0  # how many: by how busy the machine is
