"""What to do about an intent that has a nonce: rules one by one, then chains that are made up."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadAnswer
from core.types import BlockRef
from tests.wallet import make
from tests.wallet.make import NOW
from wallet import judge
from wallet.judge import next_nonce
from wallet.types import Attempt, Opened, Receipt, Seen, State

DEPTH = 3
BUMP = 4


def judged(opened: Opened, seen: Seen, now: datetime = NOW) -> judge.Verdict:
    return judge.judge(opened, seen, now, settle_blocks=DEPTH, bump_blocks=BUMP)


def mined(at: BlockRef) -> Opened:
    return make.opened(state=State.MINED, mined=(make.attempt().hash, at))


def test_what_the_chain_does_not_have_is_sent_again() -> None:
    assert judged(make.opened(), make.seen()) == judge.Send()


def test_what_waits_for_too_long_is_replaced() -> None:
    assert judged(make.opened(), make.seen(head=100 + BUMP - 1)) == judge.Send()
    assert judged(make.opened(), make.seen(head=100 + BUMP)) == judge.Bump()


def test_the_newest_attempt_counts_for_how_long_it_waits() -> None:
    twice = make.opened(attempts=(make.attempt(0, block=90), make.attempt(1, block=100)))
    assert judged(twice, make.seen(head=101)) == judge.Send()


@pytest.mark.parametrize("wish", ["deadline", "asked"])
def test_what_must_not_happen_any_more_is_cancelled_once(wish: str) -> None:
    late = NOW + timedelta(hours=1) if wish == "deadline" else NOW
    doomed = make.opened(cancel=wish == "asked")
    assert isinstance(judged(doomed, make.seen(), late), judge.Cancel)
    cancelled = replace(doomed, attempts=(*doomed.attempts, make.attempt(1, kind="cancel")))
    assert judged(cancelled, make.seen(), late) == judge.Send()


def test_a_receipt_of_any_attempt_is_applied_even_after_the_deadline() -> None:
    first, second = make.attempt(0), make.attempt(1, kind="cancel")
    found = make.receipt(first)
    both = make.opened(attempts=(first, second), cancel=True)
    assert judged(both, make.seen(nonce=8, receipts=[found]), NOW + timedelta(days=1)) == judge.Include(found)


def test_a_mined_one_settles_at_depth_and_not_before() -> None:
    found = make.receipt()
    inside = mined(found.block)
    assert isinstance(judged(inside, make.seen(head=102, nonce=8, receipts=[found])), judge.Hold)
    assert judged(inside, make.seen(head=103, nonce=8, settled=8, receipts=[found])) == judge.Settle(3)


def test_one_that_moved_to_another_block_is_applied_again() -> None:
    found = make.receipt(block=make.block(100, "fork"))
    assert judged(mined(make.block(100)), make.seen(nonce=8, receipts=[found])) == judge.Include(found)


def test_one_whose_block_is_gone_is_opened_again() -> None:
    assert isinstance(judged(mined(make.block(100)), make.seen(head=101)), judge.Reopen)


def test_a_node_that_lags_takes_no_block_away() -> None:
    assert isinstance(judged(mined(make.block(100)), make.seen(head=99)), judge.Hold)


def test_a_used_nonce_without_a_receipt_is_lost_at_depth_alone() -> None:
    assert isinstance(judged(make.opened(), make.seen(nonce=8, settled=7)), judge.Hold)
    assert judged(make.opened(), make.seen(nonce=8, settled=8)) == judge.Lose()


def test_two_receipts_for_one_nonce_are_no_chain() -> None:
    attempts = (make.attempt(0), make.attempt(1))
    with pytest.raises(BadAnswer, match="one nonce, but receipts of"):
        judged(make.opened(attempts=attempts), make.seen(nonce=8, receipts=map(make.receipt, attempts)))


def test_a_nonce_is_the_chains_unless_that_is_behind_ours() -> None:
    assert next_nonce(5, None) == 5
    assert next_nonce(5, 5) == 5
    assert next_nonce(9, 5) == 9  # somebody else sent with this key
    assert next_nonce(4, 5) is None


@dataclass
class World:
    """A chain with one wallet: blocks hold at most our transaction or somebody else's of the same nonce."""

    blocks: list[bytes] = field(default_factory=lambda: [b""] * (DEPTH + 1))
    nonces: list[int] = field(default_factory=lambda: [7] * (DEPTH + 1))
    forks: int = 0

    def mine(self, tx: bytes = b"") -> None:
        used = self.nonces[-1]
        taken = tx if used == 7 else b""
        self.blocks.append(taken)
        self.nonces.append(used + bool(taken))

    def reorg(self, depth: int) -> None:
        """Replace the last blocks by as many empty ones; never as deep as what settles."""
        del self.blocks[-depth:], self.nonces[-depth:]
        self.forks += 1
        for _ in range(depth):
            self.mine()

    def ref(self, number: int) -> BlockRef:
        return make.block(number, tuple(self.blocks[: number + 1]) + (self.forks,) * (number >= len(self.blocks)))

    def receipts(self, attempts: tuple[Attempt, ...]) -> dict[bytes, Receipt]:
        known = {each.hash: each for each in attempts}
        return {
            tx: make.receipt(known[tx], block=self.ref(number))
            for number, tx in enumerate(self.blocks)
            if tx in known
        }  # fmt: skip

    def counts(self) -> tuple[BlockRef, int, int]:
        head = len(self.blocks) - 1
        return self.ref(head), self.nonces[head], self.nonces[max(0, head - DEPTH)]


Look = Callable[[World, Opened, Callable[[], None]], Seen]


def nonce_first(world: World, opened: Opened, meanwhile: Callable[[], None]) -> Seen:
    head, nonce, settled = world.counts()
    meanwhile()
    return Seen(head=head, nonce=nonce, settled_nonce=settled, receipts=world.receipts(opened.attempts))


def receipt_first(world: World, opened: Opened, meanwhile: Callable[[], None]) -> Seen:
    """The mutation: what is known to write off money."""
    receipts = world.receipts(opened.attempts)
    meanwhile()
    head, nonce, settled = world.counts()
    return Seen(head=head, nonce=nonce, settled_nonce=settled, receipts=receipts)


def life(seed: int, look: Look, *, foreign: bool = False) -> tuple[Opened, World]:
    """Follow one intent through a made-up chain until it is final."""
    chance, world, opened = random.Random(seed), World(), make.opened(attempts=(make.attempt(0, block=DEPTH),))
    now = NOW

    def happens() -> None:
        for _ in range(chance.randrange(DEPTH + 3)):
            mine_one(chance, world, opened, foreign=foreign)

    for _ in range(400):
        if chance.random() < 0.5:
            happens()
        if chance.random() < 0.15 and opened.state is not State.SETTLED:
            world.reorg(chance.randint(1, DEPTH - 1))
        now += timedelta(seconds=chance.randrange(40))
        opened = carried_out(opened, judged(opened, look(world, opened, happens), now), world)
        if opened.state in (State.SETTLED, State.LOST):
            return opened, world
    raise AssertionError(f"seed {seed}: not final: {opened}")


def mine_one(chance: random.Random, world: World, opened: Opened, *, foreign: bool) -> None:
    if foreign and chance.random() < 0.1:
        world.mine(b"foreign")
    else:
        world.mine(chance.choice(opened.attempts).hash if chance.random() < 0.3 else b"")


def carried_out(opened: Opened, verdict: judge.Verdict, world: World) -> Opened:
    head = len(world.blocks) - 1
    match verdict:
        case judge.Include(found):
            return replace(opened, state=State.MINED, mined=(found.hash, found.block))
        case judge.Reopen():
            return replace(opened, state=State.PENDING, mined=None)
        case judge.Settle():
            return replace(opened, state=State.SETTLED)
        case judge.Lose():
            return replace(opened, state=State.LOST, mined=None)
        case judge.Bump() | judge.Cancel():
            kind = "cancel" if isinstance(verdict, judge.Cancel) else opened.attempts[-1].kind
            more = make.attempt(len(opened.attempts), kind=kind, block=head)
            return replace(opened, attempts=(*opened.attempts, more))
        case _:
            return opened


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_settled_is_in_the_chain_and_nothing_of_ours_is_ever_lost(seed: int) -> None:
    opened, world = life(seed, nonce_first)
    assert opened.state is State.SETTLED
    assert opened.mined is not None
    assert [tx for tx in world.blocks if tx] == [opened.mined[0]]


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_with_somebody_else_at_the_key_what_is_lost_is_theirs(seed: int) -> None:
    opened, world = life(seed, nonce_first, foreign=True)
    (taken,) = [tx for tx in world.blocks if tx]
    assert (opened.state is State.LOST) == (taken == b"foreign")


def test_asking_for_receipts_before_the_nonce_loses_what_is_ours() -> None:
    wrong = [seed for seed in range(200) if life(seed, receipt_first)[0].state is State.LOST]
    assert len(wrong) > 5, "the rule above is only worth something if its breach is noticed"
