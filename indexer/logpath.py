"""What the hot paths of whole blocks and of events share: logs as spans, what each is to us, and the rare ones.

`encode` of both is told in indexer/hotpath.py.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.errors import BadAnswer
from core.hex import from_hex
from core.rpc import wire
from core.store.derived import Row
from core.types import Block, Log, PlacedLog, TokenTransfer
from indexer.compiled import answers, blocks, emit, native
from indexer.compiled.people import FREE, MOST, SIZE, address_set, empty_slots
from indexer.compiled.rows import WORK
from indexer.compiled.scan import PAD, Bytes, Flags, Ints
from indexer.decode import transfers
from indexer.decode.tables import POOL_TOPICS, UPGRADED, LogTable, PerLog, TransferTable

PADDING: Final = bytes(PAD)


class Scratch:
    """Arrays that are used again for every request."""

    def __init__(self) -> None:
        self._held: dict[str, npt.NDArray[Any]] = {}

    def take(self, name: str, shape: int | tuple[int, ...], kind: type[Any] = np.int32) -> npt.NDArray[Any]:
        """Return an array with anything in it, of at least as many rows as `shape` says."""
        rows, *rest = shape if isinstance(shape, tuple) else (shape,)
        found = self._held.get(name)
        if found is None or len(found) < rows:
            found = self._held[name] = np.empty((rows + rows // 4, *rest), kind)
        return found


@dataclass(frozen=True, slots=True)
class Letters:
    """Hashes and numbers of consecutive blocks as a node wrote them: 66 letters each, and where each number begins."""

    hashes: Bytes
    numbers: Bytes
    number_starts: Ints

    @classmethod
    def of(cls, found: Sequence[wire.WireHeader]) -> "Letters":
        """Return those of decoded blocks."""
        numbers = [header.number or "" for header in found]
        hashes = "".join(header.hash or "" for header in found).encode()
        return cls(
            np.frombuffer(hashes.ljust(answers.HASH * len(numbers)), np.uint8),
            np.frombuffer("".join(numbers).encode() + b" ", np.uint8),
            np.cumsum([0, *map(len, numbers)], dtype=np.int32),
        )


@dataclass(slots=True)
class Logs:
    """The logs of one request: their text, a row of spans each, and (block, transaction, index) of each."""

    text: bytes
    buf: Bytes
    spans: Ints
    places: Ints
    count: int = 0
    addresses: Bytes = field(default_factory=lambda: np.empty((0, SIZE), np.uint8))
    kinds: Ints = field(default_factory=lambda: np.empty(0, np.int32))

    def with_known(self, rare: "Rare") -> blocks.Logs:
        """Return all of it, and the transfers that Python decoded, for compiled code."""
        return blocks.Logs(self.buf, self.spans, self.places, self.addresses, self.kinds, *rare.transfers(self.count))


@dataclass(slots=True)
class Rare:
    """What Python made of logs that are not of the common forms, each with the row of its log."""

    known: list[tuple[int, TokenTransfer]] = field(default_factory=list)
    records: list[tuple[int, str, Row]] = field(default_factory=list)
    upgraded: list[tuple[int, bytes]] = field(default_factory=list)

    def transfers(self, logs: int) -> tuple[Ints, emit.Known]:
        """Return where each log's transfers begin, and the transfers, for compiled code."""
        numbers = np.array([(moved.position, int(moved.standard)) for _, moved in self.known], np.int32)
        people = b"".join(moved.token + moved.sender + moved.recipient for _, moved in self.known)
        words = b"".join(moved.amount.to_bytes(32) + (moved.token_id or 0).to_bytes(32) for _, moved in self.known)
        rows = np.array([at for at, _ in self.known], np.int32)
        return np.searchsorted(rows, np.arange(logs + 1)).astype(np.int32), (
            numbers.reshape(-1, 2), np.frombuffer(people, np.uint8).reshape(-1, 3 * SIZE),
            np.frombuffer(words, np.uint8).reshape(-1, 64),
        )  # fmt: skip

    def of_table(self, table: str, stored: Flags) -> list[Row]:
        """Return the rows of a table of few rows."""
        return [row for at, name, row in self.records if name == table and stored[at]]

    def upgrades(self, stored: Flags) -> frozenset[bytes]:
        """Return the contracts that run other code now."""
        return frozenset(address for at, address in self.upgraded if stored[at])


@dataclass(slots=True)
class Output:
    """Rows of some tables as they are written; a table without a name has none."""

    tables: Sequence[str]
    rows: blocks.Rows

    @property
    def copies(self) -> Mapping[str, bytes]:
        """The rows of each table."""
        parts = zip(self.tables, self.rows.buffers, self.rows.ends.tolist(), strict=True)
        return {table: buffer[:end].tobytes() for table, buffer, end in parts if table}

    @property
    def counts(self) -> Mapping[str, int]:
        """How many rows each table has."""
        return {table: n for table, n in zip(self.tables, self.rows.counts.tolist(), strict=True) if table}


class LogPath:
    """Reads logs of one chain; `per_log` are tables of few rows."""

    def __init__(
        self, chain_id: int, transfer_table: TransferTable, log_table: LogTable, per_log: Sequence[PerLog] = ()
    ) -> None:
        native.load()
        self._chain = chain_id
        self._transfer_table = transfer_table
        self._per_log = tuple(per_log)
        self._else_kind = emit.KEEP if log_table.keeps_topic(None) else 0
        self._topics, self._topic_kinds = self._kinds_of_topics(log_table)
        self._contracts = self._kinds_of_contracts(log_table)
        self._log_follows = np.zeros(answers.LOG.count + 1, np.int32)
        # A run that was stopped may leave a thread behind that is still at work on its last blocks.
        self._alone = threading.Lock()
        self._scratch = Scratch()
        self._crowd = blocks.Crowd(np.empty((MOST, SIZE), np.uint8), np.empty(MOST, np.int32), empty_slots(MOST))
        self._work = np.empty(WORK, np.int64)

    def _kinds_of_topics(self, log_table: LogTable) -> tuple[Bytes, Ints]:
        """Return the first topics that mean something here, and what each makes of a log."""
        topics = {UPGRADED, *transfers.DECODERS, *POOL_TOPICS, *(t for each in self._per_log for t in each.topics)}
        kinds = []
        for topic in topics:
            kind = emit.KEEP if log_table.keeps_topic(topic) else 0
            if topic == transfers.TRANSFER:
                kind |= emit.TRANSFER
            elif topic in transfers.DECODERS or topic == UPGRADED:
                kind |= emit.RARE
            kinds.append(kind | (emit.RARE if any(topic in each.topics for each in self._per_log) else 0))
        return np.frombuffer(b"".join(topics), np.uint8).reshape(-1, 32), np.array(kinds, np.int32)

    def _kinds_of_contracts(self, log_table: LogTable) -> tuple[Bytes, Ints, Ints]:
        """Return the contracts that mean something here as a set, and what each makes of its logs."""
        rare = {address for each in self._per_log for address in each.addresses}
        contracts = sorted(rare | log_table.addresses)
        kinds = [
            (emit.RARE if each in rare else 0) | (emit.KEEP if log_table.keeps_address(each) else 0)
            for each in contracts
        ]
        return *address_set(contracts), np.array(kinds, np.int32)

    def _logs(self, lists: Iterable[bytes]) -> Logs:
        """Return room for the logs in these texts."""
        text = b"".join([*lists, PADDING])
        most = len(text) // answers.SHORTEST_LOG
        take = self._scratch.take
        return Logs(
            text, np.frombuffer(text, np.uint8), take("logs", (most, answers.LOG_ROW, 2)), take("places", (most, 3))
        )

    def _sort(self, logs: Logs) -> None:
        """Note what each log is to us."""
        logs.addresses = self._scratch.take("addresses", (logs.count, SIZE), np.uint8)
        logs.kinds = self._scratch.take("kinds", logs.count)[: logs.count]
        blocks.sort_logs(
            logs.buf, logs.spans, logs.count, self._else_kind, self._topics, self._topic_kinds, self._contracts,
            logs.addresses, logs.kinds,
        )  # fmt: skip

    def _rare(self, logs: Logs, headers: Sequence[Block]) -> Rare:
        """Return what the logs mean that no row-writer knows, by the decoders of the careful path."""
        rare = Rare()
        for at in np.flatnonzero(logs.kinds & emit.RARE).tolist():
            block, tx_index, index = logs.places[at].tolist()
            try:
                log, tx_hash = _typed(logs, at, index), from_hex(_text(logs, at, answers.LOG_TX), 32)
            except BadAnswer as error:
                raise ValueError(str(error)) from None
            self._add_rare(rare, at, headers[block], PlacedLog(headers[block].ref, tx_hash, tx_index, log))
        return rare

    def _add_rare(self, rare: Rare, at: int, header: Block, placed: PlacedLog) -> None:
        log = placed.log
        found = self._transfer_table.decoded(header, placed.tx_index, log)
        # A transfer of a common form is written by compiled code; it comes here for another table's sake.
        if log.topics[:1] != (transfers.TRANSFER,) or blocks.form_of_sizes(len(log.topics), len(log.data)) == emit.RARE:
            rare.known += [(at, moved) for moved in found]
        if log.topics[:1] == (UPGRADED,):
            rare.upgraded.append((at, log.address))
        for each in self._per_log:
            row = each.row(self._chain, header, placed) if _reads(each, log) else None
            if row is not None:
                rare.records.append((at, each.table, row))

    def _tokens(self, logs: Logs, rare: Rare, stored: Flags) -> dict[bytes, int]:
        """Return the tokens that moved, each with the highest standard that it was seen to keep."""
        count = blocks.gather_tokens(self._crowd, logs.addresses, logs.kinds, stored)
        standards = zip(self._crowd.people[:count], self._crowd.roles[:count].tolist(), strict=True)
        tokens = {token.tobytes(): 721 if kind & emit.ERC721 else 20 for token, kind in standards}
        for at, moved in rare.known:
            if stored[at]:
                tokens[moved.token] = max(tokens.get(moved.token, 0), int(moved.standard))
        return tokens

    def _output(self, tables: Sequence[str], sizes: Sequence[int]) -> Output:
        """Return room for rows of these tables, of so many bytes each."""
        buffers = [self._scratch.take(f"rows of {at}", size, np.uint8) for at, size in enumerate(sizes)]
        ends, counts = np.zeros(len(sizes), np.int64), np.zeros(len(sizes), np.int64)
        return Output(tables, blocks.Rows(tuple(buffers), ends, counts, self._work))

    def _forget(self) -> None:
        """Free the places of addresses that a failure left behind."""
        self._crowd.slots.fill(FREE)


def _reads(table: PerLog, log: Log) -> bool:
    return log.address in table.addresses or (bool(log.topics) and log.topics[0] in table.topics)


def _typed(logs: Logs, at: int, index: int) -> Log:
    topics = [key for key in range(answers.LOG_TOPIC, answers.LOG_ROW) if logs.spans[at, key, 0] >= 0]
    return Log(
        address=from_hex(_text(logs, at, answers.LOG_ADDRESS), 20),
        topics=tuple(from_hex(_text(logs, at, topic), 32) for topic in topics),
        data=from_hex(_text(logs, at, answers.LOG_DATA)), index=index,
    )  # fmt: skip


def _text(logs: Logs, at: int, key: int) -> str:
    start, end = logs.spans[at, key].tolist()
    return logs.text[start:end].decode("ascii") if start >= 0 else ""
