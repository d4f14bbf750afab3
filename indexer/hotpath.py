"""The hot path of backfill: JSON-RPC answers to rows in the binary format of COPY, with no objects in between. Pure.

A block is read in four moves; each is here because it was measured (docs/performance.md):

1. msgspec decodes blocks and receipts into the structs below. Lengths are checked in C, by the types of their fields.
2. Every receipt and log is held against its transaction and its block, as core/rpc/wire.py does it.
3. A row is one f-string: the binary format of COPY *written in hex*. Hashes, addresses and data pass as the node sent
   them, less `0x`; integers become hex of their width.
4. One `unhexlify` makes the bytes of a whole table, and so proves every digit of every field.

What is not exactly as expected raises Unusual: the careful path (wire.py, copy.py) decides about those blocks, with its
better errors. So this path may be stricter than the careful one and never laxer; tests/pg/test_hotpath.py stores the
same blocks by both and compares every table.

Format: PostgreSQL manual, COPY, "Binary Format".
"""

import binascii
from collections.abc import Collection, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta
from msgspec.structs import astuple

from core.errors import BadAnswer
from core.hex import from_hex
from core.rpc import wire
from core.store import copy
from core.store.bulk import Piece
from core.store.copy import NO_LOGS_BLOOM, Role
from core.store.derived import Row
from core.store.numeric import numeric
from core.types import Block, PlacedLog, TokenTransfer
from core.types import Log as TypedLog
from indexer.decode import transfers
from indexer.decode.tables import UPGRADED, LogTable, PerLog, TransferTable

Hash = Annotated[str, Meta(min_length=66, max_length=66)]
Address = Annotated[str, Meta(min_length=42, max_length=42)]
U256 = Annotated[str, Meta(min_length=3, max_length=66)]
U64 = Annotated[str, Meta(min_length=3, max_length=18)]
Bloom = Annotated[str, Meta(min_length=514, max_length=514)]


class Unusual(Exception):
    """Blocks that are not exactly as the hot path expects them; the careful path decides."""


class _Tx(wire.WireTx, rename="camel", gc=False):
    hash: Hash
    nonce: U64
    from_: Address = msgspec.field(name="from")
    value: U256
    gas: U64
    to: Address | None = None
    gas_price: U256 | None = None
    max_fee_per_gas: U256 | None = None
    max_priority_fee_per_gas: U256 | None = None
    v: U256 | None = None
    r: U256 | None = None
    s: U256 | None = None


class Log(wire.WireLog, rename="camel", gc=False):
    """A log as sent, of the lengths it must have."""

    address: Address
    topics: Annotated[list[Hash], Meta(max_length=4)]


class _Receipt(wire.WireReceipt, rename="camel", gc=False):
    cumulative_gas_used: U64
    gas_used: U64
    logs_bloom: Bloom
    contract_address: Address | None = None
    effective_gas_price: U256 | None = None
    root: Hash | None = None
    logs: list[Log] = []  # type: ignore[assignment]  # noqa: RUF012 - msgspec copies it


class _Block(wire.WireBlock, rename="camel", gc=False):
    transactions: list[_Tx]  # type: ignore[assignment]


_blocks = msgspec.json.Decoder(_Block)
_receipts = msgspec.json.Decoder(list[_Receipt])

NULL: Final = "ffffffff"
N2, N4, N8, N20, N32, N64, N256 = (f"{size:08x}" for size in (2, 4, 8, 20, 32, 64, 256))
NO_BLOOM: Final = "0x" + NO_LOGS_BLOOM.hex()
SMALL: Final = {f"0x{n:x}": f"{N2}{n:04x}" for n in range(128)}  # transaction types; EIP-2718 ends at 0x7f
STATUS: Final = {None: NULL, "0x0": SMALL["0x0"], "0x1": SMALL["0x1"]}
ERC20, ERC721 = (f"{N2}{standard:04x}" for standard in (20, 721))
FIRST: Final = f"{N4}{0:08x}"
ROLES: Final = [f"{N2}{n:04x}" for n in range(64)]
TOPICS_LEFT: Final = [NULL * (4 - n) for n in range(5)]
CACHED: Final = 50_000

# Plain integers: an operation on an IntFlag costs ten times one on an int.
FROM, TO, CREATED, SENT, RECEIVED = (int(role) for role in Role)

# What a log is to us, by its first topic and by its address.
KEEP, TRANSFER, OTHER_TRANSFER, UPGRADE, PER_LOG = 1, 2, 4, 8, 16


ZERO, ONE = numeric(0), numeric(1)


def quantity(text: str) -> str:
    """Return a QUANTITY as a numeric field. Raises Unusual."""
    # isalnum: int() would take signs, blanks and underscores as well.
    if text[:2] != "0x" or not text.isalnum():
        raise Unusual(f"quantity {text!r}")
    try:
        return numeric(int(text, 16))
    except ValueError:
        raise Unusual(f"quantity {text!r}") from None


class _Numerics(dict[str, str]):
    """Quantities that come again and again, gas prices above all, as numeric fields."""

    def __missing__(self, text: str) -> str:
        found = self[text] = quantity(text)
        return found


class _Table:
    """Rows of one table as they grow, in hex; `prefix` is what each begins with: its number of fields, the chain."""

    __slots__ = ("prefix", "rows")

    def __init__(self, columns: int, chain_id: int) -> None:
        self.rows: list[str] = []
        self.prefix = f"{columns:04x}{N8}{chain_id:016x}"

    def binary(self) -> bytes:
        """Return the rows as bytes. Raises Unusual if a field has a character that is no hex digit."""
        try:
            return binascii.unhexlify("".join(self.rows))
        except (binascii.Error, ValueError) as error:
            raise Unusual(f"a field is not hex data: {error}") from None


class _Extra:
    """JSON fields of what only some transactions have. Which of them there are seldom changes from one to the next."""

    def __init__(self, names: Sequence[tuple[str, str]]) -> None:
        self._names = [sent_as for _, sent_as in names]
        self._present: list[int] = []
        self._known: dict[tuple[bytes, ...], str] = {}

    def field(self, values: Sequence[wire.Extra]) -> str:
        """Return those of `values` that are set as one JSON object, null if there are none."""
        count = len(values) - values.count(UNSET)
        if not count:
            return NULL
        key = tuple([bytes(values[i]) for i in self._present if values[i] is not UNSET])  # type: ignore[arg-type]
        if not len(key) == len(self._present) == count:
            self._present = [i for i, value in enumerate(values) if value is not UNSET]
            self._known.clear()
            return self.field(values)
        return self._known.get(key) or self._made(key)

    def _made(self, key: tuple[bytes, ...]) -> str:
        names = [self._names[i] for i in self._present]
        data = msgspec.json.encode({name: msgspec.Raw(value) for name, value in zip(names, key, strict=True)})
        try:
            data.decode()  # msgspec passes over these values without a look at their text
        except UnicodeDecodeError as error:
            raise Unusual(f"one of {', '.join(names)} is not UTF-8: {error}") from None
        if len(self._known) > CACHED:
            self._known.clear()
        found = self._known[key] = f"{len(data):08x}{data.hex()}"
        return found


class HotPath:
    """Encodes blocks of one chain. `per_log` are tables of few rows; `watched` as in indexer/watch.py, None for all."""

    def __init__(
        self,
        chain_id: int,
        transfer_table: TransferTable,
        log_table: LogTable,
        per_log: Sequence[PerLog] = (),
        watched: Collection[bytes] | None = None,
    ) -> None:
        self._chain = chain_id
        self._transfer_table = transfer_table
        self._log_table = log_table
        self._per_log = tuple(per_log)
        self._watched = None if watched is None else frozenset(address.hex() for address in watched)
        # What was looked up before: quantities, first topics and addresses of logs, all as sent.
        self._numerics = _Numerics()
        self._topics: dict[str, int] = {}
        self._addresses: dict[str, int] = {}
        self._tx_extra = _Extra(wire.TX_EXTRA)
        self._receipt_extra = _Extra(wire.RECEIPT_EXTRA)
        # Places of transactions and logs within a block: as fields, and as quantities.
        self._fields: list[str] = []
        self._indexes: list[str] = []
        self._begin()

    def encode(self, raw_blocks: Sequence[bytes], raw_receipts: Sequence[bytes]) -> Piece:
        """Return the rows of consecutive blocks, from answers of eth_getBlockByNumber and eth_getBlockReceipts.

        Raises Unusual, and BadAnswer for a header that breaks the format.
        """
        self._begin()
        for raw, receipts in zip(raw_blocks, raw_receipts, strict=True):
            try:
                block, done = _blocks.decode(raw), _receipts.decode(receipts)
            except wire.UNREADABLE as error:
                raise Unusual(str(error)) from None
            self._block(block, done)
        return self._piece()

    def _begin(self) -> None:
        for cache in (self._numerics, self._topics, self._addresses):
            if len(cache) > CACHED:
                cache.clear()
        self._txs = self._table(copy.TRANSACTION_COLUMNS)
        self._hashes = self._table(copy.TX_HASH_COLUMNS)
        self._roles = self._table(copy.ADDRESS_TRANSACTION_COLUMNS)
        self._transfers = self._table(self._transfer_table.columns)
        self._logs = self._table(self._log_table.columns)
        self._unkept = self._table(())  # logs and transactions that no table keeps: proven, then forgotten
        self._headers: list[Block] = []
        self._at = ""  # the block's number as a field
        self._block_rows: list[Row] = []
        self._records: dict[str, list[Row]] = {each.table: [] for each in self._per_log}
        self._tokens: dict[str, int] = {}
        self._upgraded: set[bytes] = set()

    def _table(self, columns: Sequence[str]) -> _Table:
        return _Table(len(columns), self._chain)

    def _start(self, header: Block) -> None:
        self._headers.append(header)
        self._header, self._at = header, f"{N8}{header.number:016x}"

    def _piece(self, **more: _Table) -> Piece:
        self._unkept.binary()
        tables = {
            "transaction": self._txs, "tx_hash": self._hashes, "address_transaction": self._roles,
            "token_transfer": self._transfers, "log": self._logs, **more,
        }  # fmt: skip
        tokens: dict[bytes, int] = {}
        for address, standard in self._tokens.items():
            token = from_hex(address, 20)
            tokens[token] = max(tokens.get(token, 0), standard)
        copies = {name: table.binary() for name, table in tables.items()}
        # Two spellings of one address would be two keys here and one in the table.
        if copies["address_transaction"].hex() != "".join(self._roles.rows):
            raise Unusual("an address with capitals")
        return Piece(
            headers=self._headers,
            copies=copies,
            counts={name: len(table.rows) for name, table in tables.items()},
            records={"block": self._block_rows, **self._records},
            tokens=tokens,
            upgraded=frozenset(self._upgraded),
        )

    def _block(self, block: _Block, receipts: list[_Receipt]) -> None:
        header = wire.header_only(block)
        txs = block.transactions
        if len(receipts) != len(txs):
            raise Unusual(f"block {header.ref}: {len(txs)} transactions but {len(receipts)} receipts")
        self._start(header)
        self._reach(max(len(txs), sum(len(receipt.logs) for receipt in receipts)))
        before, next_log = len(self._txs.rows), 0
        for index, (tx, receipt) in enumerate(zip(txs, receipts, strict=True)):
            place = self._indexes[index]
            if (
                tx.block_hash != block.hash or receipt.block_hash != block.hash
                or tx.block_number != block.number or receipt.block_number != block.number
                or tx.transaction_index != place or receipt.transaction_index != place
                or receipt.transaction_hash != tx.hash
            ):  # fmt: skip
                raise Unusual(f"block {header.ref}: transaction {index} or its receipt belongs elsewhere")
            self._transaction(index, tx, receipt, next_log)
            next_log += len(receipt.logs)
        stored = len(self._txs.rows) - before
        self._block_rows.append(
            copy.header_row(self._chain, header, len(txs), stored=None if self._watched is None else stored)
        )

    def _transaction(self, index: int, tx: _Tx, receipt: _Receipt, next_log: int) -> None:
        roles = {tx.from_[2:]: FROM}
        if tx.to is not None:
            to = tx.to[2:]
            roles[to] = roles.get(to, 0) | TO
        if receipt.contract_address is not None:
            created = receipt.contract_address[2:]
            roles[created] = roles.get(created, 0) | CREATED
        if self._watched is None:
            if receipt.logs:
                self._add_logs(index, tx, receipt, next_log, roles)
        elif not self._concerns(index, tx, receipt, next_log, roles):
            self._unkept.rows.append(self._transaction_row(self._fields[index], tx, receipt))
            return
        at, place = self._at, self._fields[index]
        self._txs.rows.append(self._transaction_row(place, tx, receipt))
        self._hashes.rows.append(f"{self._hashes.prefix}{N8}{tx.hash[2:18]}{at}{place}")
        add, prefix = self._roles.rows.append, f"{self._roles.prefix}{N20}"
        for address, role in roles.items():
            add(f"{prefix}{address}{at}{place}{ROLES[role]}")

    def _transaction_row(self, place: str, tx: _Tx, receipt: _Receipt) -> str:
        fields, done = astuple(tx), astuple(receipt)
        hash_, nonce, sender, value, gas, data, _, _, _, to, kind, gas_price, fee_cap, tip_cap, v, r, s = fields[:17]
        _, _, _, _, cumulative, used, bloom, created, effective, status, root, _ = done[:12]
        if (
            not hash_[:2] == sender[:2] == data[:2] == bloom[:2] == "0x"
            or len(data) & 1
            or not (kind in SMALL and status in STATUS)
        ):
            raise Unusual(f"transaction {hash_}: type {kind}, from {sender}, {len(data)} characters of input")
        number = self._numerics.__getitem__
        return (
            f"{self._txs.prefix}{self._at}{place}{SMALL[kind]}{STATUS[status]}{N32}{hash_[2:]}{N20}{sender[2:]}"
            f"{NULL if to is None else _address(to)}{NULL if created is None else _address(created)}"
            f"{ZERO if value == '0x0' else quantity(value)}{quantity(nonce)}{number(gas)}{number(used)}"
            f"{quantity(cumulative)}"
            f"{NULL if gas_price is None else number(gas_price)}{NULL if effective is None else number(effective)}"
            f"{NULL if fee_cap is None else number(fee_cap)}{NULL if tip_cap is None else number(tip_cap)}"
            f"{NULL if v is None else number(v)}{NULL if r is None or s is None else _signature(r, s)}"
            f"{NULL if root is None else _root(root)}{NULL if bloom == NO_BLOOM else N256 + bloom[2:]}"
            f"{(len(data) - 2) >> 1:08x}{data[2:]}"
            f"{self._tx_extra.field(fields[17:])}{self._receipt_extra.field(done[12:])}"
        )

    def _add_logs(self, index: int, tx: _Tx, receipt: _Receipt, next_log: int, roles: dict[str, int]) -> None:
        where = self._indexes[index]
        for number, log in enumerate(receipt.logs, next_log):
            if (
                log.removed or log.block_hash != tx.block_hash or log.transaction_hash != tx.hash
                or log.transaction_index != where or log.log_index != self._indexes[number]
            ):  # fmt: skip
                raise Unusual(f"block {self._header.ref}: log {number} is out of place")
            self._add_log(number, index, tx.hash, log, roles)

    def _add_log(self, number: int, index: int, tx_hash: str, log: Log, roles: dict[str, int]) -> None:
        """Add what one log implies; `roles` grows by who sent and received tokens."""
        address, topics, data = log.address, log.topics, log.data
        topic = topics[0] if topics else ""
        kind = self._topics.get(topic)
        if kind is None:
            kind = self._topics[topic] = self._kind_of_topic(topic)
        known = self._addresses.get(address)
        if known is None:
            known = self._addresses[address] = self._kind_of_address(address)
        kind |= known
        table = self._logs if kind & KEEP else self._unkept
        words = "".join([f"{N32}{each[2:]}" for each in topics if each[:2] == "0x"])
        if not address[:2] == data[:2] == "0x" or len(words) != 72 * len(topics) or len(data) & 1:
            raise Unusual(f"block {self._header.ref}: log {number} has a field that is not hex data")
        size = N32 if len(data) == 66 else f"{(len(data) - 2) >> 1:08x}"
        table.rows.append(
            f"{table.prefix}{self._at}{self._fields[number]}{self._fields[index]}{N20}{address[2:]}{words}"
            f"{TOPICS_LEFT[len(topics)]}{size}{data[2:]}"
        )
        if kind & TRANSFER and len(topics) == 3 and len(data) == 66:
            self._add_erc20(number, index, log, roles)
        elif kind & TRANSFER and len(topics) == 4 and data == "0x":
            self._add_erc721(number, index, log, roles)
        elif kind > KEEP:
            self._add_rare(index, tx_hash, self._typed(number, log), kind, roles)

    def _add_erc20(self, number: int, index: int, log: Log, roles: dict[str, int]) -> None:
        """Add the transfer that nearly all are: of ERC-20. Its topics and data are proven with the log."""
        sender, recipient = log.topics[1][26:], log.topics[2][26:]
        roles[sender] = roles.get(sender, 0) | SENT
        roles[recipient] = roles.get(recipient, 0) | RECEIVED
        self._tokens.setdefault(log.address, 20)
        table = self._transfers
        table.rows.append(
            f"{table.prefix}{self._at}{self._fields[number]}{FIRST}{self._fields[index]}{ERC20}{N20}{log.address[2:]}"
            f"{N20}{sender}{N20}{recipient}{quantity(log.data)}{NULL}"
        )

    def _add_erc721(self, number: int, index: int, log: Log, roles: dict[str, int]) -> None:
        sender, recipient = log.topics[1][26:], log.topics[2][26:]
        roles[sender] = roles.get(sender, 0) | SENT
        roles[recipient] = roles.get(recipient, 0) | RECEIVED
        self._tokens[log.address] = max(self._tokens.get(log.address, 0), 721)
        table = self._transfers
        table.rows.append(
            f"{table.prefix}{self._at}{self._fields[number]}{FIRST}{self._fields[index]}{ERC721}{N20}{log.address[2:]}"
            f"{N20}{sender}{N20}{recipient}{ONE}{quantity(log.topics[3])}"
        )

    def _typed(self, number: int, log: Log) -> TypedLog:
        try:
            return TypedLog(
                address=from_hex(log.address, 20), topics=tuple(from_hex(topic, 32) for topic in log.topics),
                data=from_hex(log.data), index=number,
            )  # fmt: skip
        except BadAnswer as error:
            raise Unusual(str(error)) from None

    def _add_rare(self, index: int, tx_hash: str, log: TypedLog, kind: int, roles: dict[str, int]) -> None:
        """Add what other logs mean, by the decoders of the careful path."""
        if kind & (TRANSFER | OTHER_TRANSFER):
            for moved in self._transfer_table.decoded(self._header, index, log):
                self._add_transfer(self._fields[index], moved, roles)
        if kind & UPGRADE:
            self._upgraded.add(log.address)
        if kind & PER_LOG:
            placed = PlacedLog(self._header.ref, from_hex(tx_hash, 32), index, log)
            for each in self._per_log:
                row = each.row(self._chain, self._header, placed) if _reads(each, log) else None
                if row is not None:
                    self._records[each.table].append(row)

    def _add_transfer(self, place: str, moved: TokenTransfer, roles: dict[str, int]) -> None:
        sender, recipient, standard = moved.sender.hex(), moved.recipient.hex(), int(moved.standard)
        roles[sender] = roles.get(sender, 0) | SENT
        roles[recipient] = roles.get(recipient, 0) | RECEIVED
        token = moved.token.hex()
        self._tokens["0x" + token] = max(self._tokens.get("0x" + token, 0), standard)
        table = self._transfers
        table.rows.append(
            f"{table.prefix}{self._at}{self._fields[moved.log_index]}{N4}{moved.position:08x}{place}{N2}{standard:04x}"
            f"{N20}{token}{N20}{sender}{N20}{recipient}{numeric(moved.amount)}"
            f"{NULL if moved.token_id is None else numeric(moved.token_id)}"
        )

    def _concerns(self, index: int, tx: _Tx, receipt: _Receipt, next_log: int, roles: dict[str, int]) -> bool:
        """Whether a watched address takes part; what the logs of a transaction imply is added only if so."""
        assert self._watched is not None, "asked in watch mode only"
        tables = (self._logs, self._transfers)
        before = [len(table.rows) for table in tables]
        records = {name: len(rows) for name, rows in self._records.items()}
        tokens, upgraded = self._tokens, self._upgraded
        self._tokens, self._upgraded = tokens.copy(), upgraded.copy()
        self._add_logs(index, tx, receipt, next_log, roles)
        found = (*roles, *(log.address[2:] for log in receipt.logs))
        if not self._watched.isdisjoint(address.lower() for address in found):
            return True
        self._unkept.rows += self._logs.rows[before[0] :]
        for table, rows in zip(tables, before, strict=True):
            del table.rows[rows:]
        for name, count in records.items():
            del self._records[name][count:]
        self._tokens, self._upgraded = tokens, upgraded
        return False

    def _kind_of_topic(self, topic: str) -> int:
        plain = from_hex(topic, 32) if topic else None
        kind = KEEP if self._log_table.keeps_topic(plain) else 0
        if plain == transfers.TRANSFER:
            kind |= TRANSFER
        elif plain in transfers.DECODERS:
            kind |= OTHER_TRANSFER
        elif plain == UPGRADED:
            kind |= UPGRADE
        return kind | (PER_LOG if any(plain in each.topics for each in self._per_log) else 0)

    def _kind_of_address(self, text: str) -> int:
        address = from_hex(text, 20)
        kind = KEEP if self._log_table.keeps_address(address) else 0
        return kind | (PER_LOG if any(address in each.addresses for each in self._per_log) else 0)

    def _reach(self, count: int) -> None:
        for n in range(len(self._fields), count):
            self._fields.append(f"{N4}{n:08x}")
            self._indexes.append(f"0x{n:x}")


def _reads(table: PerLog, log: TypedLog) -> bool:
    return log.address in table.addresses or (bool(log.topics) and log.topics[0] in table.topics)


def _address(text: str) -> str:
    if text[:2] != "0x":
        raise Unusual(f"address {text}")
    return N20 + text[2:]


def _root(text: str) -> str:
    if text[:2] != "0x":
        raise Unusual(f"root {text}")
    return N32 + text[2:]


def _signature(r: str, s: str) -> str:
    if not r[:2] == s[:2] == "0x":
        raise Unusual(f"signature {r} {s}")
    return f"{N64}{r[2:]:0>64}{s[2:]:0>64}"
