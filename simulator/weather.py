"""How a seed's indexer is set up, and how bad its world is: drawn once, from the seed alone."""

import random
from dataclasses import dataclass, replace
from typing import Final, Literal, TypedDict

from indexer.backfill import WantedRange

Level = Literal["objects", "wire"]
Mode = Literal["full", "watch", "events"]

TURNS: Final = 60
EARLY: Final = 8  # of them
SETTLED: Final = 16
MARGIN: Final = 24
MOST_HISTORY: Final = 2_000  # blocks before the first turn


class Given(TypedDict, total=False):
    """What a user's settings decide; what is left out is drawn."""

    max_blocks: int
    jump_blocks: int
    chunk_blocks: int
    batch_blocks: int
    safe_depth: int
    finalized_depth: int
    retain_blocks: int
    mode: Mode
    settled_blocks: int
    margin_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a seed's indexer is set up.

    `level`: objects answer, or JSON-RPC endpoints do. `encoded`: settled history goes through the pipeline, the head's
    blocks as rows.
    `mortal`: processes die at their first await, then at their second, and so on; otherwise at a moment of chance.
    `tags`: nodes know `safe` and `finalized`; otherwise the depths count.
    """

    level: Level
    encoded: bool
    mortal: bool
    tags: bool
    writers: int
    endpoints: int
    wanted: tuple[WantedRange, ...]
    max_blocks: int
    jump_blocks: int
    chunk_blocks: int
    batch_blocks: int
    safe_depth: int
    finalized_depth: int
    retain_blocks: int
    settled_blocks: int
    margin_blocks: int
    mode: Mode

    @property
    def changes(self) -> int | None:
        """How many of the newest blocks may change, None for any: an island of history cannot know of more."""
        return self.settled_blocks if any(span.last is not None for span in self.wanted) else None

    @property
    def history(self) -> int:
        """How many blocks there are before the first turn: islands are settled, and retention has something to take."""
        kept = self.retain_blocks + self.margin_blocks if self.retain_blocks else 0
        return min(30 + max(kept, self.settled_blocks - SETTLED), MOST_HISTORY)


def plan_of(seed: int, given: Given) -> Plan:
    """Draw a seed's set-up, except for what is given."""
    dice = random.Random(f"{seed}|plan")
    everything, island, some = (WantedRange(0),), (WantedRange(0, 12),), (WantedRange(3, 9), WantedRange(14, 17))
    safe = dice.randint(2, 6)
    drawn = Plan(
        level=dice.choice(("objects", "wire")),
        encoded=dice.random() < 0.4,
        mortal=dice.random() < 0.3,
        tags=dice.random() < 0.7,
        writers=dice.choice((1, 2)),
        endpoints=dice.choice((1, 2, 3)),
        wanted=dice.choice((everything, everything, (), (WantedRange(7),), island, some)),
        max_blocks=dice.randint(1, 8),
        jump_blocks=dice.choice((1, 4, 10, 30)),
        chunk_blocks=dice.randint(1, 9),
        batch_blocks=dice.randint(1, 4),
        safe_depth=safe,
        finalized_depth=safe + dice.randint(1, 8),
        retain_blocks=dice.choice((0, 0, 0, 40)),
        settled_blocks=SETTLED,
        margin_blocks=MARGIN,
        mode=dice.choice(("full", "full", "full", "watch", "events")),
    )
    return replace(drawn, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad a seed's world is: probabilities, and depths in blocks.

    `early` is that of a deep reorg while little is stored yet, so that it takes everything. A write waits up to
    `write_s` before it is carried out; others may be first.
    """

    error: float
    lag: float
    two_minds: float
    missing: float
    lie: float
    wrong_chain: float
    store_read: float
    store_before: float
    store_midway: float
    store_after: float
    write_s: float
    death: float
    shallow: float
    deep: float
    early: float
    leap: float
    down: float
    deep_blocks: int
    leap_blocks: int


def weather_of(seed: int, plan: Plan) -> Weather:
    """Draw a seed's weather."""
    dice = random.Random(f"{seed}|weather")
    deep = dice.choice((8, 15, 40, plan.finalized_depth + 10))
    return Weather(
        error=dice.choice((0, 0.03, 0.1)),
        lag=dice.choice((0, 0.1, 0.3)),
        two_minds=dice.choice((0, 0.05, 0.2)),
        missing=dice.choice((0, 0.03)),
        lie=dice.choice((0, 0.02, 0.1)),
        wrong_chain=dice.choice((0, 0.1, 0.3)),
        store_read=dice.choice((0, 0, 0.02)),
        store_before=dice.choice((0, 0.05)),
        store_midway=dice.choice((0, 0.05)),
        store_after=dice.choice((0, 0.05)),
        write_s=dice.choice((0.1, 0.1, 1.0)),
        death=dice.choice((0, 0.05, 0.2)),
        shallow=dice.choice((0.05, 0.2)),
        deep=dice.choice((0, 0.05, 0.15)),
        early=dice.choice((0, 0.3)),
        leap=dice.choice((0, 0.05, 0.1)),
        down=dice.choice((0, 0.05)),
        # An island of history is taken for settled: nothing could tell that it changed.
        deep_blocks=deep if plan.changes is None else min(deep, plan.changes // 2),
        leap_blocks=max(dice.choice((20, 50)), min(plan.jump_blocks + 20, MOST_HISTORY)),
    )
