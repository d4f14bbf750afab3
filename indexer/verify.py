"""Blocks of the hot path held to their own roots, blooms and hashes.

What depends on transactions and receipts is computed by compiled code (indexer/compiled/verify.py) from the spans that
the hot path has of them; the header's own hash, and its withdrawals, by the careful path's code (core/verify).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from core.errors import Unverified
from core.store.bulk import Unusual
from core.types import Block
from core.verify import checks as careful
from core.verify.checks import Check
from indexer.compiled import bloom, keccak, trie, verify
from indexer.compiled.blocks import Txs
from indexer.compiled.encode import GRANT_FIELDS, Nested
from indexer.compiled.scan import Ints
from indexer.logpath import Scratch

# With COUNTS and LOG_INDEX, which the hot paths always make (blocks.py), these are all that are not of the header.
COMPILED: Final = (
    Check.GAS | Check.RECEIPT_BLOOM | Check.HEADER_BLOOM | Check.RECEIPTS_ROOT | Check.TRANSACTIONS_ROOT
    | Check.TX_HASH | Check.DERIVED
)  # fmt: skip

# Bytes that a transaction and its receipt need at most beyond their text, which is longer than its fields' encoding:
# headers of lists, leaves, what a created address is the hash of (100); and in each trie, which has fewer branches and
# extensions than items, at most two children of 33 bytes, a branch's 20 other bytes and an extension's 40 (2 x 126).
BEYOND_TEXT: Final = 400
SHORTEST_TEXT: Final = 20  # characters that a text within a transaction takes, with its quotes or its name


def check_headers(checks: Check, headers: Sequence[Block], chain_id: int) -> None:
    """Raise Unusual, naming check and block, unless all headers pass those of `checks` that are of a header alone."""
    for header in headers:
        try:
            careful.verify(header, checks & careful.OF_HEADER, chain_id)
        except Unverified as error:
            raise Unusual(str(error)) from None


class Verifier:
    """Holds the blocks of one chain to checks."""

    def __init__(self, chain_id: int) -> None:
        self._chain = chain_id
        self._scratch = Scratch()
        self._state = np.zeros(keccak.STATE, np.uint64)
        self._lanes = np.zeros((keccak.LANES, 2), np.int32)
        self._follows = np.zeros(GRANT_FIELDS + 1, np.int32)
        self._word = np.zeros(bloom.SIZE, np.uint8)

    def check(self, checks: Check, headers: Sequence[Block], of: Txs, logs: Ints, firsts: Ints) -> None:
        """Raise Unusual, naming check and block, unless all blocks pass; ValueError for what cannot be encoded.

        `firsts` says where each block's transactions begin, `of.first_logs` where each receipt's logs do.
        """
        check_headers(checks, headers, self._chain)
        if not checks & COMPILED:
            return
        fees = [verify.NO_BASE_FEE if (fee := each.base_fee) is None else min(fee, verify.MOST + 1) for each in headers]
        room = self._room(of, firsts)
        failed = verify.check_blocks(
            room, int(checks), self._chain, np.array(fees, np.int64), of, logs, firsts
        )  # fmt: skip
        if failed:
            block, tx = room.at.tolist()
            raise Unusual(f"block {headers[block].number}: transaction {tx} does not pass {Check(failed).name}")
        for header, found, gas in zip(headers, room.found, room.gas.tolist(), strict=True):
            _check_header(checks, header, found.tobytes(), gas)

    def _room(self, of: Txs, firsts: Ints) -> verify.Room:
        """Return room for all blocks of a request; one block after the other uses it."""
        take, blocks, txs = self._scratch.take, firsts.size - 1, int(firsts[-1])
        text = of.buf.size + of.done_buf.size
        # Leaves, transactions and created addresses; words of logs; branches and extensions of both tries.
        messages = 4 * txs + 5 * int(of.first_logs[txs]) + 4 * txs + 8
        bench = trie.Bench(
            out=take("out", text + BEYOND_TEXT * txs, np.uint8), messages=take("messages", (messages, 2)),
            digests=take("digests", (messages, 32), np.uint8), state=self._state, lanes=self._lanes,
            nodes=take("nodes", (txs, 3)),
        )  # fmt: skip
        texts = take("texts", (of.buf.size // SHORTEST_TEXT + GRANT_FIELDS, 2))
        return verify.Room(
            bench, Nested(texts, self._follows), receipts=take("receipts", (txs, 3)), word=self._word,
            found=np.empty((blocks, verify.FOUND), np.uint8), gas=np.zeros(blocks, np.int64), at=np.zeros(2, np.int32),
        )  # fmt: skip


def _check_header(checks: Check, header: Block, found: bytes, gas: int) -> None:
    """Hold a header to what was found of its transactions."""
    same = {
        Check.GAS: gas == header.gas_used,
        Check.HEADER_BLOOM: found[verify.UNION :] == header.logs_bloom,
        Check.RECEIPTS_ROOT: found[verify.ROOT_OF_RECEIPTS : verify.UNION] == header.receipts_root,
        Check.TRANSACTIONS_ROOT: found[: verify.ROOT_OF_RECEIPTS] == header.transactions_root,
    }
    for check, right in same.items():
        if check in checks and not right:
            raise Unusual(f"block {header.number}: its header does not pass {check.name}")
