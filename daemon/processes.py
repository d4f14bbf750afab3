"""Which processes there are, and what each is given: known before any of them is loaded."""

import socket
from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["indexer", "backfill", "api", "sender", "worker"]
ROLES: Final[tuple[Role, ...]] = ("indexer", "backfill", "api")  # what `chainworkd run` runs
# Only ever processes of their own: none but the sender may have its keys, and not everybody has droids.
ALONE: Final[tuple[Role, ...]] = ("sender", "worker")

STOP_S: Final = 40.0  # children have 15 s, the embedded server a fast shutdown; then the process ends anyway


@dataclass(frozen=True, slots=True)
class Sockets:
    """Bound sockets of one process: `ops` for probes, `api` for clients where it has any."""

    ops: socket.socket
    api: socket.socket | None = None

    def close(self) -> None:
        """Close both."""
        for bound in (self.ops, self.api):
            if bound is not None:
                bound.close()
