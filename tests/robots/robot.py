"""A droid and its sender on real ground, a step at a time: loops, rows, signatures and contracts are the real ones."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from eth_account.signers.local import LocalAccount

from core.hex import from_hex
from core.store.pool import Pool
from droids import guards, records
from droids.droid import Pace
from droids.journal import Journal, leased
from droids.loop import DroidLoop
from droids.records import AccountRow, Command, DroidRow, SessionRow
from droids.watch import Means, Terms
from tests.robots.ground import CHAIN, ETHER, Ground
from wallet import activation
from wallet.node import Node
from wallet.outbox import Outbox
from wallet.outbox import leased as outbox
from wallet.policy import Bound, Rules
from wallet.sender import Limits, Sender
from wallet.signer import LocalSigner

PACE = Pace(sample_s=60, tau_s=600, warm_up_s=0, cooldown_s=0, daily_cap=10_000)
LIMITS = guards.Limits(head_age_s=60, twap_s=300, twap_ticks=100, min_native=ETHER // 100, slip_bps=50)
SETTLE = 3


class Meter:
    """Remembers what was counted, of droid and sender."""

    def __init__(self) -> None:
        self.words: list[tuple[str, str]] = []
        self.moves: list[tuple[str, str]] = []

    def status(self, status: str) -> None:
        pass

    def decided(self, decided: str, word: str) -> None:
        self.words.append((decided, word))

    def moved(self, kind: str, outcome: str) -> None:
        self.moves.append((kind, str(outcome)))

    def worth(self, aum: int, positions: int) -> None:
        pass

    def waiting(self, queued: int, pending: int, mined: int) -> None:
        pass

    def broadcast(self, kind: str) -> None:
        pass

    def ended(self, state: str, fee: int) -> None:
        pass

    def reopened(self) -> None:
        pass

    def blocked(self, why: bool) -> None:
        pass


@dataclass
class Robot:
    """One droid with a wallet of its own."""

    ground: Ground
    store: Pool
    account: LocalAccount
    number: int = 0
    live: bool = True
    meter: Meter = field(default_factory=Meter)
    pace: Pace = PACE
    limits: guards.Limits = LIMITS
    each: int = 10**30
    journal: Journal = field(init=False)
    box: Outbox = field(init=False)

    @property
    def wallet(self) -> bytes:
        return from_hex(self.account.address)

    @property
    def rules(self) -> Rules:
        return Rules(
            wallet=self.wallet, native=Bound(each=ETHER, day=10_000 * ETHER),
            tokens={token: Bound(each=self.each, day=10**36) for token in self.ground.pool.tokens},
            position_managers=frozenset({self.ground.pool.manager}),
        )  # fmt: skip

    @property
    def terms(self) -> Terms:
        means = Means(rules=self.rules, max_fee=1_000 * 10**9, min_tip=10**9)
        return Terms(
            pace=self.pace, limits=self.limits, deadline_s=600, poll_s=1, wrapper=self.ground.base, means=means
        )  # fmt: skip

    def loop(self) -> DroidLoop:
        made = DroidLoop(
            self.number, self.store, self.ground.rpc, self.terms, clock=self.ground.clock, meter=self.meter
        )
        made.wants_snapshot = True
        return made

    def sender(self) -> Sender:
        limits = Limits(max_fee=1_000 * 10**9, min_tip=10**9, max_gas=20_000_000, settle_blocks=SETTLE, bump_blocks=9,
                        poll_s=1)  # fmt: skip
        return Sender(
            "test", self.store, Node(self.ground.rpc, self.wallet), self.rules, limits, chain_id=CHAIN,
            clock=self.ground.clock, meter=self.meter, signer=LocalSigner(self.account) if self.live else None,
        )  # fmt: skip

    async def born(self, config: Mapping[str, Any], *, pool_id: int = 42) -> None:
        """Make the rows of a droid, and let its wallet go live."""
        await records.put_pool(self.store, self.ground.pool_row(pool_id))
        count = len(await records.accounts(self.store)) + 1
        await records.put_account(self.store, AccountRow(account_id=count, chain_id=CHAIN, wallet=self.wallet))
        self.number = await records.create(self.store, config, account_id=count, pool_id=pool_id, by="ann")
        node = Node(self.ground.rpc, self.wallet)
        code = await node.code_hashes(self.rules.contracts, await node.head())
        now = self.ground.clock.now()
        await activation.activate(self.store, CHAIN, self.wallet, code, now, by="ann", because="test")

    async def command(self, what: Command) -> None:
        assert await records.command(
            self.store, self.number, what, self.ground.clock.now(), by="ann", role="ADMIN"
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def awake(self) -> AsyncIterator["Robot"]:
        """Hold both leases, the droid's and the wallet's."""
        async with (
            leased(self.store, self.number, self.ground.clock) as self.journal,
            outbox(self.store, CHAIN, self.wallet, self.ground.clock) as self.box,
        ):
            yield self

    async def look(self) -> None:
        """One step of a loop that knows nothing but the rows, as after a restart."""
        await self.loop().step(self.journal)

    async def send(self, blocks: int = SETTLE + 1) -> None:
        """Let the sender sign, and mine until that is settled."""
        sender = self.sender()
        for _ in range(2):
            await sender.step(self.box)
            await self.ground.mine(blocks)
        await sender.step(self.box)

    async def settle(self, most: int = 6) -> None:
        """Look and send until nothing more follows."""
        for _ in range(most):
            await self.look()
            if (await self.journal.known()).move is None:
                return
            await self.send()

    async def row(self) -> DroidRow:
        found = await records.one(self.store, self.number)
        assert found is not None
        return found

    async def session(self) -> SessionRow:
        return (await records.sessions(self.store, self.number, 1))[0]

    async def word(self) -> str:
        return (await records.decisions(self.store, self.number, 1))[0].word

    async def differences(self) -> list[str]:
        """What rows and chain do not agree on: to the wei, and to the last NFT."""
        known, sums = await self.journal.known(), await self.journal.sums()
        there, owned = await self.ground.balances(self.wallet), await self.ground.nfts(self.wallet)
        faults = [
            f"asset 0x{asset.hex()}: {amount} on the chain, {sums.get(asset, 0)} in the ledger"
            for asset, amount in there.items()
            if amount != sums.get(asset, 0)
        ]
        ledger = {each.token_id: each.liquidity for each in known.positions}
        if ledger != owned:
            faults.append(f"positions {owned} on the chain, {ledger} in the ledger")
        return faults
