"""Logs by address (eth_getLogs), for what was not asked for when its blocks were fetched."""

from collections.abc import Sequence

import msgspec

from core.errors import BadAnswer
from core.hex import from_hex, from_quantity, to_hex, to_quantity
from core.rpc import wire
from core.rpc.client import RpcClient
from core.types import BlockRange, BlockRef, Log, PlacedLog

MAX_INDEX = 2**31 - 1


class _WireLog(msgspec.Struct, rename="camel"):
    address: str
    topics: list[str]
    data: str
    log_index: str | None
    block_hash: str | None
    block_number: str | None
    transaction_hash: str | None
    transaction_index: str | None
    removed: bool = False


_decoder = msgspec.json.Decoder(list[_WireLog])


class RpcLogs:
    """Logs from one endpoint (LogSource)."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    async def logs(self, addresses: Sequence[bytes], wanted: BlockRange) -> tuple[Sequence[PlacedLog], BlockRef]:
        """Return the logs of `addresses` in `wanted`, and the last block of it as the same node has it.

        Raises BadAnswer when the node lacks that block: what it did not find then proves nothing.
        """
        where = {
            "address": [to_hex(address) for address in addresses],
            "fromBlock": to_quantity(wanted.first),
            "toBlock": to_quantity(wanted.last),
        }
        raw, raw_last = await self._client.batch(
            [("eth_getLogs", (where,)), ("eth_getBlockByNumber", (to_quantity(wanted.last), False))]
        )
        last = wire.ref(raw_last)
        if last is None:
            raise BadAnswer(f"{self._client.host}: asked for logs up to block {wanted.last}, which it does not have")
        try:
            found = _decoder.decode(raw)
        except msgspec.DecodeError as error:
            raise BadAnswer(f"{self._client.host}: logs: {error}") from None
        placed = [_placed(each) for each in found]
        for each in placed:
            if each.block.number not in wanted or each.log.address not in addresses:
                raise BadAnswer(f"{self._client.host}: log {each.log.index} of block {each.block} was not asked for")
        return placed, last


def _placed(found: _WireLog) -> PlacedLog:
    place = (found.block_hash, found.block_number, found.transaction_hash, found.transaction_index, found.log_index)
    if found.removed or None in place or len(found.topics) > 4:
        raise BadAnswer(f"log of transaction {found.transaction_hash}: removed, pending, or with more than four topics")
    block_hash, number, tx_hash, tx_index, log_index = (each or "" for each in place)
    log = Log(
        address=from_hex(found.address, 20),
        topics=tuple(from_hex(topic, 32) for topic in found.topics),
        data=from_hex(found.data),
        index=from_quantity(log_index, MAX_INDEX),
    )
    block = BlockRef(from_quantity(number, wire.MAX_NUMBER), from_hex(block_hash, 32))
    return PlacedLog(block, from_hex(tx_hash, 32), from_quantity(tx_index, MAX_INDEX), log)
