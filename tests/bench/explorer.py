"""How fast the explorer answers: `make bench-api` prints one JSON object.

PostgreSQL is the embedded one as users get it, on a database of a million transactions that is made once
(tests/bench/explorer_data.py) and kept under var/bench. The API is `chainworkd run api`: a process uses one core, so
there is one for each, as an operator runs them behind a proxy, and connections are divided among them; API=1 in the
environment asks a single one. The load is this process: raw asyncio protocols whose requests are bytes made beforehand,
each sent as soon as the connection's last one is answered. All of them share the machine's cores: `cpu_us` is CPU time
of a request by process.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvloop
from typing_extensions import override

from core.store import counts
from core.store.embedded import EmbeddedPostgres
from core.store.listing import DIRECTION_ROLES
from core.store.pool import Pool, open_pool
from core.types import BlockRange
from tests.bench.explorer_data import CHAIN, HOT, Made, Size, filled
from tests.bench.places import BENCH
from tests.bench.processes import cpu_s
from tests.bench.report import percentile

CONNECTIONS = 32
SECONDS = float(os.environ.get("BENCH_SECONDS", "8"))
PROCESSES = int(os.environ.get("API", "0")) or len(os.sched_getaffinity(0))
WARM_S = 2.0
COUNTS = 100
PAGE_SIZE = 20
DEEP_PAGE = 1_000
DEEP_PAGES = 200  # of all depths, each another question
PREFIX = "/api/v1/transactions"

SQL_HASHES = """
    select hash from chain.transaction
    where chain_id = $1 and block_number = any($2::bigint[])
"""
SQL_BUSY = """
    select sender from chain.transaction where chain_id = $1 and block_number = any($2::bigint[])
"""


@dataclass
class Load:
    """Requests, each sent when a connection is free, until `until`; what came back."""

    requests: Iterator[bytes]
    until: float
    seconds: list[float] = field(default_factory=list)
    bytes: int = 0
    wrong: int = 0


class Connection(asyncio.Protocol):
    """One connection of the load."""

    def __init__(self, load_: Load, done: Callable[[], None]) -> None:
        self._load = load_
        self._done = done
        self._buffer = b""
        self._sent = 0.0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the face, not the class
        self._send()

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.find(b"content-length:", 0, head)
        length = int(self._buffer[at + 15 : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) < head + 4 + length:
            return
        self._load.seconds.append(time.perf_counter() - self._sent)
        self._load.bytes += length
        self._load.wrong += not self._buffer.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        self._send()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._done()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        if self._sent >= self._load.until:
            self._transport.close()
        else:
            self._transport.write(next(self._load.requests))


@dataclass(frozen=True, slots=True)
class Api:
    """The API process that is asked."""

    host: str
    port: int
    pid: int


@contextlib.asynccontextmanager
async def api(made: Made) -> AsyncIterator[Api]:
    """`chainworkd run api` on that database, without a limit of requests; it is asked once before it is yielded."""
    env = {
        "PATH": os.environ["PATH"], "CHAINWORKD_DATABASE__URL": made.url, "CHAINWORKD_API__PORT": "0",
        "CHAINWORKD_OPS__API_PORT": "0", "CHAINWORKD_LOG__STYLE": "json", "CHAINWORKD_API__RATE_LIMIT": "",
    }  # fmt: skip
    command = (str(Path(sys.executable).with_name("chainworkd")), "run", "api")
    process = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            said = json.loads(line)
            if said.get("face") == "api":
                host, port = said["url"].removeprefix("http://").split(":")
                yield Api(host, int(port), process.pid)
                return
        raise RuntimeError("the API ended before it listened")
    finally:
        process.terminate()
        await process.wait()


def requests(paths: Sequence[str], key: str) -> Iterator[bytes]:
    """Return the requests for `paths`, round and round."""
    head = f"HTTP/1.1\r\nhost: api.example.com\r\nauthorization: Bearer {key}\r\n\r\n"
    return itertools.cycle([f"GET {path} {head}".encode() for path in paths])


async def measure(paths: Sequence[str], apis: Sequence[Api], made: Made, server: int) -> dict[str, object]:
    """Ask for `paths` at CONNECTIONS connections, and return what it took."""
    given = requests(paths, made.key)
    await _run(apis, Load(given, time.perf_counter() + WARM_S))
    load_ = Load(given, time.perf_counter() + SECONDS)
    before, started = _spent(apis, server), time.perf_counter()
    await _run(apis, load_)
    took, spent = time.perf_counter() - started, [b - a for a, b in zip(before, _spent(apis, server), strict=True)]
    count = len(load_.seconds)
    names = ("api", "postgresql", "load")
    return {
        "requests_per_s": round(count / took),
        "p50_ms": round(percentile(load_.seconds, 50) * 1000, 2),
        "p99_ms": round(percentile(load_.seconds, 99) * 1000, 2),
        "requests": count,
        "wrong": load_.wrong,
        "bytes": round(load_.bytes / count),
        "cpu_us": {name: round(each / count * 1e6) for name, each in zip(names, spent, strict=True)},
    }


def _spent(apis: Sequence[Api], server: int) -> list[float]:
    return [sum(cpu_s(each.pid) for each in apis), cpu_s(server), time.process_time()]


async def _run(apis: Sequence[Api], load_: Load) -> None:
    loop = asyncio.get_running_loop()
    ended = [loop.create_future() for _ in range(CONNECTIONS)]
    async with asyncio.timeout(SECONDS + 30):
        for each, api_ in zip(ended, itertools.cycle(apis), strict=False):
            made = partial(Connection, load_, partial(_end, each))
            await loop.create_connection(made, api_.host, api_.port)
        await asyncio.gather(*ended)


def _end(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


async def paths_of(pool: Pool, size: Size) -> dict[str, list[str]]:
    """Return what is asked for, by route: hashes and addresses by chance, always the same ones."""
    chance = random.Random(1)
    numbers = chance.sample(range(size.span.first, size.span.last + 1), min(800, size.blocks))
    hashes = [row["hash"].hex() for row in await pool.fetch(SQL_HASHES, CHAIN, numbers)]
    owners = [row["sender"].hex() for row in await pool.fetch(SQL_BUSY, CHAIN, numbers)]
    chance.shuffle(hashes)
    chance.shuffle(owners)
    last = size.blocks * size.txs // size.hot_every // PAGE_SIZE  # of the hot address; all have more
    deep = min(DEEP_PAGE, last)
    pages = chance.choices(range(1, last + 1), k=DEEP_PAGES)
    hot = f"{PREFIX}/address/0x{HOT.hex()}?page_size={PAGE_SIZE}"
    return {
        "transaction": [f"{PREFIX}/0x{each}" for each in hashes],
        "address": [f"{PREFIX}/address/0x{each}?page_size={PAGE_SIZE}" for each in owners],
        "hot address": [hot],
        f"hot address, page {deep}": [f"{hot}&page={deep}"],
        "hot address, any page": [f"{hot}&page={page}" for page in pages],
        "all": [f"{PREFIX}?page_size={PAGE_SIZE}"],
        f"all, page {deep}": [f"{PREFIX}?page_size={PAGE_SIZE}&page={deep}"],
        "all, any page": [f"{PREFIX}?page_size={PAGE_SIZE}&page={page}" for page in pages],
    }


async def counting(pool: Pool, size: Size) -> dict[str, float]:
    """Return how long the statement of a total takes, in ms, from asking to the answer (the median of many)."""
    found = {}
    roles = int(DIRECTION_ROLES["in"])
    async with pool.acquire() as conn:
        totals: dict[str, Callable[[BlockRange], Awaitable[int]]] = {
            "hot address": partial(counts.of_address, conn, CHAIN, HOT, sql=counts.SQL_OF_ADDRESS, roles=0),
            "hot address, in": partial(counts.of_address, conn, CHAIN, HOT, sql=counts.SQL_INTO_ADDRESS, roles=roles),
            "all": partial(counts.of_chain, conn, CHAIN),
        }
        for name, total in totals.items():
            times = []
            for _ in range(COUNTS):
                started = time.perf_counter()
                await total(BlockRange(0, size.span.last))
                times.append(time.perf_counter() - started)
            found[name] = round(percentile(times, 50) * 1000, 2)
    return found


async def bench(size: Size, root: Path, only: Sequence[str] = ()) -> dict[str, Any]:
    """Make the database unless it is there, and measure."""
    async with EmbeddedPostgres(size.folder(root)) as server:
        made = await filled(server, size)
        async with open_pool(made.url, role="chainworkd_api", size=2) as pool:
            paths, counted = await paths_of(pool, size), await counting(pool, size)
            async with contextlib.AsyncExitStack() as stack:
                apis = [await stack.enter_async_context(api(made)) for _ in range(PROCESSES)]
                found = {
                    name: await measure(some, apis, made, server.pid)
                    for name, some in paths.items()
                    if not only or name in only
                }
    return {
        "transactions": size.blocks * size.txs, "connections": CONNECTIONS, "api_processes": PROCESSES,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1), "loop_us": loop_us(), "counting_ms": counted, "routes": found,
    }  # fmt: skip


def loop_us() -> int:
    """Return the CPU time of a fixed piece of work: on a machine that others use, all CPU times grow with it."""
    started = time.process_time()
    for _ in range(300_000):
        pass
    return round((time.process_time() - started) * 1e6)


def main() -> None:
    """Measure and print."""
    print(json.dumps(uvloop.run(bench(Size(), BENCH, sys.argv[1:])), indent=2))


if __name__ == "__main__":
    main()
