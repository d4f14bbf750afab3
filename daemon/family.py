"""Child processes: backfill and API run beside the head's event loop, never in it.

A child gets its settings as one JSON line on standard input and its sockets by inheritance: no secret is on a command
line or in an environment, the parent finds a taken port before anything starts, and a restarted child goes on with the
connections that queued meanwhile. Standard input stays open; its end tells the child that the parent is gone.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import Final

import msgspec

from core.errors import BadConfig, Transient
from core.settings import Settings
from daemon.processes import Role, Sockets

log = logging.getLogger(__name__)

GRACE_S: Final = 15.0
# History can wait, the head and the API cannot: beside them, backfill gets the processor that they leave over.
NICENESS: Final[Mapping[Role, int]] = {"backfill": 10}


class ChildEnded(Transient):
    """A child process ended by itself; it is started again."""


class Order(msgspec.Struct):
    """What a parent tells a child: settings as JSON, the database's URL, inherited descriptors."""

    settings: str
    url: str
    ops: int
    api: int | None


class Child:
    """Runs one role in a process of its own (a Service)."""

    def __init__(self, role: Role, settings: Settings, url: str, sockets: Sockets) -> None:
        self.name = f"child.{role}"
        self._role = role
        self._settings = settings
        self._url = url
        self._sockets = sockets

    async def run(self) -> None:
        """Start the process and wait for its end, which is an error; stop it when cancelled."""
        process = await self._start()
        try:
            code = await process.wait()
        finally:
            await _stopped(process)
        if code == BadConfig.exit_code:
            raise BadConfig(f"{self._role} process: its settings or its database are wrong, its log says which")
        raise ChildEnded(f"{self._role} process ended with {code}")

    async def _start(self) -> asyncio.subprocess.Process:
        bound = self._sockets
        order = Order(
            self._settings.model_dump_json(), self._url, bound.ops.fileno(), bound.api.fileno() if bound.api else None
        )
        process = await asyncio.create_subprocess_exec(
            # -P: a folder called daemon in the working directory must not stand in for ours.
            sys.executable, "-P", "-m", "daemon", "child", self._role,
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[fd for fd in (order.ops, order.api) if fd is not None],
            start_new_session=True,  # a terminal's Ctrl-C reaches the parent only, which stops children in order
        )  # fmt: skip
        assert process.stdin is not None, "stdin is a pipe"
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        await process.stdin.drain()
        log.info("started", extra={"child": self._role, "pid": process.pid})
        return process


async def _stopped(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def yield_to_others(role: Role) -> None:
    """Lower this process' priority as its role asks."""
    os.nice(NICENESS.get(role, 0))


def read_order() -> tuple[Settings, str, Sockets]:
    """Read the parent's order from standard input."""
    line = bytearray()
    while not line.endswith(b"\n"):
        # Unbuffered: what follows the line, its end above all, is for ParentWatch.
        byte = os.read(0, 1)
        if not byte:
            raise BadConfig("child: standard input ended before the parent's order")
        line += byte
    order = msgspec.json.decode(bytes(line), type=Order)
    api = None if order.api is None else socket.socket(fileno=order.api)
    return Settings.model_validate_json(order.settings), order.url, Sockets(socket.socket(fileno=order.ops), api)


class ParentWatch:
    """Ends the process when its parent is gone, however it went (a Service)."""

    name = "parent"

    async def run(self) -> None:
        """Wait for the end of standard input."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        try:
            await reader.read()
        finally:
            transport.close()
        raise OrphanedChild("the parent process is gone")


class OrphanedChild(Exception):
    """The parent process ended without stopping this one."""
