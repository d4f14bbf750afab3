"""Contract calls pinned to a block, many at once through Multicall3 where it is deployed.

Multicall3: github.com/mds1/multicall3, aggregate3((address,bool,bytes)[]) -> (bool,bytes)[].
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from core.errors import RpcRefused
from core.hex import from_hex, to_hex, to_quantity
from core.rpc.client import Rpc
from core.rpc.refusals import ELSEWHERE, classify
from core.types import BlockRef

MULTICALL3: Final = bytes.fromhex("ca11bde05977b3631167028862be2a173976ca11")
AGGREGATE3: Final = bytes.fromhex("82ad56cb")
BATCH_CALLS: Final = 100

Target = tuple[bytes, bytes]  # contract address, calldata


class Caller(Protocol):
    """Reads contracts. Which block to read at is not optional: two answers of one batch must not differ in time."""

    async def call(self, targets: Sequence[Target], at: BlockRef) -> list[bytes | None]:
        """Return what each call returns, None for one that reverts. Raises Transient errors."""
        ...


class RpcCaller:
    """Calls through a chain's endpoints (Caller)."""

    def __init__(self, client: Rpc) -> None:
        self._client = client
        self._multicall: bool | None = None

    async def call(self, targets: Sequence[Target], at: BlockRef) -> list[bytes | None]:
        """Return what each call returns, None for one that reverts."""
        found: list[bytes | None] = []
        for start in range(0, len(targets), BATCH_CALLS):
            found += await self._part(targets[start : start + BATCH_CALLS], at)
        return found

    async def _part(self, targets: Sequence[Target], at: BlockRef) -> list[bytes | None]:
        if await self._has_multicall(at):
            try:
                return await self._aggregated(targets, at)
            except (RpcRefused, DecodingError):
                # One token that burns all gas, or answers without end, must not take the others with it.
                pass
        return await self._singly(targets, at)

    async def _has_multicall(self, at: BlockRef) -> bool:
        """Whether the chain has Multicall3; it stays once it is there, and may come later."""
        if not self._multicall:
            code = await self._client.call("eth_getCode", to_hex(MULTICALL3), to_quantity(at.number))
            self._multicall = code != "0x"
        return self._multicall

    async def _aggregated(self, targets: Sequence[Target], at: BlockRef) -> list[bytes | None]:
        items = [(to_hex(to), True, data) for to, data in targets]
        data = AGGREGATE3 + encode(["(address,bool,bytes)[]"], [items])
        raw = await self._client.raw(
            "eth_call", {"to": to_hex(MULTICALL3), "data": to_hex(data)}, to_quantity(at.number)
        )
        (answers,) = decode(["(bool,bytes)[]"], from_hex(msgspec.json.decode(raw, type=str)))
        return [bytes(answer) if good else None for good, answer in answers]

    async def _singly(self, targets: Sequence[Target], at: BlockRef) -> list[bytes | None]:
        block = to_quantity(at.number)
        calls = [("eth_call", ({"to": to_hex(to), "data": to_hex(data)}, block)) for to, data in targets]
        return [_returned(answer) for answer in await self._client.batch_each(calls)]


def _returned(answer: msgspec.Raw | RpcRefused) -> bytes | None:
    """Return what a call returned, None if it reverted. Raises RpcRefused where the node, not the contract, says no."""
    if not isinstance(answer, RpcRefused):
        return from_hex(msgspec.json.decode(answer, type=str))
    if classify(answer).kind in ELSEWHERE:
        raise answer  # a node without the state of that block knows nothing of the contract
    return None
