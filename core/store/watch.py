"""What a chain's database was filled with: every transaction, or those of watched addresses."""

from collections.abc import Collection
from typing import Final

from core.errors import BadConfig
from core.hex import to_hex
from core.store import reader
from core.store.pool import Pool, translated

# Only while nothing is stored: rows that were not kept cannot be had from the others.
SQL_DECLARE: Final = """
    update chain.chain
    set watched = $2::bytea[], events_only = $3
    where chain_id = $1 and (watched is distinct from $2::bytea[] or events_only <> $3)
        and not exists (select from chain.coverage where chain_id = $1)
"""
SQL_DECLARED: Final = "select watched, events_only from chain.chain where chain_id = $1"


async def declare(
    pool: Pool, chain_id: int, name: str, watched: Collection[bytes] | None, *, events_only: bool = False
) -> None:
    """State what is kept of a registered chain: all (None), what concerns `watched`, or only their events.

    Raises BadConfig if blocks were stored otherwise.
    """
    wanted = None if watched is None else sorted(set(watched))
    with translated():
        await pool.execute(SQL_DECLARE, chain_id, wanted, events_only)
        found = await pool.fetchrow(SQL_DECLARED, chain_id)
    assert found is not None, "the chain is registered"
    if (found["watched"], found["events_only"]) == (wanted, events_only):
        return
    difference = _difference(found["watched"], wanted)
    modes = _mode(found["watched"], events_only=found["events_only"]), _mode(wanted, events_only=events_only)
    if modes[0] != modes[1]:
        difference = f"mode: expected {modes[0]}, found {modes[1]}"
    held = ", ".join(str(span) for span in (await reader.coverage(pool, chain_id))[-3:])
    raise BadConfig(
        f"chains.{name}: {difference}; blocks {held} of it are stored that way, and what was left out"
        " is not there: set it back, or use another database (docs/runbook.md)"
    )


def _mode(watched: list[bytes] | None, *, events_only: bool) -> str:
    return "full" if watched is None else "events" if events_only else "watch"


def _difference(found: list[bytes] | None, wanted: list[bytes] | None) -> str:
    more = [f"+{to_hex(address)}" for address in wanted or () if address not in (found or ())]
    less = [f"-{to_hex(address)}" for address in found or () if address not in (wanted or ())]
    return (
        f"watched: expected the {len(found or ())} addresses the database was filled for, found {' '.join(more + less)}"
    )
