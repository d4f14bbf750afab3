"""The crash campaign in short: nothing lost, nothing doubled; and a sender with one thing wrong is found out."""

from tests.wallet.crash import campaign


async def test_killed_senders_lose_nothing_and_send_nothing_twice() -> None:
    report = await campaign(runs=8, seed=1)
    assert report.faults == []
    assert (report.lost, report.doubled) == (0, 0)
    assert sum(report.kills.values()) >= 4
    assert report.states["settled/done"] >= 6


async def test_asking_for_receipts_before_the_nonce_is_found_out() -> None:
    for seed in range(2, 6):
        report = await campaign(runs=8, seed=seed, mutant=True)
        if report.lost:
            assert any("its effect happened 1 times" in fault for fault in report.faults)
            return
    raise AssertionError("the checker did not notice")
