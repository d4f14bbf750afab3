"""Telling systemd that the process is ready (sd_notify(3)); silent where nobody listens."""

import asyncio
import os
import socket


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
