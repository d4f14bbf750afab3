"""A local node: anvil as a child process that is certainly ours and does not outlive us."""

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from core.errors import BadConfig, RpcUnavailable, WrongChain
from core.rpc.client import RpcClient
from devnet.artifacts import Artifacts
from devnet.state import keep_first_genesis

log = logging.getLogger(__name__)

LEASH = Path(__file__).with_name("leash.py")
LISTENING = re.compile(rb"^Listening on 127\.0\.0\.1:(\d+)", re.MULTILINE)
POLL_S = 0.02
# States of old blocks to keep for eth_call: as many as a full geth node does. They stay in memory, 1 MB each after
# some hours; anvil's default writes every one of them under ~/.foundry, 0.15 MB a block, and leaves them there.
PAST_STATES = 128
LOG_TAIL = 4_000  # bytes of anvil's output that an error may look at


class Anvil:
    """One anvil on a loopback port. Use as an async context manager, or `start` and `stop`.

    `port` 0 lets the kernel choose; a restart keeps the port that was chosen. Without `block_time_s` blocks are mined
    on request only (anvil_mine, evm_setAutomine). `state` is loaded if present, and written every `state_interval_s`
    and at the end: all of it each time, some 5 kB a transaction, hence not often. `safe` and `finalized` are
    `slots_in_an_epoch` and twice that behind `latest`.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        *,
        chain_id: int = 31_337,
        port: int = 0,
        state: Path | None = None,
        state_interval_s: int = 300,
        block_time_s: int | None = None,
        slots_in_an_epoch: int = 4,
        flags: Sequence[str] = (),
        start_deadline_s: float = 60.0,
        stop_deadline_s: float = 30.0,
    ) -> None:
        self._artifacts = artifacts
        self._chain_id = chain_id
        self._port = port
        self._state = state
        self._state_interval_s = state_interval_s
        self._mining = ["--no-mining"] if block_time_s is None else ["--block-time", str(block_time_s)]
        self._epoch = slots_in_an_epoch
        self._flags = tuple(flags)
        self._start_deadline_s = start_deadline_s
        self._stop_deadline_s = stop_deadline_s
        self._process: asyncio.subprocess.Process | None = None

    @property
    def http_url(self) -> str:
        """Where JSON-RPC is answered."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def ws_url(self) -> str:
        """Where subscriptions are answered; anvil uses one port for both."""
        return f"ws://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The child's process id, None before the start and after the stop."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._process is not None and self._process.returncode is None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start anvil and return when it answers as configured.

        Raises BadConfig if it is not installed or ends at once, WrongChain if the answer is not the one asked for.
        """
        await self.stop()
        try:
            async with asyncio.timeout(self._start_deadline_s):
                await self._launch()
        except TimeoutError as error:
            await self.stop()
            raise RpcUnavailable(
                f"anvil: no answer within {self._start_deadline_s:.0f} s, or its state is in use"
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the child: ask (it then writes its state), wait, and kill it if it does not listen."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            # The child may end between the question and the signal.
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            async with asyncio.timeout(self._stop_deadline_s):
                await process.wait()
        except TimeoutError:
            log.warning("anvil killed", extra={"pid": process.pid, "deadline_s": self._stop_deadline_s})
        finally:
            # Also on cancellation: whoever is in a hurry loses the last state rather than leaving a process behind.
            if process.returncode is None:
                process.kill()
        await process.wait()

    async def _launch(self) -> None:
        # A file and not a pipe: nobody has to keep reading it for anvil to go on.
        with tempfile.TemporaryFile() as output, contextlib.ExitStack() as ours:
            lock = await self._lock(ours)
            fresh = self._state is None or not self._state.exists()
            if self._state is not None:
                keep_first_genesis(self._state)
            self._process = await asyncio.create_subprocess_exec(
                *self._command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=lock,
                start_new_session=True,  # a Ctrl-C in the terminal is ours to handle first
            )
            self._port = await self._listening(output.fileno())
            await self._check(fresh=fresh)

    async def _lock(self, ours: contextlib.ExitStack) -> tuple[int, ...]:
        """Wait until no other anvil uses the state; return what its child must inherit to keep the others waiting.

        After a `kill -9` of the daemon its anvil still writes the state; one that started meanwhile would read half.
        """
        if self._state is None:
            return ()
        self._state.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._state.parent / "anvil.lock", os.O_CREAT | os.O_RDWR, 0o600)
        ours.callback(os.close, handle)
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(POLL_S)
            else:
                return (handle,)

    def _command(self) -> list[str]:
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid())]
        chain = ["--chain-id", str(self._chain_id), "--slots-in-an-epoch", str(self._epoch), "--order", "fifo"]
        command = [*leash, str(self._artifacts.anvil()), "--host", "127.0.0.1", "--port", str(self._port)]
        if self._state is not None:
            chain += ["--state", str(self._state), "--state-interval", str(self._state_interval_s)]
        chain += ["--prune-history", str(PAST_STATES)]
        return [*command, *chain, *self._mining, *self._flags]

    async def _listening(self, output: int) -> int:
        """Return the port that our own child says it listens on: no other process can stand in for it."""
        while True:
            ended = not self.alive
            said = os.pread(output, LOG_TAIL, max(0, os.fstat(output).st_size - LOG_TAIL))
            if found := LISTENING.search(said):
                return int(found[1])
            if ended:
                raise BadConfig(f"anvil ended at its start: {_complaint(said)}")
            await asyncio.sleep(POLL_S)

    async def _check(self, *, fresh: bool) -> None:
        async with RpcClient(self.http_url, deadline_s=5.0) as rpc:
            # Otherwise each request becomes a line in a file that nobody can see.
            await rpc.call("anvil_setLoggingEnabled", False)
            chain_id = int(await rpc.call("eth_chainId"), 16)
            height = int(await rpc.call("eth_blockNumber"), 16)
        if chain_id != self._chain_id:
            raise WrongChain(f"anvil: chain id is {chain_id}, expected {self._chain_id}")
        if fresh and height != 0 and self._mining == ["--no-mining"]:
            raise WrongChain(f"anvil: a new chain has height {height}, expected 0")


def _complaint(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return next((line for line in lines if line.lower().startswith("error")), lines[-1] if lines else "without a word")
