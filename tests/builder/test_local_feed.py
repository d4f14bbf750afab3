"""The demo's feed, followed by the builder as it would follow a real one."""

import asyncio
import contextlib
import json

from api.server import listen, url_of
from devnet.feed import LocalFeed
from tests.builder.face import serving


async def test_the_demos_prices_reach_a_reader_with_their_digits() -> None:
    with contextlib.closing(listen("127.0.0.1", 0, "test")) as bound:
        feed = asyncio.create_task(LocalFeed(bound, seed=1).run())
        async with serving(FEED_URL=url_of(bound).replace("http", "ws")) as face:  # noqa: SIM117
            async with await face.socket("/v1/market/stream") as socket:
                texts = [await socket.receive_str(timeout=15) for _ in range(6)]
        feed.cancel()
        await asyncio.gather(feed, return_exceptions=True)
    ticks = [json.loads(text) for text in texts]
    assert {tick["feed_id"] for tick in ticks} == {"BTC-USD", "EUR-USD", "NVDA-USD"}
    assert all(tick["bid"] < tick["mid"] < tick["ask"] for tick in ticks)
    assert set(ticks[0]) == {
        "feed_id", "bid", "mid", "ask", "isMarketOpen", "isDayTradingClosed", "secondsToToggleIsDayTradingClosed",
        "from", "to", "timestampSeconds",
    }  # fmt: skip
