"""Several nodes behind the real services of a chain, and before `chainworkd check`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from core.errors import Stalled
from core.metrics import Metrics
from core.service import Service, supervise
from core.settings import ChainSettings, load
from core.store.pg import PgStore
from core.store.pool import Pool
from daemon.chains import Chain, ChainServices
from daemon.check import findings
from daemon.head import head_services
from tests import make
from tests.ports.node import CHAIN_ID
from tests.ports.provider import Provider, provided, refusal

A = make.chain(40, txs=2)
KEY = "0123456789abcdef0123"


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await true():  # noqa: ASYNC110 - what is waited for is in a database
            await asyncio.sleep(0.05)


async def test_the_head_goes_on_with_the_next_node_and_what_was_learned_is_kept(pool: Pool) -> None:
    first, second = Provider(list(A[:20])), Provider(list(A[:18]))
    second.block_receipts = False
    store, metrics = PgStore(pool, CHAIN_ID), Metrics()

    async def at(number: int) -> bool:
        cursor = await store.cursor()
        return cursor is not None and cursor == A[number].ref

    async with AsyncExitStack() as resources:
        spare = await resources.enter_async_context(provided(second))
        async with provided(first) as url:
            settings = ChainSettings(
                http=(f"{url}/{KEY}",), fallback_http=(f"{spare}/{KEY}",), poll_s=0.05, deadline_s=2
            )
            service = ChainServices("node", settings, pool, metrics, head_services, beat=lambda: None, sticky=True)
            running = asyncio.create_task(service.run())
            await until(lambda: at(19))
        # The second node is two blocks behind: that is no reorg, and it catches up.
        await asyncio.sleep(0.5)
        assert await at(19)
        second.blocks = list(A)
        await until(lambda: at(39))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert await pool.fetchval("select count(*) from chain.reorg") == 0
    rows = await pool.fetch("select * from chain.endpoint where chain_id = $1", CHAIN_ID)
    assert sorted(row["block_receipts"] for row in rows) == [False, True]
    assert KEY not in f"{rows}" and KEY not in metrics.render().decode()


async def test_check_looks_at_every_node() -> None:
    first, second, third = Provider(list(A)), Provider(list(A)), Provider(list(A))
    second.block_receipts = False
    second.refuse = lambda method, params: (
        refusal(4444, "pruned history unavailable") if params and params[0] == "0x1" else None
    )
    third.chain_id = 9
    async with AsyncExitStack() as resources:
        urls = [await resources.enter_async_context(provided(each)) for each in (first, second, third)]
        dead = "http://127.0.0.1:1"
        settings = load(environ={"CHAINWORKD_RPC_URL": ",".join(f"{url}/{KEY}" for url in (*urls, dead))})
        found = [finding async for finding in findings(settings)]
    shown = {(each.what.removeprefix("chains.node"), each.verdict): each.detail for each in found}
    assert KEY not in str(shown)
    assert "eth_getBlockReceipts" in shown[" receipts", "ok"]
    assert "one request per transaction" in shown["#2 receipts", "warn"]
    assert "pruned history unavailable" in shown["#2 history", "warn"]
    assert "serves chain 9, configured is 7" in shown[".fallback_http", "fail"]
    assert "127.0.0.1:1" in shown[".fallback_http", "warn"]


class Stalls:
    """A service that says once that nothing is committed, and is content afterwards."""

    name = "watchdog.node"

    def __init__(self, stalled: bool) -> None:
        self._stalled = stalled

    async def run(self) -> None:
        if self._stalled:
            raise Stalled("nothing was committed")
        await asyncio.Event().wait()


async def test_a_stalled_source_starts_over_with_new_connections(pool: Pool) -> None:
    node, metrics = Provider(list(A)), Metrics()
    made: list[Chain] = []
    beats: list[int] = []

    def build(chain: Chain) -> list[Service]:
        made.append(chain)
        return [Stalls(len(made) == 1)]

    async with provided(node) as url:
        settings = ChainSettings(http=(url,))
        chain = ChainServices("node", settings, pool, metrics, build, beat=lambda: beats.append(1))
        running = asyncio.create_task(supervise([chain], metrics))

        async def again() -> bool:
            return len(made) == 2

        await until(again)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert made[0].client is not made[1].client
    assert 'service_restarts_total{error="Stalled",service="chain.node"} 1.0' in metrics.render().decode()
    assert beats == [], "a stall is no progress"
