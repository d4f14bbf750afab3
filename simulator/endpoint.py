"""A JSON-RPC endpoint without a network: it takes a request's bytes and answers with bytes, true ones or not."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import msgspec
from typing_extensions import override

from core.errors import RpcLimited, RpcTimedOut, RpcUnavailable
from core.hex import to_hex
from core.rpc.client import RpcClient
from core.rpc.encode import encode_block, encode_receipts
from core.types import Block, BlockRef
from simulator.blocks import CHAIN_ID, STRANGER_ID, history
from simulator.lies import LIES, Json
from simulator.world import World

TIMEOUT_S: Final = 5.0
REFUSALS: Final = (
    (-32000, "header not found"),
    (-32603, "internal error"),
    (4444, "pruned history unavailable"),
    (-32005, "limit exceeded"),
)


class SimulatedEndpoint(RpcClient):
    """One endpoint of a World, as one process reaches it.

    Its mood lasts for a turn: it serves another chain, it stays on a fork, it lags, or it is well. A lie about a block
    lasts as long, so that asking again brings the same.
    """

    def __init__(self, world: World, name: str, truth: "Truth") -> None:
        super().__init__(f"http://{name}.invalid")
        self._world = world
        self._truth = truth
        self._name = name
        # A node from before eth_getBlockReceipts is never the only one.
        self._old = name != "a" and world.lot("old", name).random() < 0.3

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(self, *_: object) -> None:
        pass

    @override
    async def post(self, body: bytes) -> bytes:
        world = self._world
        asked = msgspec.json.decode(body)
        calls: list[Json] = asked if isinstance(asked, list) else [asked]
        dice = world.fate(self._name, *((call["method"], *call["params"]) for call in calls if call["params"] != []))
        await world.blink(dice)
        await self._fail(dice)
        replies = self._replies(calls, dice)
        said = b"[" + b",".join(replies) + b"]" if isinstance(asked, list) else replies[0]
        if world.strikes(dice, "truncated JSON", world.weather.error / 3):
            return said[: dice.randrange(len(said))]
        return said

    async def _fail(self, dice: random.Random) -> None:
        """Give no answer, now and then."""
        world = self._world
        if world.strikes(dice, "HTTP 503", world.weather.error / 3):
            raise RpcUnavailable(f"{self.host}: HTTP 503")
        if world.strikes(dice, "HTTP 429", world.weather.error / 3):
            raise RpcLimited(f"{self.host}: HTTP 429", dice.choice((None, 0.5)))
        if world.strikes(dice, "time-out", world.weather.error / 3):
            await asyncio.sleep(TIMEOUT_S)
            raise RpcTimedOut(f"{self.host}: no answer")

    def _replies(self, calls: Sequence[Json], dice: random.Random) -> list[bytes]:
        world = self._world
        stranger = self._stranger()
        seen = history(40, STRANGER_ID) if stranger else self._seen(dice)
        replies = []
        for call in calls:
            if not stranger and world.strikes(dice, "two minds", world.weather.two_minds / 4):
                seen = self._seen(dice)
            replies.append(self._reply(call, seen, dice, CHAIN_ID if not stranger else STRANGER_ID))
        return replies

    def _reply(self, call: Json, seen: Sequence[Block], dice: random.Random, chain_id: int) -> bytes:
        world = self._world
        refused = self._refusal(call, dice)
        if refused is not None:
            code, message = refused
            said = {"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message}}
            return msgspec.json.encode(said)
        result = b'"%s"' % hex(chain_id).encode() if call["method"] == "eth_chainId" else self._told(call, seen)
        if result != b"null" and call["method"] != "eth_chainId" and call["params"][0] != "latest":
            result = b"null" if world.strikes(dice, "null result", world.weather.missing) else result
        return b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (call["id"], result)

    def _refusal(self, call: Json, dice: random.Random) -> tuple[int, str] | None:
        method, params = call["method"], call["params"]
        if method == "eth_getBlockReceipts" and self._old:
            return -32601, f"the method {method} does not exist/is not available"
        if params and params[0] in ("safe", "finalized") and not self._world.plan.tags:
            return -39001, f"{params[0]} block not found"
        if self._world.strikes(dice, "refusal", self._world.weather.error / 6):
            return dice.choice(REFUSALS)
        return None

    # -- what it sees --------------------------------------------------------------------------------------------------

    def _mood(self) -> random.Random:
        return self._world.lot("mood", self._name, self._world.turns)

    def _stranger(self) -> bool:
        """Whether it serves another chain now."""
        world = self._world
        return world.strikes(self._mood(), "wrong chain", world.weather.wrong_chain)

    def _seen(self, dice: random.Random) -> Sequence[Block]:
        """Return the chain as it stands there now: its mood's view, or that of one of the backends behind it."""
        world, mood = self._world, self._mood()
        mood.random()  # the first is _stranger's
        if world.plan.changes is not None:
            return world.view(dice, len(world.canonical))
        if world.strikes(mood, "endpoint forked", world.weather.two_minds):
            return world.past[-min(len(world.past), mood.randint(2, 6))]
        if world.strikes(mood, "endpoint lags", world.weather.lag):
            return world.canonical[: max(1, len(world.canonical) - mood.randint(1, 20))]
        return world.view(dice, len(world.canonical))

    # -- what it says --------------------------------------------------------------------------------------------------

    def _told(self, call: Json, seen: Sequence[Block]) -> bytes:
        method, params = call["method"], call["params"]
        if method == "eth_getTransactionReceipt":
            return self._receipt(params[0], seen)
        block = self._block(params[0], seen)
        if block is None:
            return b"null"
        said = self._lie(block) or self._truth.of(block)
        if method == "eth_getBlockReceipts":
            return said.receipts
        return said.whole if params[1] else said.header

    def _block(self, named: str, seen: Sequence[Block]) -> Block | None:
        if named in ("safe", "finalized"):
            found = self._world.finality(seen)
            ref: BlockRef | None = found.safe if named == "safe" else found.finalized
            return None if ref is None else seen[ref.number]
        number = len(seen) - 1 if named == "latest" else int(named, 16)
        return seen[number] if number < len(seen) else None

    def _receipt(self, tx_hash: str, seen: Sequence[Block]) -> bytes:
        for block in reversed(seen):
            if any(to_hex(tx.hash) == tx_hash for tx in block.txs):
                said = self._lie(block) or self._truth.of(block)
                receipts = msgspec.json.decode(said.receipts)
                return msgspec.json.encode(next((r for r in receipts if r["transactionHash"] == tx_hash), None))
        return b"null"

    def _lie(self, block: Block) -> "Said | None":
        """Return what it says wrongly of a block in this turn, None if it tells the truth."""
        world = self._world
        if not world.stormy or not world.weather.lie:
            return None
        dice = world.lot("lie", self._name, block.hash, world.turns)
        if dice.random() >= world.weather.lie:
            return None
        kind, lie = dice.choice(list(LIES.items()))
        whole, receipts = encode_block(block), encode_receipts(block)
        if not lie(whole, receipts):
            return None
        world.strike(kind, f"endpoint {self._name}, block {block.ref}")
        return said_of(whole, receipts)


@dataclass(frozen=True, slots=True)
class Said:
    """What answers hold of one block: with its transactions, with their hashes alone, and its receipts."""

    whole: bytes
    header: bytes
    receipts: bytes


class Truth:
    """What honest endpoints say of blocks, encoded once."""

    def __init__(self) -> None:
        self._said: dict[bytes, Said] = {}

    def of(self, block: Block) -> Said:
        """Return the true answers."""
        found = self._said.get(block.hash)
        if found is None:
            found = self._said[block.hash] = said_of(encode_block(block), encode_receipts(block))
        return found


def said_of(whole: Json, receipts: list[Json]) -> Said:
    """Return answers as bytes."""
    header = whole | {"transactions": [tx["hash"] for tx in whole["transactions"]]}
    return Said(msgspec.json.encode(whole), msgspec.json.encode(header), msgspec.json.encode(receipts))
