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
    set watched = $2::bytea[]
    where chain_id = $1 and watched is distinct from $2::bytea[]
        and not exists (select from chain.coverage where chain_id = $1)
"""
SQL_WATCHED: Final = "select watched from chain.chain where chain_id = $1"


async def declare(pool: Pool, chain_id: int, name: str, watched: Collection[bytes] | None) -> None:
    """State what is kept of a registered chain, None for all. Raises BadConfig if blocks were stored otherwise."""
    wanted = None if watched is None else sorted(set(watched))
    with translated():
        await pool.execute(SQL_DECLARE, chain_id, wanted)
        found = await pool.fetchval(SQL_WATCHED, chain_id)
    if found == wanted:
        return
    held = ", ".join(str(span) for span in (await reader.coverage(pool, chain_id))[-3:])
    raise BadConfig(
        f"chains.{name}: {_difference(found, wanted)}; blocks {held} of it are stored that way, and what was left out"
        " is not there: set it back, or use another database (docs/runbook.md)"
    )


def _difference(found: list[bytes] | None, wanted: list[bytes] | None) -> str:
    if found is None or wanted is None:
        return f"mode: expected {'full' if found is None else 'watch'}, found {'full' if wanted is None else 'watch'}"
    more = [f"+{to_hex(address)}" for address in wanted if address not in found]
    less = [f"-{to_hex(address)}" for address in found if address not in wanted]
    return f"watched: expected the {len(found)} addresses the database was filled for, found {' '.join(more + less)}"
