"""What operators and probes ask: liveness, readiness, metrics and a status page. No auth: loopback by default."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from importlib import resources
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from api.access import Scope, route
from api.readiness import Readiness
from api.times import iso
from core.hex import to_hex
from core.metrics import Metrics
from core.store import reader
from core.store.pool import Pool, translated
from core.store.reader import Reader

# What a chain's native coin is worth by its name and id, as JSON; None where no prices are set up.
Native = Callable[[str, int], Awaitable[Mapping[str, str | int | None] | None]]

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PAGE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"

SQL_RECENT_BLOCKS: Final = """
    select number, hash, block_time, tx_count, gas_used, gas_limit
    from chain.block
    where chain_id = $1 and number = any($2::bigint[])
    order by number desc
"""
SQL_RECENT_REORGS: Final = """
    select detected_at, ancestor_number, orphan_number, reason
    from chain.reorg
    where chain_id = $1
    order by detected_at desc
    limit 5
"""


class Report(Protocol):
    """What /readyz shows."""

    async def report(self) -> dict[str, list[str]]:
        """Return the faults of each part; a part without faults has an empty list."""
        ...


def probes(metrics: Metrics, readiness: Report) -> list[Route]:
    """Return /livez, /readyz and /metrics."""

    async def livez(_: Request) -> Response:
        """Answer that the event loop turns: nothing else, so that a slow database does not restart the process."""
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        """200 while every chain is fit to be asked, else 503 and why; with how its nodes are, where they are asked."""
        report = await readiness.report()
        ready = not any(report.values())
        nodes = {"endpoints": metrics.endpoints()} if metrics.endpoints() else {}
        return JSONResponse({"ready": ready, "faults": report, **nodes}, status_code=200 if ready else 503)

    async def exposition(_: Request) -> Response:
        """Metrics in Prometheus' text format."""
        return Response(metrics.render(), media_type=METRICS_TYPE)

    return [
        route("/livez", livez, scope=Scope.OPERATIONS),
        route("/readyz", readyz, scope=Scope.OPERATIONS),
        route("/metrics", exposition, scope=Scope.OPERATIONS),
    ]


def status_page(pool: Pool, readiness: Readiness, native: Native | None = None) -> list[Route]:
    """Return the status page and the JSON it shows; `native` says what a chain's native coin is worth."""
    page = resources.files("api").joinpath("status.html").read_text()

    async def status(_: Request) -> Response:
        """The page for people."""
        return HTMLResponse(page, headers={"content-security-policy": PAGE_POLICY})

    async def status_json(_: Request) -> Response:
        """The same as JSON."""
        chains = await reader.chains(pool)
        shown = [
            {
                **await _chain_status(pool, readiness, name, chain_id),
                "native_price": None if native is None else await native(name, chain_id),
            }
            for name, chain_id in chains.items()
        ]
        return JSONResponse({"chains": shown})

    return [
        route("/", status, scope=Scope.OPERATIONS),
        route("/status.json", status_json, scope=Scope.OPERATIONS),
    ]


async def _chain_status(pool: Pool, readiness: Readiness, name: str, chain_id: int) -> dict[str, Any]:
    chain = Reader(pool, chain_id)
    lag = await chain.lag()
    recent = [] if lag.number is None else list(range(max(0, lag.number - 11), lag.number + 1))
    with translated():
        blocks = await pool.fetch(SQL_RECENT_BLOCKS, chain_id, recent)
        reorgs = await pool.fetch(SQL_RECENT_REORGS, chain_id)
    return {
        "name": name,
        "chain_id": chain_id,
        "faults": readiness.faults(lag),
        "last_indexed_block": lag.number,
        "chain_tip_block": lag.tip,
        "lag_seconds": lag.seconds,
        "news_seconds_ago": lag.silence_s,
        "mode": await chain.mode(),
        "backfill_paused": await chain.backfill_paused(),
        "coverage": [[span.first, span.last] for span in await chain.coverage()],
        "blocks": [_block_line(row) for row in blocks],
        "reorgs": [_reorg_line(row) for row in reorgs],
    }


def _block_line(row: Any) -> dict[str, Any]:
    used = float(row["gas_used"] / row["gas_limit"]) if row["gas_limit"] else 0.0  # a share to show, not money
    return {
        "number": row["number"],
        "hash": to_hex(row["hash"]),
        "time": iso(row["block_time"]),
        "transactions": row["tx_count"],
        "gas_share": round(used, 4),
    }


def _reorg_line(row: Any) -> dict[str, Any]:
    at: datetime = row["detected_at"]
    return {
        "detected_at": iso(at),
        "ancestor": row["ancestor_number"],
        "orphaned": row["orphan_number"] - row["ancestor_number"],
        "reason": row["reason"],
    }
