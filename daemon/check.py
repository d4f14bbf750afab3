"""`chainworkd check`: prove the surroundings before the daemon depends on them."""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Final, Literal

import contracts
from core.errors import ChainworkdError, RpcRefused
from core.hex import to_hex, to_quantity
from core.rpc import wire, ws
from core.rpc.client import RpcClient, redacted
from core.rpc.source import RpcSource, chain_id
from core.settings import ChainSettings, Settings, config_folder, profiles
from core.store import binaries
from core.store import migrate as migrations
from core.types import BlockRange
from daemon.database import embedded_folder
from daemon.schema import MIGRATIONS

CLOCK_SKEW_S: Final = 30
WS_S: Final = 10.0

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `fail` keeps the daemon from working, `warn` from working well."""

    verdict: Verdict
    what: str
    detail: str


Probe = Callable[[str, RpcClient, int], Awaitable[Finding]]


async def run(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Print one line per finding; exit 78 if one of them fails."""
    del arguments
    failed = False
    async for finding in findings(settings):
        failed |= finding.verdict == "fail"
        sys.stdout.write(f"{finding.verdict:<5} {finding.what:<28} {finding.detail}\n")
        sys.stdout.flush()
    return 78 if failed else 0


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything in turn; nothing is changed anywhere."""
    for finding in _package():
        yield finding
    async for finding in _database(settings):
        yield finding
    if not settings.chains:
        yield Finding("warn", "chains", "none is configured; set CHAINWORKD_RPC_URL or add [chains.<name>]")
    for name, chain in settings.chains.items():
        async for finding in _chain(name, chain):
            yield finding


def _package() -> list[Finding]:
    abis = [file.name for file in resources.files("contracts").joinpath("abi").iterdir() if file.name.endswith(".json")]
    files = migrations.files(MIGRATIONS)
    return [
        Finding("ok", "settings", f"{config_folder().name}: base and profiles {', '.join(profiles())}"),
        Finding("ok" if abis else "fail", "contract ABIs", f"{len(abis)} found"),
        Finding("ok", "migrations", f"{len(files)} found, newest {max(files.values())}"),
        Finding("ok", "dbmate", binaries.dbmate().name),
    ]


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.database.url:
        yield Finding("ok", "database", f"none configured: embedded PostgreSQL in {embedded_folder(settings)}")
        yield Finding("ok", "embedded PostgreSQL", f"programs found in {binaries.postgres_root().name}")
        return
    try:
        found = await migrations.status(settings.database.url, MIGRATIONS)
    except ChainworkdError as error:
        yield Finding("fail", "database", str(error))
        return
    yield Finding("ok", "database", "answers")
    if found.unknown:
        yield Finding("fail", "schema", f"ahead of this program: {', '.join(found.unknown)}")
    elif found.pending:
        yield Finding("warn", "schema", f"{len(found.pending)} migrations pending: run `chainworkd migrate`")
    else:
        yield Finding("ok", "schema", f"up to date ({found.applied[-1]})")


async def _chain(name: str, chain: ChainSettings) -> AsyncIterator[Finding]:
    what = f"chains.{name}"
    if not chain.endpoints:
        yield Finding("fail", f"{what}.http", "no URL of a node")
        return
    expected = chain.chain_id
    for number, url in enumerate(chain.endpoints):
        async with RpcClient(url, deadline_s=chain.deadline_s) as client:
            role = "http" if number < len(chain.primaries) else "fallback_http"
            found, finding = await _identity(f"{what}.{role}", client, expected, needed=number == 0)
            yield finding
            if found is None:
                continue
            expected = expected or found  # of all further ones, as the daemon holds it
            which = f"{what}#{number + 1}" if number else what
            for aspect, probe in PROBES.items():
                yield await _guarded(aspect, probe, which, client, found)
    for url in filter(None, chain.ws):
        if expected:
            yield await _socket(what, url, expected)


async def _identity(what: str, client: RpcClient, expected: int, *, needed: bool) -> tuple[int | None, Finding]:
    """Return which chain an endpoint serves, None if it cannot say, and what to think of it."""
    try:
        found = await chain_id(client)
    except ChainworkdError as error:
        return None, Finding("fail" if needed else "warn", what, str(error))
    right = expected in (0, found)
    wanted = "" if right else f", configured is {expected}"
    return found, Finding("ok" if right else "fail", what, f"{client.host} serves chain {found}{wanted}")


async def _guarded(name: str, probe: Probe, what: str, client: RpcClient, found: int) -> Finding:
    try:
        return await probe(what, client, found)
    except ChainworkdError as error:
        return Finding("fail", f"{what} {name}", str(error))


async def _head(what: str, client: RpcClient, found: int) -> Finding:
    head = await RpcSource(client, found).head()
    age = round(time.time() - head.timestamp)
    detail = f"block {head.ref.number}, {age} s old"
    if age < -CLOCK_SKEW_S:
        return Finding("fail", f"{what} clock", f"{detail}: this machine's clock is behind the chain's")
    return Finding("ok" if age < 3600 else "warn", f"{what} head", detail)


async def _finalized(what: str, client: RpcClient, found: int) -> Finding:
    del found
    try:
        block = wire.head(await client.raw("eth_getBlockByNumber", "finalized", False))
    except RpcRefused as error:
        return Finding("warn", f"{what} finality", f"no `finalized` tag: {error.message[:80]}")
    if block is None:
        return Finding("warn", f"{what} finality", "the `finalized` tag answers null")
    return Finding("ok", f"{what} finality", f"finalized block {block.ref.number}")


async def _receipts(what: str, client: RpcClient, found: int) -> Finding:
    head = await RpcSource(client, found).head()
    try:
        await client.raw("eth_getBlockReceipts", to_quantity(head.ref.number))
    except RpcRefused as error:
        return Finding("warn", f"{what} receipts", f"one request per transaction: {error.message[:80]}")
    block = await RpcSource(client, found).blocks(BlockRange(head.ref.number, head.ref.number))
    return Finding("ok", f"{what} receipts", f"eth_getBlockReceipts, {len(block[0].txs) if block else 0} in the newest")


async def _archive(what: str, client: RpcClient, found: int) -> Finding:
    """Ask for the first blocks: nodes may have pruned history (EIP-4444)."""
    try:
        blocks = await RpcSource(client, found).blocks(BlockRange(1, 1))
    except ChainworkdError as error:
        return Finding("warn", f"{what} history", f"block 1 is not to be had: {error}")
    return Finding("ok" if blocks else "warn", f"{what} history", "from block 1" if blocks else "no block 1 yet")


async def _deployed(what: str, client: RpcClient, found: int) -> Finding:
    known = contracts.deployments(found)
    if not known:
        return Finding("ok", f"{what} contracts", "none are known for this chain")
    empty = [n for n, address in known.items() if await client.call("eth_getCode", to_hex(address), "latest") == "0x"]
    detail = f"{len(known) - len(empty)} of {len(known)} have code"
    return Finding(
        "warn" if empty else "ok", f"{what} contracts", detail + (f", not {', '.join(empty)}" if empty else "")
    )


async def _socket(what: str, url: str, found: int) -> Finding:
    heads = ws.new_heads(url, found)
    try:
        async with asyncio.timeout(WS_S):
            head = await anext(heads)
    except TimeoutError:
        return Finding("warn", f"{what}.ws", f"{redacted(url)}: subscribed, no new head within {WS_S:.0f} s")
    except ChainworkdError as error:
        return Finding("fail", f"{what}.ws", str(error))
    finally:
        await heads.aclose()
    return Finding("ok", f"{what}.ws", f"{redacted(url)}: newHeads, block {head.ref.number}")


PROBES: Final[dict[str, Probe]] = {
    "head": _head,
    "finality": _finalized,
    "receipts": _receipts,
    "history": _archive,
    "contracts": _deployed,
}
