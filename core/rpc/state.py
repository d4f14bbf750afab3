"""What one account would see and do at a block: calls as a sender, a contract's code, a proxy's implementation."""

from dataclasses import dataclass
from typing import Final

import msgspec

from core.errors import RpcRefused
from core.hex import from_hex, to_hex, to_quantity
from core.rpc.client import Rpc
from core.rpc.source import RpcSource, chain_id
from core.types import BlockRef

WORD: Final = 32


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call would end: what it returns, or what it reverts with."""

    ok: bool
    data: bytes


class RpcState:
    """Asks through one client. Raises Transient errors."""

    def __init__(self, client: Rpc) -> None:
        self._client = client

    async def chain_id(self) -> int:
        """Return the chain that the node serves."""
        return await chain_id(self._client)

    async def head(self) -> BlockRef:
        """Return the newest block."""
        return (await RpcSource(self._client, 0).head()).ref

    async def call_as(self, sender: bytes, to: bytes, data: bytes, at: BlockRef) -> Outcome:
        """Return how a call from `sender` would end on the state after `at` (eth_call)."""
        asked = {"from": to_hex(sender), "to": to_hex(to), "data": to_hex(data)}
        try:
            raw = await self._client.raw("eth_call", asked, to_quantity(at.number))
        except RpcRefused as error:
            if not error.reverted:
                raise
            return Outcome(False, error.data)
        return Outcome(True, from_hex(msgspec.json.decode(raw, type=str)))

    async def code(self, address: bytes) -> bytes:
        """Return the code at an address, as of now."""
        return from_hex(await self._client.call("eth_getCode", to_hex(address), "latest"))

    async def implementation(self, proxy: bytes, slot: int) -> bytes:
        """Return the address that a proxy keeps in `slot`; zero if it is none."""
        found = await self._client.call("eth_getStorageAt", to_hex(proxy), to_quantity(slot), "latest")
        return from_hex(found).rjust(WORD, b"\0")[-20:]
