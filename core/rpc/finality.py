"""What a node calls safe and finalized (execution-apis, block tags), or a depth below its head if it does not."""

import re
from typing import Final

import msgspec

from core.errors import BadAnswer, RpcRefused
from core.hex import to_quantity
from core.rpc import wire
from core.rpc.client import Rpc
from core.types import BlockRef, Finality, Head

# geth's -39001 "finalized block not found", "unknown block", "invalid block tag"; not: rate limits, time-outs.
_MISSING: Final = re.compile(r"not found|unknown block|unsupported|not supported|invalid|tag", re.I)
_INVALID_PARAMS: Final = -32602


class RpcFinality:
    """Asks one endpoint (FinalitySource). Depths count blocks below the head; 0 is never, not at once."""

    def __init__(self, client: Rpc, *, safe_depth: int = 0, finalized_depth: int = 0) -> None:
        self._client = client
        self._depths = {"safe": safe_depth, "finalized": finalized_depth}
        self._tagged: set[str] = set()

    async def finality(self) -> Finality:
        """Return both blocks. A node that has answered to a tag once is never second-guessed by depth."""
        tags = tuple(self._depths)
        asked = [("eth_getBlockByNumber", (tag, False)) for tag in ("latest", *tags)]
        latest, *answers = await self._client.batch_each(asked)
        if isinstance(latest, RpcRefused):
            raise latest
        head = wire.head(latest)
        if head is None:
            raise BadAnswer(f"{self._client.host}: latest block is null")
        found: dict[str, BlockRef | None] = {}
        for tag, answer in zip(tags, answers, strict=True):
            found[tag] = _tagged(answer)
            if found[tag] is not None:
                self._tagged.add(tag)
        missing = [tag for tag in tags if tag not in self._tagged]
        for tag in missing:
            found[tag] = await self._below(head, self._depths[tag])
        return Finality(found["safe"], found["finalized"], by_depth=bool(missing))

    async def _below(self, head: Head, depth: int) -> BlockRef | None:
        number = head.ref.number - depth
        if not depth or number < 0:
            return None
        return wire.ref(await self._client.raw("eth_getBlockByNumber", to_quantity(number), False))


def _tagged(answer: msgspec.Raw | RpcRefused) -> BlockRef | None:
    if not isinstance(answer, RpcRefused):
        return wire.ref(answer)
    if answer.code == _INVALID_PARAMS or answer.unsupported or _MISSING.search(answer.message):
        return None
    raise answer
