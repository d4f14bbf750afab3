"""Probes, the status page, metrics, and what callers see when something inside is broken."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from core.store.alarm import PgAlarms
from core.store.finality import PgFinality
from core.store.pool import Pool
from core.types import Finality
from tests.api import make
from tests.api.conftest import CHAIN, Bench, client_of
from tests.api.make import ALICE

READY = "/readyz"


async def test_readiness_names_what_is_missing_and_is_revoked_by_lag_and_by_silence(bench: Bench) -> None:
    assert (await bench.get(READY, 503)).json() == {"ready": False, "faults": {"main": ["nothing is indexed yet"]}}
    await bench.store.commit([make.block(1)], after=None)
    await bench.store.saw(make.head(1))
    assert (await bench.get(READY)).json() == {"ready": True, "faults": {"main": []}}
    await bench.store.saw(make.head(7))
    assert (await bench.get(READY, 503)).json()["faults"] == {"main": ["72 s behind the chain, more than 60"]}
    await bench.store.saw(make.head(1))
    await bench.pool.execute("update chain.head set seen_at = now() - interval '10 minutes'")
    (fault,) = (await bench.get(READY, 503)).json()["faults"]["main"]
    assert re.fullmatch(r"last news of the chain 60\d s ago, more than 120", fault)


async def test_a_database_without_chains_is_not_ready(api_pool: Pool) -> None:
    async with client_of(api_pool) as client:
        answer = await client.get(READY)
    assert answer.status_code == 503
    assert answer.json()["faults"] == {"database": ["no chain is registered yet"]}


async def test_the_status_page_needs_nothing_from_elsewhere(bench: Bench) -> None:
    answer = await bench.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", answer.text) == []
    assert re.findall(r"<(?:link|img|script)[^>]+(?:src|href)", answer.text) == []


async def test_the_status_page_and_its_data_need_no_token(bench: Bench) -> None:
    bench.client.headers.pop("authorization")
    await bench.get("/")
    await bench.get("/status.json")


async def test_the_status_lists_blocks_coverage_and_reorgs(bench: Bench) -> None:
    blocks = [make.block(n, [make.tx(f"t{n}")]) for n in range(20)]
    await bench.store.commit(blocks, after=None)
    await bench.store.rewind(blocks[-1].ref, blocks[-4].ref, reason="test")
    (chain,) = (await bench.get("/status.json")).json()["chains"]
    assert (chain["name"], chain["last_indexed_block"], chain["coverage"]) == ("main", 16, [[0, 16]])
    assert [block["number"] for block in chain["blocks"]] == list(range(16, 4, -1))
    assert chain["blocks"][0]["transactions"] == 1
    (reorg,) = chain["reorgs"]
    assert (reorg["ancestor"], reorg["orphaned"], reorg["reason"]) == (16, 3, "test")


async def test_metrics_name_routes_by_template_never_by_path(bench: Bench) -> None:
    await bench.store.commit([make.block(1, [make.tx("a")])], after=None)
    await bench.get(f"/api/v1/transactions/address/0x{ALICE.hex()}")
    await bench.get("/api/v1/blocks/1")
    await bench.get("/api/v1/blocks/nonsense", 400)
    await bench.get("/no/such/path/0x1234", 404)
    text = (await bench.get("/metrics")).text
    assert 'route="/api/v1/transactions/address/{address}"' in text
    assert 'route="/api/v1/blocks/{block_number}"' in text
    assert 'route="unknown"' in text
    for part in (ALICE.hex(), "nonsense", "/no/such", "blocks/1"):
        assert part not in text


@pytest.fixture
async def broken(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API whose database refuses every connection from now on."""
    pool = await asyncpg.create_pool(database_url, min_size=0, timeout=5)
    async with client_of(pool, "hc_live_" + "0" * 40) as client:
        pool.terminate()
        yield client


PATHS = ["/api/v1/health", "/api/v1/blocks/1", "/status.json"]


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_database_the_answer_is_503_and_says_nothing_of_the_inside(
    broken: httpx.AsyncClient, path: str
) -> None:
    answer = await broken.get(path)
    assert answer.status_code == 503
    assert answer.json() == {"error": "temporarily unavailable, try again", "code": "503"}
    assert answer.headers["retry-after"] == "1"


async def test_without_a_database_it_is_alive_but_not_ready(broken: httpx.AsyncClient) -> None:
    assert (await broken.get("/livez")).status_code == 200
    answer = await broken.get(READY)
    assert answer.status_code == 503
    assert list(answer.json()["faults"]) == ["database"]


async def test_a_database_that_is_gone_for_good_is_a_500_without_details(bench: Bench) -> None:
    await bench.pool.execute("drop schema chain cascade")
    for path in PATHS:
        answer = await bench.client.get(path)
        assert answer.status_code in {500, 503}
        assert set(answer.json()) == {"error", "code"}
        assert "chain." not in answer.text


async def test_a_defect_is_a_500_without_details(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr("api.schemas.Health.of", fail)
    answer = await bench.client.get("/api/v1/health")
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error", "code": "500"}


def test_the_status_page_is_one_file_of_modest_size() -> None:
    page = Path(__file__).resolve().parents[2] / "api" / "status.html"
    assert page.stat().st_size < 16_000


async def test_an_alarm_revokes_readiness_until_it_is_cleared(bench: Bench) -> None:
    blocks = [make.block(n) for n in range(6)]
    await bench.store.commit(blocks, after=None)
    await bench.store.saw(make.head(5))
    await PgFinality(bench.pool, CHAIN).note(Finality(blocks[4].ref, blocks[3].ref))
    await bench.store.rewind(blocks[5].ref, blocks[3].ref, reason="everyday")
    await bench.store.saw(make.head(3))
    assert (await bench.get(READY)).json()["ready"] is True
    await bench.store.rewind(blocks[3].ref, blocks[1].ref, reason="another block at 2")
    health = (await bench.get("/api/v1/health")).json()
    await bench.store.saw(make.head(1))
    (fault,) = (await bench.get(READY, 503)).json()["faults"]["main"]
    assert fault.startswith("alarm, until `chainworkd alarm clear`: blocks 2..3 were orphaned at ")
    assert fault.endswith("although 3 had been called finalized by the node: another block at 2")
    assert health["alarm"] in fault
    # What is indexed is right and up to date: only relying on finality is not.
    assert (await bench.get("/api/v1/health")).json()["status"] == "ok"
    assert await PgAlarms(bench.pool, CHAIN).clear("ann", "looked into") == 1
    assert (await bench.get(READY)).json() == {"ready": True, "faults": {"main": []}}
    row = await bench.pool.fetchrow("select cleared_at, cleared_by, cleared_because from chain.alarm")
    assert row is not None and (row["cleared_by"], row["cleared_because"]) == ("ann", "looked into")
    assert row["cleared_at"] is not None
