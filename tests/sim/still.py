"""A world in which nothing goes wrong, for tests that need a node."""

from collections.abc import Sequence

from core.types import Block
from simulator.weather import plan_of
from simulator.world import World


def still_world(blocks: Sequence[Block] = ()) -> World:
    """Return a world without faults, whose chain is `blocks`, if any."""
    world = World(0, plan_of(0, {}))
    world.stormy = False
    if blocks:
        world.past = [list(blocks)]
    return world
