"""Which checks hold on a chain: asked of old blocks, of every endpoint, so that no one of them decides alone.

Chains differ: where a header has fields of its own, or transactions types of their own, hashes and roots are not what
this program computes. What a chain's blocks pass is found out once and then demanded of every block.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from core.errors import BadAnswer, RpcRefused, RpcUnavailable, Unverified
from core.rpc.pool import RpcPool
from core.rpc.source import RpcSource
from core.types import Block
from core.verify.checks import ALL, NONE, Check, can_tell, passed, verify

# In a row, since some chains have a transaction of their own only in each sixteenth block (Polygon's state sync).
NEWEST: Final = 16
SPREAD: Final = 8  # over all that is older: forks changed what is in a header and in a receipt
AT_ONCE: Final = 4  # blocks, for a block may have megabytes


@dataclass(frozen=True, slots=True)
class Calibration:
    """What `blocks` blocks have shown: which checks hold, and for each that does not how one of them failed it.

    What is in neither, no block could tell: there are none yet, or empty ones only.
    """

    holds: Check
    fails: Mapping[Check, Unverified]
    blocks: int

    @property
    def open(self) -> Check:
        """What no block could tell."""
        found = ALL & ~self.holds
        for check in self.fails:
            found &= ~check
        return found


def probes(settled: int, also: Collection[int] = ()) -> list[int]:
    """Return which blocks to look at, of those up to `settled`: the newest, some of all ages, and those of `also`."""
    newest = range(max(0, settled - NEWEST + 1), settled + 1)
    spread = (settled * i // SPREAD for i in range(SPREAD))
    return sorted({*newest, *spread, *(number for number in also if number <= settled)}, reverse=True)


async def calibrate(
    pool: RpcPool, source: RpcSource, chain_id: int, settled: int, also: Collection[int] = ()
) -> Calibration:
    """Look at blocks up to `settled`, which no reorg reaches. Raises RpcUnavailable if no endpoint answers at all.

    `also` are blocks that may tell more than others do.

    A check holds if every block that can tell passes it as some endpoint tells it: whoever lies can make a block fail,
    and cannot make a block pass that honest ones do not have. Blocks that nobody has any more tell nothing.
    """
    turn = asyncio.Semaphore(AT_ONCE)
    silent: list[RpcUnavailable] = []

    async def look(number: int) -> list[Block]:
        async with turn:
            try:
                found = await pool.each(partial(source.as_told, number))
            except (RpcRefused, BadAnswer):
                return []
            except RpcUnavailable as error:  # of one old block: a node may be slow to find it
                silent.append(error)
                return []
        return [block for block in found if block is not None]

    async with asyncio.TaskGroup() as group:
        looks = [group.create_task(look(number)) for number in probes(settled, also)]
    told = [found for each in looks if (found := each.result())]
    if silent and not told:
        raise silent[0]
    return await _judged(told, chain_id)


async def _judged(told: list[list[Block]], chain_id: int) -> Calibration:
    """Judge blocks, each as the endpoints tell it."""
    holds, tested = ALL, NONE
    fails: dict[Check, Unverified] = {}
    for versions in told:
        passes, tests = NONE, NONE
        for block in versions:
            passes |= passed(block, can_tell(block), chain_id)
            tests |= can_tell(block)
            await asyncio.sleep(0)
        tested |= tests
        for check in holds & tests & ~passes:
            fails[check] = _failure(versions, check, chain_id)
            holds &= ~check
    return Calibration(holds & tested, fails, len(told))


def _failure(versions: list[Block], check: Check, chain_id: int) -> Unverified:
    for block in versions:
        try:
            verify(block, check, chain_id)
        except Unverified as error:
            return error
    raise AssertionError(f"block {versions[0].ref} was seen to fail {check!r}")
