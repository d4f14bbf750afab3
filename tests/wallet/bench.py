"""A sender at work on a real node and a real database, one step at a time."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from eth_account import Account

from builders.call import create, invoke
from builders.erc20 import transfer
from core.hex import to_hex
from core.rpc.client import RpcClient
from core.store.pool import Pool
from devnet.artifacts import Artifacts
from devnet.node import Draft
from devnet.node import Node as Devnode
from tests.make import address
from wallet import activation, records
from wallet.node import Node
from wallet.outbox import Outbox, leased
from wallet.policy import Bound, Rules
from wallet.records import Status
from wallet.sender import Limits, Sender
from wallet.signer import LocalSigner, from_dev_key
from wallet.types import Intent

CHAIN = 31_337
FRIEND = address("friend")
ETHER = 10**18
SUPPLY = 10_000


@dataclass
class Clock:
    """Time that only moves when a test says so."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Meter:
    """Remembers what was counted."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def waiting(self, queued: int, pending: int, mined: int) -> None:
        self.seen.append(("waiting", queued, pending, mined))

    def broadcast(self, kind: str) -> None:
        self.seen.append(("broadcast", kind))

    def ended(self, state: str, fee: int) -> None:
        self.seen.append(("ended", str(state), fee))

    def reopened(self) -> None:
        self.seen.append(("reopened",))

    def blocked(self, why: bool) -> None:
        self.seen.append(("blocked", why))


class CountingRpc(RpcClient):
    """Counts what is sent, and may lose it on the way."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sends = 0
        self.lost = False

    async def post(self, body: bytes) -> bytes:
        if b"eth_sendRawTransaction" in body:
            self.sends += 1
            if self.lost:
                return b'{"jsonrpc":"2.0","id":0,"error":{"code":-32000,"message":"the pool is full"}}'
        return await super().post(body)


@dataclass
class Bench:
    """One wallet with a token and some ether."""

    pool: Pool
    rpc: CountingRpc
    signer: LocalSigner
    token: bytes
    clock: Clock = field(default_factory=Clock)
    meter: Meter = field(default_factory=Meter)
    limits: Limits = field(
        default_factory=lambda: Limits(
            max_fee=100 * 10**9, min_tip=1, max_gas=1_000_000, settle_blocks=3, bump_blocks=3, poll_s=1
        )
    )

    @property
    def wallet(self) -> bytes:
        return self.signer.address

    @property
    def rules(self) -> Rules:
        return Rules(
            wallet=self.wallet, native=Bound(each=ETHER, day=10 * ETHER), recipients=frozenset({FRIEND}),
            tokens={self.token: Bound(each=1_000, day=10_000)},
        )  # fmt: skip

    def sender(self, *, live: bool = True, **more: Any) -> Sender:
        given: dict[str, Any] = {"rules": self.rules, "limits": self.limits} | more
        return Sender(
            "test", self.pool, Node(self.rpc, self.wallet), chain_id=CHAIN, clock=self.clock, meter=self.meter,
            signer=self.signer if live else None, **given,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def outbox(self) -> AsyncIterator[Outbox]:
        async with leased(self.pool, CHAIN, self.wallet, self.clock) as outbox:
            yield outbox

    async def step(self, sender: Sender | None = None, times: int = 1) -> None:
        async with self.outbox() as outbox:
            for _ in range(times):
                await (sender or self.sender()).step(outbox)

    async def activated(self) -> "Bench":
        node = Node(self.rpc, self.wallet)
        hashes = await node.code_hashes(self.rules.contracts, await node.head())
        await activation.activate(self.pool, CHAIN, self.wallet, hashes, self.clock.now(), by="ann", because="test")
        return self

    async def queue(self, amount: int = 7, **fields: Any) -> Intent:
        given: dict[str, Any] = {
            "id": uuid4(), "chain_id": CHAIN, "wallet": self.wallet, "owner": "test", "kind": "pay", "priority": 3,
            "call": transfer(self.token, FRIEND, amount), "deadline": self.clock.now() + timedelta(minutes=5),
        }  # fmt: skip
        intent = Intent(**given | fields)
        async with self.pool.acquire() as conn:
            assert await records.queue(conn, intent)
        return intent

    async def status(self, intent: Intent) -> Status:
        found = await records.status(self.pool, intent.id)
        assert found is not None
        return found

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc.call("anvil_mine", hex(blocks))

    async def reorg(self, depth: int) -> None:
        """Replace the newest blocks by empty ones; what was in them is in nobody's pool any more."""
        await self.rpc.call("anvil_reorg", depth, [])
        await self.rpc.call("anvil_dropAllTransactions")

    async def nonce(self, at: str = "latest") -> int:
        return int(await self.rpc.call("eth_getTransactionCount", to_hex(self.wallet), at), 16)

    async def balance(self, of: bytes = FRIEND) -> int:
        call = invoke(self.token, "balanceOf(address)", of)
        assert call.to is not None
        return int(await self.rpc.call("eth_call", {"to": to_hex(call.to), "data": to_hex(call.data)}, "latest"), 16)

    async def ether(self) -> int:
        return int(await self.rpc.call("eth_getBalance", to_hex(self.wallet), "latest"), 16)


async def bench(pool: Pool, rpc: CountingRpc, artifacts: Artifacts) -> Bench:
    """Deploy a token, and give a new account some of it."""
    signer = from_dev_key(to_hex(bytes(Account.create().key)), "test")
    node = Devnode(rpc)
    owner = (await node.accounts())[0]
    code = create(artifacts.bytecode("DemoToken"), ("string", "string", "uint8"), ("Demo", "DMO", 6))
    (made,) = await node.settle([Draft(kind="deploy", sender=owner, call=code, gas=3_000_000)])
    assert made.contract is not None
    await rpc.call("anvil_setBalance", to_hex(signer.address), hex(5 * ETHER))
    give = invoke(made.contract, "mint(address,uint256)", signer.address, SUPPLY)
    await node.settle([Draft(kind="give", sender=owner, call=give, gas=200_000)])
    return Bench(pool, rpc, signer, made.contract)
