"""A node between the sender and the real one: it loses, delays and mines at the worst moment, and kills who asks."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import ClientSession, web
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from core.hex import from_hex, to_hex
from wallet.signer import hash_of

POINTS: Final = ("journal", "broadcast", "mined", "applied", "anywhere")
SETTLE_S: Final = 0.03  # after a receipt was answered: what follows from it is stored by then, or just being so
BURST_SHARE: Final = 0.15  # of looks that find nothing, after which more blocks come than a nonce needs to be settled


@dataclass
class Weather:
    """What may happen: kept across the processes of one batch."""

    chance: random.Random
    settle_blocks: int
    points: dict[bytes, str] = field(default_factory=dict)  # wallet -> where a process is killed that works for it
    modes: dict[int, str] = field(default_factory=dict)  # amount -> what becomes of its broadcasts
    owners: dict[bytes, bytes] = field(default_factory=dict)  # hash -> wallet
    over: bool = False
    first: dict[tuple[bytes, int], bytes] = field(default_factory=dict)  # wallet and nonce -> first hash
    held: dict[tuple[bytes, int], str] = field(default_factory=dict)  # the same -> bytes that were swallowed
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # some process has begun
    # anvil_reorg beside anvil_mine leaves anvil without some blocks, and with states that are not those of its blocks.
    moving: asyncio.Lock = field(default_factory=asyncio.Lock)
    kills: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


class Proxy:
    """Stands between one process and the node. `kill` ends that process at once."""

    def __init__(self, node: str, weather: Weather, kill: Callable[[], None]) -> None:
        self._node = node
        self._weather = weather
        self._kill = kill
        self._runner: web.AppRunner | None = None
        self._session: ClientSession | None = None
        self.url = ""

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        self._session = ClientSession()

    async def stop(self) -> None:
        assert self._session is not None and self._runner is not None
        await self._session.close()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        calls = asked if isinstance(asked, list) else [asked]
        weather = self._weather
        if weather.chance.random() < 0.01:
            self._strike("anywhere", None)
        if calls[0]["method"] == "eth_sendRawTransaction":
            return web.json_response(await self._sent(calls[0]))
        weather.counts["looks"] += calls[0]["method"] == "eth_getTransactionCount"
        weather.asked.set()
        replies = await self._ask(asked)
        self._looked(calls, replies)
        await self._burst(calls[0]["method"], replies)
        return web.json_response(replies)

    async def _burst(self, method: str, replies: Any) -> None:
        """Mine much between two questions of one look: whichever was asked first is out of date then."""
        weather = self._weather
        nothing = method == "eth_getTransactionReceipt" and any(not each.get("result") for each in replies)
        share = BURST_SHARE if nothing else BURST_SHARE / 10 if method == "eth_getTransactionCount" else 0
        if weather.chance.random() < share:
            weather.counts["bursts"] += 1
            async with weather.moving:
                await self._ask({"method": "anvil_mine", "params": [hex(weather.settle_blocks + 2)]})

    async def _sent(self, call: dict[str, Any]) -> Any:
        weather, raw = self._weather, from_hex(call["params"][0])
        hash_, wallet = hash_of(raw), from_hex(Account.recover_transaction(raw))
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        weather.counts["sends"] += 1
        weather.owners[hash_] = wallet
        self._strike("journal", wallet)
        if self._swallowed(hash_, wallet, fields, call["params"][0]):
            weather.counts["swallowed"] += 1
            return {"jsonrpc": "2.0", "id": call["id"], "result": to_hex(hash_)}
        place = (wallet, fields["nonce"])
        if not fields["data"] and place in weather.held and weather.chance.random() < 0.5:
            # A copy of what is to be cancelled was somewhere after all, and wins.
            weather.counts["late originals"] += 1
            await self._ask({"method": "eth_sendRawTransaction", "params": [weather.held[place]]})
        reply = await self._ask(call)
        self._strike("broadcast", wallet)
        return reply

    def _swallowed(self, hash_: bytes, wallet: bytes, fields: dict[str, Any], raw: str) -> bool:
        data, place = bytes(fields["data"]), (wallet, fields["nonce"])
        mode = self._weather.modes.get(int.from_bytes(data[36:68]), "") if data else ""
        first = self._weather.first.setdefault(place, hash_)
        if mode == "expire" or (mode == "stuck" and hash_ == first):
            self._weather.held[place] = raw
            return True
        return False

    def _looked(self, calls: list[dict[str, Any]], replies: Any) -> None:
        """Notice the first receipts of a wallet."""
        if calls[0]["method"] != "eth_getTransactionReceipt" or not isinstance(replies, list):
            return
        for reply in replies:
            found = reply.get("result")
            wallet = self._weather.owners.get(from_hex(found["transactionHash"])) if found else None
            if wallet is not None:
                self._strike("mined", wallet)
                if self._weather.points.get(wallet) == "applied":
                    asyncio.get_running_loop().call_later(SETTLE_S, self._strike, "applied", wallet)

    def _strike(self, point: str, wallet: bytes | None) -> None:
        weather = self._weather
        due = [each for each, planned in weather.points.items() if planned == point and wallet in (None, each)]
        if due:
            del weather.points[due[0]]
            weather.kills[point] += 1
            self._kill()

    async def _ask(self, body: Any) -> Any:
        assert self._session is not None
        if isinstance(body, dict):
            body = {"jsonrpc": "2.0", "id": 0, **body}
        async with self._session.post(self._node, json=body) as response:
            return await response.json()
