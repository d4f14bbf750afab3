"""A droid at work: it answers commands, follows what it has had sent, looks at its pool, and has the next move sent.

A step is decided from rows and from the chain alone, so that a process may end at any point and the next one goes on.
What it holds follows from receipts of final intents, and from nothing else.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

from core.clock import Clock
from core.errors import WrongChain
from core.rpc.client import Rpc
from core.rpc.source import chain_id
from core.store.pool import Pool
from droids import effects
from droids.droid import BadDroid
from droids.journal import Journal, Known, leased
from droids.observe import facts
from droids.records import Command, Status
from droids.watch import Terms, Watch, place_of
from wallet import records as intents
from wallet.records import Status as Sent
from wallet.types import Outcome, State

log = logging.getLogger(__name__)

GIVEN_UP: Final = frozenset({Status.PAUSED, Status.RESETTING, Status.CLOSING, Status.HALTED})


class Meter(Protocol):
    """What is counted of droids."""

    def status(self, status: str) -> None:
        """Show where the session is, "" if there is none."""
        ...

    def decided(self, decided: str, word: str) -> None:
        """Count a decision."""
        ...

    def moved(self, kind: str, outcome: str) -> None:
        """Count a move that is final."""
        ...

    def worth(self, aum: int, positions: int) -> None:
        """Show what all is worth, in base units of the quote, and how many positions there are."""
        ...


class DroidLoop:
    """Looks after one droid (a Service)."""

    def __init__(
        self, droid_id: int, pool: Pool, client: Rpc, terms: Terms, *, clock: Clock, meter: Meter,
        beat: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.name = f"droid.{droid_id}"
        self.wants_snapshot = False
        self._id = droid_id
        self._pool = pool
        self._client = client
        self._terms = terms
        self._clock = clock
        self._meter = meter
        self._beat = beat
        self._next: datetime | None = None  # when to look again; at once at the start
        self._checked = False

    async def run(self) -> None:
        """Look after it for ever, as the only process that does. Raises WrongChain."""
        async with leased(self._pool, self._id, self._clock, self._beat) as journal:
            while True:
                await self.step(journal)
                self._beat()
                await self._clock.sleep(self._terms.poll_s)

    async def step(self, journal: Journal) -> None:
        """Follow what is under way, answer commands, and look if it is time."""
        known = await journal.known()
        if not self._checked:
            await self._introduce(journal, known)
            known = await journal.known()
        if known.move is not None:
            await self._follow(journal, known)
            known = await journal.known()
        if await self._answer(journal, known):
            self._next = None
            known = await journal.known()
        self._meter.status(known.session.status if known.session else "")
        if known.session is None or (self._next is not None and self._clock.now() < self._next):
            return
        self._next = self._clock.now() + timedelta(seconds=self._terms.pace.sample_s)
        await self._look(journal, known)

    async def _introduce(self, journal: Journal, known: Known) -> None:
        found = await chain_id(self._client)
        if found != known.row.chain_id:
            raise WrongChain(f"droid {self._id}: the node serves chain {found}, its pool is on {known.row.chain_id}")
        if known.pool.market is None:
            await journal.learn(known.pool.pool_id, *await facts(self._client, known.pool))
        self._checked = True

    async def _look(self, journal: Journal, known: Known) -> None:
        try:
            droid = known.row.droid
        except BadDroid as error:
            await journal.complain(f"its fields are not valid: {error}")
            return
        await journal.complain(self._terms.complaint)
        watch = Watch(journal, self._client, known, droid, self._terms, clock=self._clock, meter=self._meter)
        if await watch.look(snapshot=self.wants_snapshot):
            self.wants_snapshot = False

    # What is under way.

    async def _follow(self, journal: Journal, known: Known) -> None:
        """Look at the open move's intent; what it did counts once that is final."""
        assert known.move is not None, "there is a move"
        found = await intents.status(self._pool, known.move.intent_id)
        assert found is not None, "a move and its intent are inserted together"
        match found.state:
            case State.QUEUED | State.PENDING | State.MINED:
                await journal.show(known, found.state)
                if found.state is State.QUEUED and self._unwanted(known):
                    now, why = self._clock.now(), f"{self.name} is told otherwise"
                    await intents.cancel(self._pool, found.intent.id, now, by=self.name, because=why)
            case State.SETTLED:
                await self._settled(journal, known, found)
            case State.DROPPED | State.REHEARSED:
                await self._failed(journal, known, found.state)
            case State.LOST:
                why = f"intent {found.intent.id} is lost: {found.note}; who else has this key?"
                await self._failed(journal, known, State.LOST, halt=why)

    def _unwanted(self, known: Known) -> bool:
        assert known.move is not None, "there is a move"
        status = known.session.status if known.session else Status.STOPPED
        return status in GIVEN_UP and not (status is Status.CLOSING and known.move.kind == "close")

    async def _settled(self, journal: Journal, known: Known, found: Sent) -> None:
        move, mined = known.move, await journal.mined(found.intent.id)
        assert move is not None and mined is not None, "a settled intent has a receipt"
        if found.outcome is not Outcome.DONE:
            await self._failed(journal, known, found.outcome or State.SETTLED)
            return
        place = place_of(known)
        try:
            if move.kind == "approve":
                done = effects.Done((), ())
            else:
                done = effects.done(found.intent.call, mined.logs, place, known.pool.address)
            entries = effects.entries(done, place)
            effects.require_same(entries, mined.moved, place)
        except ValueError as error:
            log.error("a receipt is not what was asked for", extra={"droid": self._id, "why": str(error)})
            await self._failed(journal, known, "unexpected", halt=f"transaction 0x{mined.tx_hash.hex()}: {error}")
            return
        await journal.apply(known, mined, done, entries)
        self._ended(move.kind, "done")

    async def _failed(self, journal: Journal, known: Known, outcome: str, *, halt: str = "") -> None:
        assert known.move is not None, "there is a move"
        await journal.fail(known, outcome, await journal.mined(known.move.intent_id), halt=halt)
        self._ended(known.move.kind, outcome)

    def _ended(self, kind: str, outcome: str) -> None:
        self._next = None  # the next look need not wait
        self._meter.moved(kind, outcome)
        log.info("move ended", extra={"droid": self._id, "kind": kind, "outcome": str(outcome)})

    # Commands.

    async def _answer(self, journal: Journal, known: Known) -> bool:
        """Carry out what people command, as far as it goes now; return whether anything changed."""
        row, session = known.row, known.session
        if session is None:
            return await self._begin(journal, known)
        status, changed = session.status, False
        if row.command > row.answered and (wanted := _turned(row.active, status)) is not None:
            # A reset is answered when it is done: until then a crash would lose it.
            answered = None if wanted is Status.RESETTING else row.command
            await journal.turn(session.session_id, wanted, session.note if wanted is status else "", answered=answered)
            status, changed = wanted, wanted is not status
        if known.move is not None:
            return changed
        if status is Status.RESETTING:
            await journal.reset(session.session_id, row.command)
            return True
        if status is Status.CLOSING and not known.positions:
            await journal.stop(session.session_id, row.command)
            return True
        return changed

    async def _begin(self, journal: Journal, known: Known) -> bool:
        row = known.row
        if row.active in (Command.RUN, Command.RESET):
            await journal.begin(row.command, Status.WARMING)
            return True
        if row.command > row.answered:
            await journal.answer(row.command, Command.PAUSE)
        return False


def _turned(active: Command, status: Status) -> Status | None:
    """Return what a command makes of a session, None if it is under way already."""
    match active:
        case Command.PAUSE:
            return Status.HALTED if status is Status.HALTED else Status.PAUSED
        case Command.RUN:
            # What a person has to look at is not over because somebody says go on.
            return Status.HALTED if status is Status.HALTED else Status.RUNNING
        case Command.RESET:
            return None if status is Status.RESETTING else Status.RESETTING
        case Command.CLOSE:
            return Status.CLOSING
