"""Child processes: backfill and API run beside the head's event loop, never in it.

A child gets its settings as one JSON line on standard input and its sockets by inheritance: no secret is on a command
line or in an environment, the parent finds a taken port before anything starts, and a restarted child goes on with the
connections that queued meanwhile. Standard input stays open; its end tells the child that the parent is gone. Signs of
life come back by a pipe of their own: a child that hangs is killed and started again.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec

from core.errors import BadConfig, Transient
from core.pulse import Feed, Pulse
from core.settings import Settings
from daemon.processes import Role, Sockets

log = logging.getLogger(__name__)

GRACE_S: Final = 15.0
# History can wait, the head and the API cannot: beside them, backfill gets the processor that they leave over.
NICENESS: Final[Mapping[Role, int]] = {"backfill": 10}


START_S: Final = 120.0  # for the first sign of life: a child loads its libraries and finds its node first
BEATS: Final = 5  # signs of life in the time after which a child counts as hung
ABORT_S: Final = 2.0  # for a hung child to write down where it hangs


class ChildEnded(Transient):
    """A child process ended by itself; it is started again."""


class ChildHung(Transient):
    """A child process showed no sign of life; it was killed and is started again."""


class Order(msgspec.Struct):
    """What a parent tells a child: settings as JSON, the database's URL, inherited descriptors.

    `beats` is the end of a pipe that the child writes signs of life to.
    """

    settings: str
    url: str
    ops: int
    api: int | None
    beats: int


class Child:
    """Runs one role in a process of its own (a Service)."""

    def __init__(self, role: Role, settings: Settings, url: str, sockets: Sockets) -> None:
        self.name = f"child.{role}"
        self._role = role
        self._settings = settings
        self._url = url
        self._sockets = sockets

    async def run(self) -> None:
        """Start the process and wait for its end, which is an error, as is its silence; stop it when cancelled."""
        beats, theirs = os.pipe()
        try:
            try:
                process = await self._start(theirs)
            finally:
                os.close(theirs)
            try:
                code = await self._watched(process, beats)
            finally:
                await _stopped(process)
        finally:
            os.close(beats)
        if code == BadConfig.exit_code:
            raise BadConfig(f"{self._role} process: its settings or its database are wrong, its log says which")
        raise ChildEnded(f"{self._role} process ended with {code}")

    async def _watched(self, process: asyncio.subprocess.Process, beats: int) -> int:
        """Return the exit code of the process. Raises ChildHung, once it is killed, when it falls silent."""
        hang_s = self._settings.ops.hang_s
        ended = asyncio.create_task(process.wait(), name=f"{self.name}.end")
        silent = asyncio.create_task(_silence(beats, hang_s), name=f"{self.name}.silence")
        try:
            await asyncio.wait({ended, silent}, return_when=asyncio.FIRST_COMPLETED)
            if silent.done() and not ended.done() and silent.result():
                log.error("child hangs", extra={"child": self._role, "pid": process.pid, "silent_s": hang_s})
                await _killed(process)
                raise ChildHung(f"{self._role} process showed no sign of life for {hang_s:.0f} s")
            return await ended
        finally:
            for task in (ended, silent):
                task.cancel()
            await asyncio.gather(ended, silent, return_exceptions=True)

    async def _start(self, beats: int) -> asyncio.subprocess.Process:
        bound = self._sockets
        order = Order(
            self._settings.model_dump_json(), self._url, bound.ops.fileno(), bound.api.fileno() if bound.api else None,
            beats,
        )  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            # -P: a folder called daemon in the working directory must not stand in for ours.
            sys.executable, "-P", "-m", "daemon", "child", self._role,
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[fd for fd in (order.ops, order.api, order.beats) if fd is not None],
            start_new_session=True,  # a terminal's Ctrl-C reaches the parent only, which stops children in order
        )  # fmt: skip
        assert process.stdin is not None, "stdin is a pipe"
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        await process.stdin.drain()
        log.info("started", extra={"child": self._role, "pid": process.pid})
        return process


async def _silence(beats: int, hang_s: float) -> bool:
    """Wait until nothing has come from `beats` for `hang_s`; False if its other end was closed instead."""
    # Not a transport: uvloop's closes the descriptor a moment later, when the number may be another one's.
    os.set_blocking(beats, False)
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(beats, heard.set)
    within_s = max(hang_s, START_S)
    try:
        while True:
            async with asyncio.timeout(within_s):
                await heard.wait()
            heard.clear()
            with suppress(BlockingIOError):
                if not os.read(beats, 4_096):
                    return False
                within_s = hang_s
    except TimeoutError:
        return True
    finally:
        loop.remove_reader(beats)


async def _killed(process: asyncio.subprocess.Process) -> None:
    """End a process that may not run any code: politely first, since then it says where it hangs (faulthandler)."""
    process.send_signal(signal.SIGABRT)
    with suppress(TimeoutError):
        async with asyncio.timeout(ABORT_S):
            await process.wait()
            return
    process.kill()
    await process.wait()


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


def heartbeat(pulse: Pulse, beats: int, *, hang_s: float) -> Feed:
    """Return what writes signs of life to the parent, as long as `pulse` has some."""
    os.set_blocking(beats, False)

    def beat() -> None:
        # A full pipe holds enough of them; a closed one says that the parent is gone, which ParentWatch is told too.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(beats, b".")

    return Feed(pulse, beat, every_s=hang_s / BEATS, name="heartbeat")


def read_order() -> tuple[Settings, str, Sockets, int]:
    """Read the parent's order from standard input; return with it the descriptor for signs of life."""
    line = bytearray()
    while not line.endswith(b"\n"):
        # Unbuffered: what follows the line, its end above all, is for ParentWatch.
        byte = os.read(0, 1)
        if not byte:
            raise BadConfig("child: standard input ended before the parent's order")
        line += byte
    order = msgspec.json.decode(bytes(line), type=Order)
    api = None if order.api is None else socket.socket(fileno=order.api)
    sockets = Sockets(socket.socket(fileno=order.ops), api)
    return Settings.model_validate_json(order.settings), order.url, sockets, order.beats


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
