"""What pools said, kept in memory: blocks that lie near one another are priced by reading the database once.

Time is cut into slots as long as the window of a mean, so that each price needs two of them: the block's own and the
one before it. What is kept of a slot is proven by the hash of a later block: while that block is stored, so is all that
went before it.
"""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import Final, TypeVar

from core.store import ticks
from core.store.pool import Connection
from core.store.ticks import Bounds, Change, Moment, Said, Tick
from core.types import BlockRef
from prices.routes import WINDOW, Mean, Past

SLOT_S: Final = int(WINDOW.total_seconds())
KEPT: Final = 100_000  # states of pools, about 430 bytes each, measured

SEEN: Final = 60_000  # blocks that are known by their hash, about 250 bytes each
ENDS: Final = 4_096  # of slots, of which it is known which are of one chain
LONG: Final = 2_000  # blocks; of a slot with more of them only those are known that were asked about

Key = TypeVar("Key")
Value = TypeVar("Value")
_FOREVER: Final = 2**63


@dataclass(frozen=True, slots=True)
class Slot:
    """A pool's state at the start of a slot and after each block that changed it, up to before `end` or all of it.

    `born` is the block of its first price, if that is in here. `areas` are the sums of ticks times seconds up to each
    of the times. `closed`: `end` is the first block behind the slot; else it is the last one that was stored.
    """

    opening: Said | None
    end: BlockRef
    closed: bool
    born: int | None = None
    numbers: Sequence[int] = ()
    times: Sequence[int] = ()
    states: Sequence[Said] = ()
    areas: Sequence[int] = ()

    @property
    def last(self) -> Said | None:
        """The state behind all of it."""
        return self.states[-1] if self.states else self.opening


class History:
    """What the pools of one chain said. A price older than `max_age` counts for nothing."""

    def __init__(self, chain_id: int, max_age: timedelta) -> None:
        if max_age < 2 * WINDOW:
            raise ValueError(f"max_age: expected {2 * WINDOW} or more, found {max_age}")
        self._chain = chain_id
        self._max_age = max_age
        self._kept: OrderedDict[tuple[int, bytes], Slot] = OrderedDict()
        self._size = 0
        # Blocks by their hash: the time of each, and an end of a slot that is of one chain with it.
        self._seen: OrderedDict[bytes, tuple[int, BlockRef]] = OrderedDict()
        # Ends of slots that were seen in one snapshot, and so are of one chain.
        self._beside: OrderedDict[BlockRef, frozenset[BlockRef]] = OrderedDict()

    async def read(
        self, conn: Connection, wanted: Mapping[BlockRef, Collection[bytes]]
    ) -> dict[BlockRef, tuple[datetime, dict[bytes, Past]]]:
        """Return each block's time and what pools said up to it.

        Blocks before which a block of `max_age` is missing are left out.
        """
        around = await ticks.moments(conn, self._chain, list(wanted))
        covered = [each for each in around.values() if self._is_covered(each)]
        slots = await self._slots(conn, [(each, wanted[each.block]) for each in covered])
        ends = frozenset(slot.end for slot in slots.values())
        for end in ends:
            _remember(self._beside, end, self._beside.get(end, frozenset()) | ends, most=ENDS)
        found: dict[BlockRef, tuple[datetime, dict[bytes, Past]]] = {}
        for moment in covered:
            if ends:
                _remember(self._seen, moment.block.hash, (moment.time, next(iter(ends))), most=SEEN)
            found[moment.block] = moment.at, self._pasts(slots, moment.block, moment.time, wanted[moment.block])
        return found

    def recall(self, block: BlockRef, pools: Collection[bytes]) -> tuple[datetime, dict[bytes, Past]] | None:
        """Return what `read` would say of a block, None if that takes a look into the database.

        It takes none for blocks that were read, or lie in a slot that was: that they are of one chain with the ends of
        slots was seen then, and stays so.
        """
        time, home = self._seen.get(block.hash, (0, None))
        if home is None:
            return None
        own, ends = time // SLOT_S, self._beside.get(home, frozenset())
        used: dict[tuple[int, bytes], Slot] = {}
        for key in ((n, pool) for n in (own - 1, own) for pool in pools):
            slot = self._kept.get(key)
            if slot is None or slot.end not in ends:
                return None
            if not slot.closed and (key[0] != own or slot.end.number < block.number):
                return None
            used[key] = slot
        return _at(time), self._pasts(used, block, time, pools)

    def _is_covered(self, at: Moment) -> bool:
        # Of the range's first block's second others may be missing.
        return at.since is None or at.since < at.time - int(self._max_age.total_seconds())

    def _pasts(
        self, slots: Mapping[tuple[int, bytes], Slot], block: BlockRef, time: int, pools: Collection[bytes]
    ) -> dict[bytes, Past]:
        own, oldest = time // SLOT_S, time - int(self._max_age.total_seconds())
        found: dict[bytes, Past] = {}
        for pool in pools:
            past = _Pair(slots[own - 1, pool], slots[own, pool]).past(pool, block.number, time, oldest)
            if past is not None:
                found[pool] = past
        return found

    async def _slots(
        self, conn: Connection, wanted: Sequence[tuple[Moment, Collection[bytes]]]
    ) -> dict[tuple[int, bytes], Slot]:
        """Return the slots that these moments need: kept ones, and what is read now."""
        reach: dict[tuple[int, bytes], int] = {}  # up to which block
        around: dict[int, Moment] = {}
        for moment, pools in wanted:
            own = moment.time // SLOT_S
            for each, last in ((own - 1, _FOREVER), (own, moment.block.number)):
                around[each] = moment
                for pool in pools:
                    reach[each, pool] = max(last, reach.get((each, pool), 0))
        found = await self._proven(conn, reach)
        behind: dict[tuple[int, BlockRef], list[bytes]] = {}
        missing: dict[int, list[bytes]] = {}
        for (slot, pool), last in reach.items():
            kept = found.get((slot, pool))
            if kept is None:
                missing.setdefault(slot, []).append(pool)
            elif not kept.closed and kept.end.number < min(last, around[slot].span.last):
                behind.setdefault((slot, kept.end), []).append(pool)
        for (slot, _), pools in behind.items():
            after = {pool: found[slot, pool] for pool in pools}
            found |= await self._load(conn, range(slot, slot + 1), pools, around[slot], after)
        for run, pools in _runs(missing):
            found |= await self._load(conn, run, pools, around[run[-1]], {})
        return found

    async def _proven(self, conn: Connection, keys: Collection[tuple[int, bytes]]) -> dict[tuple[int, bytes], Slot]:
        """Return what is kept and still of this chain."""
        kept = {key: self._kept[key] for key in keys if key in self._kept}
        ends = {each.end for each in kept.values()}
        stored = await ticks.stored(conn, self._chain, {end.number for end in ends})
        proven = {end for end in ends if stored.get(end.number, (b"", 0))[0] == end.hash}
        for key in kept:
            self._kept.move_to_end(key)
        return {key: each for key, each in kept.items() if each.end in proven}

    async def _load(
        self, conn: Connection, run: range, pools: Collection[bytes], around: Moment, after: Mapping[bytes, Slot]
    ) -> dict[tuple[int, bytes], Slot]:
        """Read slots one after the other, or go on behind what is known of one."""
        start, end = run[0] * SLOT_S, (run[-1] + 1) * SLOT_S
        oldest = start - int(self._max_age.total_seconds())
        of = await ticks.bounds(conn, self._chain, around.span, since=_at(oldest), start=_at(start), end=_at(end))
        if of is None:
            return {}
        if after:
            first = next(iter(after.values())).end.number + 1
            opening = {pool: each.last for pool, each in after.items()}
        else:
            first = of.first
            before = await ticks.newest(conn, self._chain, pools, of.since, first - 1)
            opening = {pool: _said(tick) for pool, tick in before.items()}
        blocks = await ticks.between(conn, self._chain, first, of.last)
        said = await ticks.said(conn, self._chain, pools, {block.number: time for block, time in blocks})
        changes = await ticks.changes(conn, self._chain, pools, first, of.last)
        made: dict[tuple[int, bytes], Slot] = {}
        for pool in pools:
            states = _states(opening.get(pool), said.get(pool, ()), changes.get(pool, ()))
            for slot, each in _cut(run, opening.get(pool), states, of):
                made[slot, pool] = _joined(after[pool], each) if pool in after else each
        # A slot whose opening was looked for in a part of its past is good for those who asked, and for nobody else.
        if around.since is None or around.since < oldest:
            self._keep(made)
            for block, time in blocks if len(blocks) <= LONG * len(run) else ():
                moment = Moment(block=block, time=time, span=around.span, since=around.since)
                if self._is_covered(moment):
                    _remember(self._seen, block.hash, (time, of.end), most=SEEN)
        return made

    def _keep(self, made: Mapping[tuple[int, bytes], Slot]) -> None:
        for key, slot in made.items():
            if key in self._kept:
                self._size -= _weight(self._kept[key])
            self._kept[key] = slot
            self._kept.move_to_end(key)
            self._size += _weight(slot)
        while self._size > KEPT:
            self._size -= _weight(self._kept.popitem(last=False)[1])


_States = tuple[Sequence[int], Sequence[int], Sequence[Said]]


def _said(tick: Tick) -> Said:
    time = int(tick.time.timestamp())
    return Said(tick.number, time, 0, tick.sqrt_x96, tick.tick, tick.liquidity, first=False)


def _states(opening: Said | None, said: Sequence[Said], changes: Sequence[Change]) -> _States:
    """Return numbers and times of the blocks that changed a pool, and its state after each."""
    if not changes:
        return [each.number for each in said], [each.time for each in said], said
    found: dict[int, tuple[int, Said]] = {}
    now = opening
    events: list[Said | Change] = [*said, *changes]
    for event in sorted(events, key=lambda each: (each.number, each.log_index)):
        if isinstance(event, Said):
            now = event
        elif now is not None and event.lower <= now.tick < event.upper:
            now = now._replace(liquidity=now.liquidity + event.liquidity)
        if now is not None:
            found[event.number] = event.time, now
    return list(found), [time for time, _ in found.values()], [state for _, state in found.values()]


def _cut(run: range, opening: Said | None, of_run: _States, of: Bounds) -> Iterator[tuple[int, Slot]]:
    """Yield the slots of a run, each with the states in it."""
    numbers, times, states = of_run
    for slot in run:
        low, high = (bisect_left(times, start * SLOT_S) for start in (slot, slot + 1))
        inside = states[low:high]
        # Liquidity that came later says the first price again.
        born = next((each.number for each, number in zip(inside, numbers[low:high], strict=True)
                     if each.first and each.number == number), None)  # fmt: skip
        yield slot, Slot(
            opening, of.end, of.closed or slot != run[-1], born,
            numbers[low:high], times[low:high], inside, _areas(times[low:high], inside),
        )  # fmt: skip
        opening = inside[-1] if inside else opening


def _areas(times: Sequence[int], states: Sequence[Said]) -> list[int]:
    held = (state.tick * (until - since) for state, (since, until) in zip(states, pairwise(times), strict=False))
    return list(accumulate(held, initial=0)) if states else []


def _joined(known: Slot, more: Slot) -> Slot:
    """Return a slot with what came behind what was known of it."""
    areas = list(known.areas)
    if more.times:
        shift = areas[-1] + known.states[-1].tick * (more.times[0] - known.times[-1]) if areas else 0
        areas += [shift + each for each in more.areas]
    return Slot(
        known.opening, more.end, more.closed, known.born if known.born is not None else more.born,
        [*known.numbers, *more.numbers], [*known.times, *more.times], [*known.states, *more.states], areas,
    )  # fmt: skip


def _runs(missing: Mapping[int, Collection[bytes]]) -> Iterator[tuple[range, list[bytes]]]:
    """Yield slots that follow one another, with the pools that one of them lacks."""
    rest = sorted(missing)
    while rest:
        count = next((i for i, slot in enumerate(rest) if slot != rest[0] + i), len(rest))
        run, rest = rest[:count], rest[count:]
        yield range(run[0], run[-1] + 1), list(dict.fromkeys(pool for slot in run for pool in missing[slot]))


@dataclass(frozen=True, slots=True)
class _Pair:
    """The slot of a block, and the one before it."""

    before: Slot
    now: Slot

    def past(self, pool: bytes, number: int, time: int, oldest: int) -> Past | None:
        """Return what `pool` said up to the end of the block, None if its newest price is from before `oldest`."""
        start = time - SLOT_S
        count = bisect_right(self.now.numbers, number)
        newest = self.now.states[count - 1] if count else self.now.opening
        if newest is None or newest.time < oldest:
            return None
        skipped = bisect_right(self.before.times, start)
        opening = self.before.states[skipped - 1] if skipped else self.before.opening
        if opening is not None and opening.time < oldest:
            opening = None
        born = self.before.born is not None or (self.now.born is not None and self.now.born <= number)
        total, since, begun = 0, start, start
        tick = None if opening is None else opening.tick
        for slot, first, end in ((self.before, skipped, len(self.before.states)), (self.now, 0, count)):
            while tick is None and first < end and slot.states[first].time <= start:
                first += 1  # noqa: PLW2901 - liquidity that changed, of a price that is too old
            if first == end:
                continue
            if tick is None:
                begun = slot.times[first]
            else:
                total += tick * (slot.times[first] - since)
            total += slot.areas[end - 1] - slot.areas[first]
            since, tick = slot.times[end - 1], slot.states[end - 1].tick
        total += (newest.tick if tick is None else tick) * (time - since)
        young = opening is None and born
        return Past(newest.of(pool), Mean(total, time - begun, whole=opening is not None, young=young))


def _remember(known: OrderedDict[Key, Value], key: Key, value: Value, *, most: int) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > most:
        known.popitem(last=False)


def _weight(slot: Slot) -> int:
    return len(slot.states) + 1


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
