import msgspec
import pytest

from core.errors import BadAnswer, RpcRefused, RpcUnavailable
from core.rpc.client import RpcClient, redacted, scrubbed

URL = "https://user:pa55@node.example:8443/v3/0123456789abcdef?apikey=topsecret99"
CALLS = [("eth_a", ()), ("eth_b", (1,)), ("eth_c", ())]


class Scripted(RpcClient):
    """Answers with what the test says, after what it raises."""

    def __init__(self, *answers: bytes | Exception) -> None:
        super().__init__(URL)
        self.answers = list(answers)
        self.sent: list[object] = []

    async def post(self, body: bytes) -> bytes:
        self.sent.append(msgspec.json.decode(body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_replies_out_of_order_are_put_in_order() -> None:
    client = Scripted(b'[{"id":2,"result":"c"},{"id":0,"result":"a"},{"id":1,"result":null}]')
    assert [bytes(raw) for raw in await client.batch(CALLS)] == [b'"a"', b"null", b'"c"']


async def test_a_missing_reply_is_a_bad_answer() -> None:
    with pytest.raises(BadAnswer, match=r"no reply to call 1 \(eth_b\)"):
        await Scripted(b'[{"id":2,"result":1},{"id":0,"result":1}]').batch(CALLS)


@pytest.mark.parametrize("reply", [b'{"id":null,"error":{"code":-32005,"message":"too many"}}',
                                   b'[{"id":null,"error":{"code":-32005,"message":"too many"}}]'])  # fmt: skip
async def test_one_error_for_the_whole_batch_is_a_refusal(reply: bytes) -> None:
    with pytest.raises(RpcRefused, match="too many") as caught:
        await Scripted(reply).batch(CALLS)
    assert caught.value.code == -32005


async def test_the_first_refused_call_of_a_batch_is_named() -> None:
    reply = b'[{"id":0,"result":1},{"id":1,"error":{"code":-32601,"message":"x"}},{"id":2,"result":1}]'
    with pytest.raises(RpcRefused) as caught:
        await Scripted(reply).batch(CALLS)
    assert (caught.value.method, caught.value.unsupported) == ("eth_b", True)


@pytest.mark.parametrize(
    "reply", [b"", b"[", b"<html>", b"[]", b"{}", b"[1]", b"null", b'{"id":0}', b'{"id":0,"error":7}', b'"x"']
)
async def test_anything_else_is_a_bad_answer(reply: bytes) -> None:
    with pytest.raises(BadAnswer):
        await Scripted(reply).call("eth_a")
    with pytest.raises(BadAnswer):
        await Scripted(reply).batch(CALLS)


@pytest.mark.parametrize("reply", [b'{"id":0,"result":"\xff"}', b'{"id":0,"result":"\\ud800"}'])
async def test_text_that_is_not_unicode_is_a_bad_answer(reply: bytes) -> None:
    with pytest.raises(BadAnswer):
        await Scripted(reply).call("eth_a")


async def test_null_is_a_result() -> None:
    assert await Scripted(b'{"id":0,"result":null}').call("eth_a") is None


async def test_the_client_asks_once() -> None:
    client = Scripted(RpcUnavailable("a"), b'{"id":0,"result":1}')
    with pytest.raises(RpcUnavailable):
        await client.call("eth_a")
    assert len(client.sent) == 1


@pytest.mark.parametrize(
    ("code", "message", "unsupported"),
    [
        (-32601, "whatever", True),
        (-32004, "whatever", True),
        (-32000, "the method eth_getBlockReceipts does not exist/is not available", True),
        (-32600, "Unsupported method: eth_getBlockReceipts", True),
        (-32000, "header does not exist", False),
        (-32000, "block not found", False),
        (-32005, "rate limit", False),
    ],
)
def test_an_unknown_method_is_told_from_an_unknown_block(code: int, message: str, unsupported: bool) -> None:
    assert RpcRefused("host", "eth_getBlockReceipts", code, message).unsupported is unsupported


def test_keys_are_neither_in_host_names_nor_in_scrubbed_texts() -> None:
    assert redacted(URL) == "https://node.example:8443/…"
    assert redacted("http://[::1]:8545") == "http://[::1]:8545"
    text = scrubbed(f"Cannot POST {URL} for user, pa55, 0123456789abcdef, topsecret99", URL)
    assert not [key for key in ("pa55", "0123456789abcdef", "topsecret99") if key in text]
    assert scrubbed("v3 is fine", URL) == "v3 is fine"


async def test_a_node_that_echoes_the_key_does_not_leak_it() -> None:
    with pytest.raises(RpcRefused) as caught:
        await Scripted(b'{"id":0,"error":{"code":1,"message":"project 0123456789abcdef is over"}}').call("eth_a")
    assert "0123456789abcdef" not in f"{caught.value}{caught.value.message}"


@pytest.mark.parametrize(
    ("data", "found"),
    [(b'"0x5863f789"', "5863f789"), (b'"Reverted 0x5863f789"', "5863f789"), (b'{"data":"0x5863f789"}', "5863f789"),
     (b"null", ""), (b'"no hex"', ""), (b"[1]", ""), (b'{"data":5}', ""), (b'"\xff"', "")],
)  # fmt: skip
async def test_what_a_call_reverted_with_is_read_from_wherever_a_node_puts_it(data: bytes, found: str) -> None:
    reply = b'{"id":0,"error":{"code":3,"message":"execution reverted","data":' + data + b"}}"
    with pytest.raises(RpcRefused) as caught:
        await Scripted(reply).call("eth_call")
    assert (caught.value.data.hex(), caught.value.reverted) == (found, True)
