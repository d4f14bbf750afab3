"""What to do about an intent that has a nonce, from what one node said of it. Pure.

The order of the questions is what keeps money from being written off: the nonce first, then the receipts (`Seen`).
Who asks for receipts first finds none, lets the transaction be mined meanwhile, then finds its nonce used, and takes
it for lost. Measured on another program: 4 of 25 crashed runs wrote off what was theirs (docs/adr/0050-sending.md).
"""

from dataclasses import dataclass
from datetime import datetime

from core.errors import BadAnswer
from wallet.types import Opened, Receipt, Seen, State


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing to do but wait."""

    why: str


@dataclass(frozen=True, slots=True)
class Include:
    """An attempt is in a block that is not noted yet: apply what it did."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Settle:
    """The block that is noted is deep enough."""

    depth: int


@dataclass(frozen=True, slots=True)
class Reopen:
    """A reorg took the block away: undo what was applied; the same bytes are sent again."""

    why: str


@dataclass(frozen=True, slots=True)
class Send:
    """The chain does not have it: broadcast the newest attempt."""


@dataclass(frozen=True, slots=True)
class Bump:
    """It waits for too long: replace it by the same with higher fees."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """It must not happen any more: replace it by a transfer of nothing to oneself."""

    why: str


@dataclass(frozen=True, slots=True)
class Lose:
    """Its nonce is used, deep enough, by a transaction that is none of ours."""


Verdict = Hold | Include | Settle | Reopen | Send | Bump | Cancel | Lose


def judge(opened: Opened, seen: Seen, now: datetime, *, settle_blocks: int, bump_blocks: int) -> Verdict:
    """Return what to do. Raises BadAnswer if the node gives receipts of two attempts: only one can be in a chain.

    `settle_blocks`: depth from which no reorg is expected. `bump_blocks`: how long an attempt may wait.
    """
    found = [seen.receipts[each.hash] for each in opened.attempts if each.hash in seen.receipts]
    if len(found) > 1:
        hashes = ", ".join(f"0x{each.hash.hex()}" for each in found)
        raise BadAnswer(f"intent {opened.intent.id}: one nonce, but receipts of {hashes}")
    if found:
        return _included(opened, seen, found[0], settle_blocks)
    if opened.nonce < seen.nonce:
        return _foreign(opened, seen)
    if opened.state is State.MINED:
        return _gone(opened, seen)
    return _waiting(opened, seen, now, bump_blocks)


def _included(opened: Opened, seen: Seen, receipt: Receipt, settle_blocks: int) -> Verdict:
    if opened.mined != (receipt.hash, receipt.block):
        return Include(receipt)
    depth = seen.head.number - receipt.block.number
    return Settle(depth) if depth >= settle_blocks else Hold(f"mined, {max(depth, 0)} of {settle_blocks} blocks deep")


def _foreign(opened: Opened, seen: Seen) -> Verdict:
    if opened.nonce < seen.settled_nonce:
        return Lose()
    return Hold(f"nonce {opened.nonce} is used, and the node has no receipt of ours yet")


def _gone(opened: Opened, seen: Seen) -> Verdict:
    assert opened.mined is not None, "what is mined is in a block"
    _, block = opened.mined
    if seen.head.number < block.number:
        return Hold(f"the node is at block {seen.head}, before block {block} in which it was mined")
    return Reopen(f"block {block} is gone at {seen.head}")


def _waiting(opened: Opened, seen: Seen, now: datetime, bump_blocks: int) -> Verdict:
    newest = opened.attempts[-1]
    if newest.kind == "send":
        if opened.cancel:
            return Cancel("somebody asked for it")
        if now > opened.intent.deadline:
            return Cancel("its deadline has passed")
    return Bump() if seen.head.number - newest.block >= bump_blocks else Send()


def next_nonce(chain: int, ours: int | None) -> int | None:
    """Return the nonce of a wallet's next transaction, None while the chain has to catch up with what we know.

    `chain`: how many transactions of the wallet a node has mined; `ours`: one above the highest nonce that was ever
    given out, None if none was. Above ours: somebody else sent with this key. Below it although nothing is pending: a
    reorg that is not seen yet, or a node that lags; a nonce further on would leave a gap, an equal one would replace.
    """
    if ours is None or chain >= ours:
        return chain
    return None
