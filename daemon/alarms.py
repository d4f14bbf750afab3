"""`chainworkd alarm`: what had been called finalized and was orphaned, and who says that it is looked into."""

import argparse
import sys

from core.errors import BadConfig
from core.settings import Settings
from core.store import reader
from core.store.alarm import PgAlarms
from daemon.database import open_database
from daemon.terminal import say


async def listed(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """List alarms of every chain that nobody has cleared; exit 1 if there is one."""
    del arguments
    found = 0
    async with open_database(settings) as pool:
        for name, chain_id in (await reader.chains(pool)).items():
            for alarm in await PgAlarms(pool, chain_id).raised():
                found += 1
                say(f"{name}: {alarm}")
    return 1 if found else None


async def clear(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Clear a chain's alarms; exit 1 if there is none."""
    for option in ("by", "because"):
        if not getattr(arguments, option).strip():
            raise BadConfig(f"--{option}: expected a text, found none")
    async with open_database(settings) as pool:
        chains = await reader.chains(pool)
        name = arguments.chain or settings.explorer_chain or next(iter(chains), "")
        if name not in chains:
            raise BadConfig(f"--chain: expected one of {', '.join(chains) or 'none yet'}, found {name!r}")
        count = await PgAlarms(pool, chains[name]).clear(arguments.by.strip(), arguments.because.strip())
    if count:
        say(f"{name}: cleared {count} by {arguments.by.strip()}")
        return None
    sys.stderr.write(f"{name}: no alarm is raised\n")
    return 1
