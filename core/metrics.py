"""Every metric this program exports, in base units. Attached by wrappers at the seams; pure code has none."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from core.types import Block, Head

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        chain = ("chain",)
        self._head = self._gauge("head_block_number", "Newest block a node announced", chain)
        self._head_time = self._gauge("head_timestamp_seconds", "Time of the newest announced block", chain)
        self._cursor = self._gauge("cursor_block_number", "Last block committed by the head writer", chain)
        self._cursor_time = self._gauge("cursor_timestamp_seconds", "Time of the last committed block", chain)
        self._heads = self._counter("heads_announced", "New heads, by where they were heard first", (*chain, "origin"))
        self._sockets = self._counter("head_sockets_closed", "WebSockets to nodes that ended or were dropped", chain)
        self._blocks = self._counter("blocks_committed", "Blocks stored", (*chain, "writer"))
        self._txs = self._counter("transactions_committed", "Transactions stored", (*chain, "writer"))
        self._commit_s = self._histogram("commit_duration_seconds", "One transaction of rows", (*chain, "writer"))
        self._fetch_s = self._histogram("fetch_duration_seconds", "Fetching blocks and receipts", chain)
        self._fetch_errors = self._counter("fetch_errors", "Failed fetches, by kind of error", (*chain, "error"))
        self._reorgs = self._counter("reorgs", "Rewinds of the head writer", chain)
        self._reorg_depth = self._gauge("reorg_depth_blocks", "Blocks the last rewind took away", chain)
        self._alarms = self._gauge("finality_alarms", "Alarms that finalized blocks were orphaned, not cleared", chain)
        self._discarded = self._counter("blocks_discarded", "Blocks of history found orphaned", chain)
        self._pruned = self._counter("blocks_pruned", "Blocks that retention took away", chain)
        self._paused = self._gauge("backfill_paused", "1 while backfill waits for room on the disk", chain)
        self._malformed = self._counter("logs_malformed", "Logs whose data is not what their topic promises", chain)
        self._stalls = self._counter("stalls", "Restarts of a source since nothing was committed", (*chain, "why"))
        self._restarts = self._counter("service_restarts", "Services started again", ("service", "error"))
        self._stored(chain)
        of = (*chain, "endpoint")
        # Counters, not a histogram: these are on the hot path of backfill, and a histogram costs ten times as much.
        self._rpc_answers = self._counter("endpoint_answers", "Answered requests to a node", of)
        self._rpc_s = self._counter("endpoint_answer_seconds", "Time that answered requests took, added up", of)
        self._rpc_errors = self._counter("endpoint_errors", "Requests without a result, by kind", (*of, "error"))
        self._rpc_window = self._gauge("endpoint_window", "Requests that may be under way at once", of)
        self._rpc_aside = self._gauge("endpoint_aside", "1 while an endpoint is passed over at the head", (*of, "why"))
        self._hedged = self._counter("hedged_reads", "Reads at the head that were late", (*chain, "outcome"))
        self._votes = self._counter("head_votes", "New heads, by whether two nodes named them", (*chain, "outcome"))
        self._rpc_out = self._gauge("endpoint_out", "1 while an endpoint is left alone", of)
        self._requests = self._counter("api_requests", "Answered HTTP requests", ("route", "status"))
        self._request_s = self._histogram("api_request_duration_seconds", "Time to answer", ("route",))
        self._endpoints: dict[tuple[str, str], EndpointMetrics] = {}
        self._answered: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._streams = self._gauge("streams", "Open streams of facts", ("transport",))
        self._streams_ended = self._counter("streams_ended", "Streams of facts that ended", ("why",))
        self._listening = self._gauge("facts_listening", "1 while NOTIFY is heard, 0 while facts are polled", ())
        self._sockets_open = self._gauge("builder_sockets", "Open WebSockets of the builder", ("socket",))
        self._messages = self._counter("builder_messages", "Answered messages on /v1/exchange/ws", ("outcome",))
        self._sign_ins = self._counter("sign_ins", "Attempts to sign in, by what came of them", ("outcome",))
        self._refreshes = self._counter(
            "session_refreshes", "Refresh tokens that came, by what came of them", ("outcome",)
        )
        self._limited = self._counter("requests_limited", "Requests refused because there were too many", ("limit",))
        self._turned_away = self._counter("connections_turned_away", "Connections ended for want of room", ("server",))
        self._feed_up = self._gauge("market_feed_up", "1 while the upstream of prices answers", ("feed",))
        self._ticks = self._counter("market_ticks", "Ticks of prices passed on", ())
        self._dropped = self._counter("market_readers_dropped", "Readers of prices that were too slow", ())

    def _sending(self, wallet: tuple[str]) -> None:
        self._intents = self._gauge("sender_intents", "Intents that are not final, by state", (*wallet, "state"))
        self._broadcasts = self._counter("sender_broadcasts", "Signed transactions that went out", (*wallet, "kind"))
        self._intents_ended = self._counter("sender_intents_ended", "Intents that became final", (*wallet, "state"))
        self._fees = self._counter("sender_fees_wei", "Fees of settled transactions", wallet)
        self._reopened = self._counter("sender_reopened", "Mined intents that a reorg took out of their block", wallet)
        self._blocked = self._gauge("sender_blocked", "1 while something keeps a live wallet from sending", wallet)

    def _droids(self, droid: tuple[str]) -> None:
        self._droid_status = self._gauge("droid_session", "1 for the status of the open session", (*droid, "status"))
        self._decisions = self._counter(
            "droid_decisions", "Decisions, by what they are and why", (*droid, "decided", "word")
        )
        self._moves = self._counter("droid_moves", "Moves that became final", (*droid, "kind", "outcome"))
        self._aum = self._gauge("droid_aum", "What all is worth, in base units of the quote", droid)
        self._positions = self._gauge("droid_positions", "Open positions at the last snapshot", droid)

    def _stored(self, chain: tuple[str]) -> None:
        self._sending(("wallet",))
        self._droids(("droid",))
        of = (*chain, "endpoint")
        self._sealed = self._gauge("sealed_ratio", "Share of stored, finalized blocks whose counts are sealed", chain)
        self._deposits_sealed = self._gauge(
            "deposits_sealed_ratio", "Share of finalized blocks, known of every vault, with counted deposits", chain
        )
        self._completeness = self._gauge("completeness_ratio", "Share of stored blocks that passed every check", chain)
        self._quarantined = self._gauge("quarantined_blocks", "Blocks in quarantine", chain)
        self._weakened = self._gauge("checks_weakened", "Checks that held before and failed at the last look", chain)
        self._rechecked = self._counter("blocks_rechecked", "Stored blocks held against a node again", chain)
        self._differences = self._counter("recheck_differences", "Stored rows that differ from a node's block", chain)
        self._rpc_unverified = self._counter(
            "endpoint_unverified_blocks", "Blocks that did not pass a check, by endpoint", (*of, "check")
        )
        self._rpc_trust = self._gauge("endpoint_trust", "How far an endpoint was believed after its last failure", of)

    def endpoints(self) -> dict[str, dict[str, str]]:
        """Return how each endpoint is, by chain and name: `ok`, `lagging`, `forked` or `out`."""
        found: dict[str, dict[str, str]] = {}
        for (chain, name), each in sorted(self._endpoints.items()):
            found.setdefault(chain, {})[name] = each.state
        return found

    def render(self) -> bytes:
        """Return the text exposition (Prometheus text format 0.0.4)."""
        return generate_latest(self.registry)

    def for_chain(self, name: str) -> "ChainMetrics":
        """Return the view that the services of one chain report to."""
        return ChainMetrics(self, name)

    def for_streams(self) -> "StreamMetrics":
        """Return the view that streams of facts report to."""
        return StreamMetrics(self)

    def for_wallet(self, name: str) -> "WalletMetrics":
        """Return the view that the sender of one wallet reports to."""
        return WalletMetrics(self, name)

    def for_droid(self, droid_id: int) -> "DroidMetrics":
        """Return the view that the loop of one droid reports to."""
        return DroidMetrics(self, str(droid_id))

    def for_builder(self) -> "BuilderMetrics":
        """Return the view that the builder's sockets report to."""
        return BuilderMetrics(self)

    def signed_in(self, outcome: Literal["ok", "wrong", "not_approved"]) -> None:
        """Count an attempt to sign in."""
        self._sign_ins.labels(outcome).inc()

    def refreshed(self, outcome: Literal["ok", "again", "replayed", "over"]) -> None:
        """Count a refresh token that came."""
        self._refreshes.labels(outcome).inc()

    def limited(self, limit: str) -> None:
        """Count a request that a limit refused."""
        self._limited.labels(limit).inc()

    def turned_away(self, server: str) -> None:
        """Count a connection that was ended, or not taken, because there were too many."""
        self._turned_away.labels(server).inc()

    def restarted(self, service: str, error: Exception) -> None:
        """Count a restart of a service."""
        self._restarts.labels(service, type(error).__name__).inc()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answered HTTP request."""
        # Remembered: looking a child up by its labels costs as much as counting in it.
        found = self._answered.get((route, status))
        if found is None:
            found = self._requests.labels(route, str(status)), self._request_s.labels(route)
            self._answered[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def _gauge(self, name: str, text: str, labels: Sequence[str]) -> Gauge:
        return Gauge(f"chainworkd_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        return Counter(f"chainworkd_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str]) -> Histogram:
        return Histogram(f"chainworkd_{name}", text, labels, registry=self.registry, buckets=SECONDS)


class ChainMetrics:
    """The metrics of one chain."""

    def __init__(self, metrics: Metrics, chain: str) -> None:
        self._m = metrics
        self._chain = chain

    def announced(self, origin: str) -> None:
        """Count a new head."""
        self._m._heads.labels(self._chain, origin).inc()

    def socket_dropped(self, why: str) -> None:
        """Count a WebSocket that was closed."""
        del why  # free text: logged, never a label
        self._m._sockets.labels(self._chain).inc()

    def stalled(self, why: str) -> None:
        """Count a restart of the source because nothing was committed; `why` is who knew of newer blocks."""
        self._m._stalls.labels(self._chain, why).inc()

    def saw(self, head: Head) -> None:
        """Show the newest head."""
        self._m._head.labels(self._chain).set(head.ref.number)
        self._m._head_time.labels(self._chain).set(head.timestamp)

    def committed(self, blocks: Sequence[Block], writer: str, seconds: float) -> None:
        """Count stored blocks; only the head writer moves the cursor."""
        self._m._blocks.labels(self._chain, writer).inc(len(blocks))
        self._m._txs.labels(self._chain, writer).inc(sum(len(block.txs) for block in blocks))
        self._m._commit_s.labels(self._chain, writer).observe(seconds)
        if writer == "head":
            self._reached(blocks[-1])

    def _reached(self, tip: Block) -> None:
        self._m._cursor.labels(self._chain).set(tip.number)
        self._m._cursor_time.labels(self._chain).set(tip.timestamp)

    def committed_rows(self, headers: Sequence[Block], txs: int, seconds: float) -> None:
        """Count blocks that the head writer stored encoded."""
        self._m._blocks.labels(self._chain, "head").inc(len(headers))
        self._m._txs.labels(self._chain, "head").inc(txs)
        self._m._commit_s.labels(self._chain, "head").observe(seconds)
        self._reached(headers[-1])

    def filled(self, blocks: int, txs: int, seconds: float) -> None:
        """Count blocks that backfill stored in bulk."""
        self._m._blocks.labels(self._chain, "backfill").inc(blocks)
        self._m._txs.labels(self._chain, "backfill").inc(txs)
        self._m._commit_s.labels(self._chain, "backfill").observe(seconds)

    def rewound(self, depth: int, ancestor: int) -> None:
        """Count a rewind of the head writer."""
        self._m._reorgs.labels(self._chain).inc()
        self._m._reorg_depth.labels(self._chain).set(depth)
        self._m._cursor.labels(self._chain).set(ancestor)

    def alarmed(self, count: int) -> None:
        """Show how many alarms nobody has cleared."""
        self._m._alarms.labels(self._chain).set(count)

    def discarded(self, blocks: int) -> None:
        """Count blocks of history that turned out to be orphaned."""
        self._m._discarded.labels(self._chain).inc(blocks)

    def pruned(self, blocks: int) -> None:
        """Count blocks that retention took away."""
        self._m._pruned.labels(self._chain).inc(blocks)

    def sealed(self, share: float) -> None:
        """Show which share of the stored blocks that are final is counted for totals."""
        self._m._sealed.labels(self._chain).set(share)

    def deposits_sealed(self, share: float) -> None:
        """Show which share of the blocks whose deposits are known and final is counted for totals."""
        self._m._deposits_sealed.labels(self._chain).set(share)

    def paused(self, why: str | None) -> None:
        """Show whether backfill waits."""
        self._m._paused.labels(self._chain).set(why is not None)

    def weakened(self, checks: int) -> None:
        """Show how many checks failed at the last calibration that had held before."""
        self._m._weakened.labels(self._chain).set(checks)

    def completeness(self, share: float | None, quarantined: int) -> None:
        """Show which share of the stored blocks is verified, if that is known, and how many are in quarantine."""
        if share is not None:
            self._m._completeness.labels(self._chain).set(share)
        self._m._quarantined.labels(self._chain).set(quarantined)

    def rechecked(self, blocks: int, differences: int) -> None:
        """Count stored blocks that were held against a node again, and the rows that differ."""
        self._m._rechecked.labels(self._chain).inc(blocks)
        self._m._differences.labels(self._chain).inc(differences)

    def malformed(self) -> None:
        """Count a log that promises an event and does not hold one."""
        self._m._malformed.labels(self._chain).inc()

    def endpoint(self, name: str) -> "EndpointMetrics":
        """Return the view that one endpoint reports to; `name` is its host, never its URL."""
        return EndpointMetrics(self._m, self._chain, name)

    def hedged(self, outcome: str) -> None:
        """Count a read at the head that was late."""
        self._m._hedged.labels(self._chain, outcome).inc()

    def voted(self, outcome: str) -> None:
        """Count a new head that several nodes were asked about."""
        self._m._votes.labels(self._chain, outcome).inc()

    def fetched(self, seconds: float) -> None:
        """Note how long a fetch took."""
        self._m._fetch_s.labels(self._chain).observe(seconds)

    def fetch_failed(self, error: Exception) -> None:
        """Count a failed fetch."""
        self._m._fetch_errors.labels(self._chain, type(error).__name__).inc()


class EndpointMetrics:
    """The metrics of one endpoint of a chain (EndpointMeter). Children are looked up once: this is the hot path."""

    def __init__(self, metrics: Metrics, chain: str, name: str) -> None:
        self._m = metrics
        metrics._endpoints[chain, name] = self
        self._is_out, self._why = False, ""
        self._labels = (chain, name)
        self._errors = metrics._rpc_errors
        self._answers = metrics._rpc_answers.labels(chain, name)
        self._seconds = metrics._rpc_s.labels(chain, name)
        self._aside = {why: metrics._rpc_aside.labels(chain, name, why) for why in ("lagging", "forked")}
        self._window = metrics._rpc_window.labels(chain, name)
        self._out = metrics._rpc_out.labels(chain, name)

    @property
    def state(self) -> str:
        """`ok`, or why it is passed over."""
        return "out" if self._is_out else self._why or "ok"

    def answered(self, seconds: float) -> None:
        """Note an answered request."""
        self._answers.inc()
        self._seconds.inc(seconds)

    def failed(self, kind: str) -> None:
        """Count a request that brought no result; `kind` is one of few words."""
        self._errors.labels(*self._labels, kind).inc()

    def window(self, width: int) -> None:
        """Show how many requests may be under way at once."""
        self._window.set(width)

    def out(self, is_out: bool) -> None:
        """Show whether the endpoint is left alone."""
        self._is_out = is_out
        self._out.set(is_out)

    def unverified(self, check: str, trust: float) -> None:
        """Count a block that did not pass a check, and show how far the endpoint is still believed."""
        self._m._rpc_unverified.labels(*self._labels, check).inc()
        self._m._rpc_trust.labels(*self._labels).set(trust)

    def aside(self, why: str) -> None:
        """Show why the endpoint is passed over at the head."""
        self._why = why
        for each, gauge in self._aside.items():
            gauge.set(each == why)


class StreamMetrics:
    """The metrics of streams of facts."""

    def __init__(self, metrics: Metrics) -> None:
        self._m = metrics

    @contextmanager
    def open(self, transport: str) -> Iterator[None]:
        """Count a stream as open."""
        gauge = self._m._streams.labels(transport)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    def ended(self, why: str) -> None:
        """Count a stream that ended; `why` is one of few words."""
        self._m._streams_ended.labels(why).inc()

    def listening(self, on: bool) -> None:
        """Show whether NOTIFY is heard."""
        self._m._listening.set(on)


class WalletMetrics:
    """The metrics of one wallet."""

    def __init__(self, metrics: Metrics, wallet: str) -> None:
        self._m = metrics
        self._wallet = wallet

    def waiting(self, queued: int, pending: int, mined: int) -> None:
        """Show how many intents are open."""
        for state, count in (("queued", queued), ("pending", pending), ("mined", mined)):
            self._m._intents.labels(self._wallet, state).set(count)

    def broadcast(self, kind: str) -> None:
        """Count a signed transaction that went out for the first time; a restart counts those again that are open."""
        self._m._broadcasts.labels(self._wallet, kind).inc()

    def ended(self, state: str, fee: int) -> None:
        """Count an intent that is final, and what it cost in wei."""
        self._m._intents_ended.labels(self._wallet, state).inc()
        self._m._fees.labels(self._wallet).inc(fee)

    def reopened(self) -> None:
        """Count an intent whose block a reorg took."""
        self._m._reopened.labels(self._wallet).inc()

    def blocked(self, why: bool) -> None:
        """Show whether something keeps the wallet from sending."""
        self._m._blocked.labels(self._wallet).set(why)


class DroidMetrics:
    """The metrics of one droid."""

    def __init__(self, metrics: Metrics, droid: str) -> None:
        self._m = metrics
        self._droid = droid
        self._status = ""

    def status(self, status: str) -> None:
        """Show where the session is, "" if there is none."""
        for each, on in ((self._status, 0), (status, 1)):
            if each:
                self._m._droid_status.labels(self._droid, each).set(on)
        self._status = status

    def decided(self, decided: str, word: str) -> None:
        """Count a decision."""
        self._m._decisions.labels(self._droid, decided, word).inc()

    def moved(self, kind: str, outcome: str) -> None:
        """Count a move that is final."""
        self._m._moves.labels(self._droid, kind, outcome).inc()

    def worth(self, aum: int, positions: int) -> None:
        """Show what all is worth, and how many positions there are."""
        self._m._aum.labels(self._droid).set(aum)
        self._m._positions.labels(self._droid).set(positions)


class BuilderMetrics:
    """The metrics of the builder's WebSockets and of its feed of prices."""

    def __init__(self, metrics: Metrics) -> None:
        self._m = metrics

    @contextmanager
    def socket(self, name: str) -> Iterator[None]:
        """Count a connection as open."""
        gauge = self._m._sockets_open.labels(name)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    def message(self, *, ok: bool) -> None:
        """Count an answered message."""
        self._m._messages.labels("ok" if ok else "error").inc()

    def feed_up(self, up: bool) -> None:
        """Show whether the upstream answers."""
        # With a label, so that a process without a feed does not export a 0 that would look like a lost one.
        self._m._feed_up.labels("ostium").set(up)

    def ticked(self) -> None:
        """Count a tick."""
        self._m._ticks.inc()

    def dropped(self) -> None:
        """Count a reader that was let go."""
        self._m._dropped.inc()
