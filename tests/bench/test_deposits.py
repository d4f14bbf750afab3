"""The bench of deposits itself, on a few of them."""

from tests.bench.deposits import Size, bench


async def test_the_bench_measures_sums_that_equal_counting() -> None:
    found = await bench(Size(deposits=2_000, pairs=4, orphans=10, first=70_000))
    assert (found["deposits"], found["orphans"]) == (2_000, 10)
    assert found["counts"] > 0
    assert found["sealing"]["transactions"] > 3
    assert set(found["answer_ms"]) == {"all", "resolver", "token", "finalized"}
    assert 0 < found["sums_ms"]["fastest"] <= found["sums_ms"]["median"]
