"""What a refused call says of a contract, and what it does not."""

from collections.abc import Sequence

import msgspec
import pytest

from core.errors import RpcRefused
from core.rpc.caller import RpcCaller
from core.rpc.client import Call, RpcClient
from core.types import BlockRef

AT = BlockRef(9, bytes(32))
TARGETS = [(b"\x01" * 20, b"\x02"), (b"\x03" * 20, b"\x04")]


class Node(RpcClient):
    """Has no Multicall3; answers the first call, and the second with `refusal`."""

    def __init__(self, refusal: RpcRefused) -> None:
        super().__init__("http://node.test")
        self.refusal = refusal

    async def call(self, method: str, *params: object) -> object:
        return "0x"

    async def batch_each(self, calls: Sequence[Call]) -> list[msgspec.Raw | RpcRefused]:
        return [msgspec.Raw(b'"0x05"'), self.refusal]


@pytest.mark.parametrize(
    ("code", "message"),
    [(3, "execution reverted"), (-32603, "EVM error InvalidFEOpcode"), (-32000, "invalid opcode: INVALID")],
)
async def test_a_call_that_fails_returns_nothing(code: int, message: str) -> None:
    node = Node(RpcRefused("node", "eth_call", code, message))
    assert await RpcCaller(node).call(TARGETS, AT) == [b"\x05", None]


@pytest.mark.parametrize(
    "message", ["missing trie node ab (path )", "header not found", "no backend is currently healthy to serve traffic"]
)
async def test_a_node_that_lacks_the_state_says_nothing_of_the_contract(message: str) -> None:
    node = Node(RpcRefused("node", "eth_call", -32000, message))
    with pytest.raises(RpcRefused, match=message[:10]):
        await RpcCaller(node).call(TARGETS, AT)
