"""A process that owns an embedded server until it is killed: `python -m tests.pg.child DATA_DIR`."""

import asyncio
import sys
from pathlib import Path

from core.store.embedded import EmbeddedPostgres


async def own(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    await server.start()
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    await asyncio.sleep(120)


if __name__ == "__main__":
    asyncio.run(own(Path(sys.argv[1])))
