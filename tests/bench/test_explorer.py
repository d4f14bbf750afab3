"""The explorer's bench itself, on a database of a few blocks."""

from pathlib import Path

import pytest

from tests.bench import explorer
from tests.bench.explorer_data import Size


async def test_the_bench_measures_every_route_and_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SECONDS", 0.5), ("WARM_S", 0.2), ("CONNECTIONS", 4), ("COUNTS", 3)):
        monkeypatch.setattr(explorer, name, value)
    found = await explorer.bench(Size(blocks=700, txs=4, first=999_700, addresses=50, hot_every=4), tmp_path)
    assert found["transactions"] == 2_800
    assert set(found["counting_ms"]) == {"hot address", "hot address, in", "all"}
    assert set(found["routes"]) == {
        "transaction", "address", "hot address", "hot address, page 35", "hot address, any page", "all", "all, page 35",
        "all, any page",
    }  # fmt: skip
    for name, route in found["routes"].items():
        assert route["wrong"] == 0, name
        assert route["requests"] > 0
        assert 0 < route["p50_ms"] <= route["p99_ms"]
        assert set(route["cpu_us"]) == {"api", "postgresql", "load"}
