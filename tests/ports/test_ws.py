"""New heads over a WebSocket, from a scripted node."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from core.errors import BadAnswer, RpcRefused, RpcUnavailable, WrongChain
from core.rpc.encode import encode_block
from core.rpc.ws import new_heads
from tests import make
from tests.ports.node import CHAIN_ID, Chain, refusing, serving

A = make.chain(5)
KEY = "0123456789abcdef"


@pytest.fixture
async def chain() -> Chain:
    return Chain(list(A))


@pytest.fixture
async def url(chain: Chain) -> AsyncIterator[str]:
    async with serving(chain) as served:
        yield served.replace("http://", "ws://")


async def subscribed(chain: Chain) -> None:
    async with asyncio.timeout(5):
        await chain.subscribed.wait()


async def test_heads_are_passed_on(chain: Chain, url: str) -> None:
    async with aclosing(new_heads(url, CHAIN_ID)) as heads:
        first = asyncio.ensure_future(anext(heads))
        await subscribed(chain)
        await chain.announce(encode_block(A[3]))
        assert await first == A[3].head
        await chain.announce(encode_block(A[4]))
        assert await anext(heads) == A[4].head


async def test_a_node_of_another_chain_is_refused(chain: Chain, url: str) -> None:
    chain.chain_id = 8
    with pytest.raises(WrongChain, match="chain id is 0x8"):
        await anext(new_heads(url, CHAIN_ID))


async def test_a_node_that_hangs_up_is_unavailable(chain: Chain, url: str) -> None:
    async with aclosing(new_heads(url, CHAIN_ID)) as heads:
        first = asyncio.ensure_future(anext(heads))
        await subscribed(chain)
        await chain.sockets[0].close()
        with pytest.raises(RpcUnavailable, match="ended"):
            await first


@pytest.mark.parametrize("said", [{"number": "0x1"}, 7, encode_block(A[1]) | {"hash": "0x12"}])
async def test_a_head_that_is_none_is_a_bad_answer(chain: Chain, url: str, said: object) -> None:
    async with aclosing(new_heads(url, CHAIN_ID)) as heads:
        first = asyncio.ensure_future(anext(heads))
        await subscribed(chain)
        await chain.announce(said)
        with pytest.raises(BadAnswer):
            await first


async def test_a_refused_subscription_is_told_without_keys(chain: Chain, url: str) -> None:
    chain.greeting = [{"id": 1, "result": hex(CHAIN_ID)}, {"id": 2, "error": {"code": 1, "message": f"no {KEY}"}}]
    with pytest.raises(RpcRefused, match="eth_subscribe") as caught:
        await anext(new_heads(f"{url}/{KEY}", CHAIN_ID))
    assert KEY not in "".join(traceback.format_exception(caught.value)) + caught.value.message


async def test_a_refused_handshake_is_unavailable_and_shows_no_key(chain: Chain, url: str) -> None:
    async with refusing() as page:
        with pytest.raises(RpcUnavailable) as caught:
            await anext(new_heads(f"{page}/{KEY}", CHAIN_ID))
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_an_unreachable_node_is_unavailable() -> None:
    with pytest.raises(RpcUnavailable):
        await anext(new_heads(f"ws://127.0.0.1:1/{KEY}", CHAIN_ID))


@pytest.mark.parametrize("turns", range(12))
async def test_who_is_told_to_stop_in_the_moment_in_which_a_head_comes_stops(
    chain: Chain, url: str, turns: int
) -> None:
    async def listen() -> None:
        async with aclosing(new_heads(url, CHAIN_ID)) as heads:
            async for _ in heads:
                pass

    listener = asyncio.create_task(listen())
    await subscribed(chain)
    await chain.announce(encode_block(A[3]))
    for _ in range(turns):  # of the loop: in one of them the head is there, and not yet passed on
        await asyncio.sleep(0)
    listener.cancel()
    await asyncio.wait([listener], timeout=1.0)
    assert listener.cancelled()
