"""Logs by address and topic: what is asked, and what may come back."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from core.errors import BadAnswer, RpcRefused
from core.rpc.client import Call, RpcClient
from core.rpc.logs import RpcLogs
from core.types import BlockRange

VAULT, OTHER = b"\x01" * 20, b"\x02" * 20
TRANSFER, APPROVAL, SENDER = (bytes([n]) * 32 for n in (7, 8, 9))


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def log(address: bytes, *topics: bytes) -> dict[str, Any]:
    return {
        "address": hexed(address), "topics": [hexed(topic) for topic in topics], "data": "0x", "logIndex": "0x0",
        "blockNumber": "0x5", "blockHash": hexed(bytes(32)), "transactionHash": hexed(bytes(32)),
        "transactionIndex": "0x0", "removed": False,
    }  # fmt: skip


class Node(RpcClient):
    """Answers every eth_getLogs with `logs`, and keeps what was asked."""

    def __init__(self, *logs: dict[str, Any]) -> None:
        super().__init__("http://node.test")
        self.logs = logs
        self.asked: list[Any] = []

    async def batch_each(self, calls: Sequence[Call]) -> list[msgspec.Raw | RpcRefused]:
        (_, (where,)), (_, (last, _)) = calls
        self.asked.append(where)
        header = {"number": last, "hash": hexed(bytes(32)), "parentHash": hexed(bytes(32)), "timestamp": "0x1"}
        return [msgspec.Raw(msgspec.json.encode(each)) for each in (self.logs, header)]


async def test_topics_narrow_by_position_and_none_means_any() -> None:
    node = Node(log(VAULT, TRANSFER, SENDER, SENDER))
    found, _ = await RpcLogs(node).logs([], BlockRange(1, 9), topics=[{APPROVAL, TRANSFER}, (), [SENDER]])
    assert len(found) == 1
    (where,) = node.asked
    assert where["topics"] == [[hexed(TRANSFER), hexed(APPROVAL)], None, [hexed(SENDER)]]
    assert "address" not in where


@pytest.mark.parametrize(
    "foreign", [log(OTHER, TRANSFER, SENDER), log(VAULT, APPROVAL, SENDER), log(VAULT, TRANSFER), log(VAULT)]
)
async def test_what_was_not_asked_for_is_a_bad_answer(foreign: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer, match="not asked for"):
        await RpcLogs(Node(foreign)).logs([VAULT], BlockRange(1, 9), topics=[[TRANSFER], [SENDER]])


async def test_a_wide_range_is_asked_in_parts_that_grow_while_answers_are_quick() -> None:
    node = Node()
    await RpcLogs(node).logs([VAULT], BlockRange(0, 99_999))
    asked = [int(each["toBlock"], 16) - int(each["fromBlock"], 16) + 1 for each in node.asked]
    assert asked[:4] == [2_000, 4_000, 8_000, 16_000]
    assert sum(asked) == 100_000
