"""Starts workers as tests/wallet/nursery.py starts senders; `mutant`: one that counts what a reorg may take away."""

import sys
from typing import Any

from daemon import worker
from droids.loop import DroidLoop
from tests.wallet import nursery
from wallet import records
from wallet.types import State

LOADED = (worker,)

right = DroidLoop._follow


async def hasty(self: DroidLoop, journal: Any, known: Any) -> None:
    """The mutation: a move counts as soon as it is mined."""
    found = await records.status(self._pool, known.move.intent_id)
    if found is not None and found.state is State.MINED:
        await self._settled(journal, known, found)
    else:
        await right(self, journal, known)


if __name__ == "__main__":
    if "mutant" in sys.argv:
        DroidLoop._follow = hasty  # type: ignore[method-assign]
        sys.argv.remove("mutant")
    nursery.main()
