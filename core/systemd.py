"""Telling systemd that the process is ready and gets on (sd_notify(3)); silent where nobody listens."""

import asyncio
import os
import socket
from collections.abc import Mapping
from functools import partial

from core.pulse import Feed, Pulse


async def ready() -> None:
    """Say READY=1. Saying it again does no harm."""
    notify("READY=1")


def notify(state: str) -> None:
    """Send `state` to $NOTIFY_SOCKET; a name that starts with @ is in the abstract namespace."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send(state.encode())


class Announcer:
    """Says READY=1 once its siblings run, then waits (a Service)."""

    name = "systemd"

    async def run(self) -> None:
        """Announce, then wait to be cancelled."""
        await ready()
        await asyncio.Event().wait()


def watchdog_s(environ: Mapping[str, str] | None = None, pid: int | None = None) -> float | None:
    """Return within how many seconds systemd wants a sign of life of this process; None if of none, or of another.

    Source: sd_watchdog_enabled(3).
    """
    environ = os.environ if environ is None else environ
    wanted, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or int(wanted) == 0 or whose not in ("", str(os.getpid() if pid is None else pid)):
        return None
    return int(wanted) / 1_000_000


def watchdog(pulse: Pulse) -> list[Feed]:
    """Return what feeds systemd's watchdog, three times as often as it wants, if it watches this process."""
    within_s = watchdog_s()
    if within_s is None:
        return []
    return [Feed(pulse, partial(notify, "WATCHDOG=1"), every_s=within_s / 3, name="watchdog")]
