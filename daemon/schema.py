"""Where each feature keeps its migrations; `python -m daemon.schema` writes core/store/schema.sql from them."""

import asyncio
from pathlib import Path
from typing import Final

import accounts
import core
import droids
import wallet
from core.store.schema import SCHEMA, migrated_schema


def _folder(package: str | None, *inside: str) -> Path:
    assert package is not None, "a package of ours has a file"
    return Path(package).resolve().parent.joinpath(*inside)


# Numbers are unique across the folders, and a migration may stand on those with lower numbers. What is added later to a
# folder has a number above its others; it may be below those of other folders, which databases may have already.
MIGRATIONS: Final = (
    _folder(core.__file__, "store", "migrations"),
    _folder(accounts.__file__, "migrations"),
    _folder(wallet.__file__, "migrations"),
    _folder(droids.__file__, "migrations"),
)


def main() -> None:
    """Write schema.sql."""
    SCHEMA.write_text(asyncio.run(migrated_schema(MIGRATIONS)))


if __name__ == "__main__":
    main()
