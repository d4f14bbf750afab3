"""The devnet as a whole: node, contracts and traffic under one roof."""

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from core.rpc.client import RpcClient
from devnet.anvil import Anvil
from devnet.artifacts import Artifacts
from devnet.deploy import OWNER, deploy
from devnet.kinds import Scene
from devnet.node import Node
from devnet.robot import ROBOT, furnish
from devnet.traffic import Step, Traffic

log = logging.getLogger(__name__)


class Devnet:
    """Use as an async context manager: inside, anvil runs and the contracts are there; `run` adds the traffic.

    With a `folder` the chain outlives the process: `anvil.json` is its state, `devnet.json` the contracts' addresses.
    `port` 0 lets the kernel choose. `seed` decides what happens, not when. `pause_s` is the least and most time
    between blocks.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        npm_dir: Path | None = None,
        chain_id: int = 31_337,
        port: int = 0,
        seed: int | None = None,
        pause_s: tuple[float, float] = (1.0, 2.0),
        state_interval_s: int = 300,
    ) -> None:
        self._artifacts = Artifacts() if npm_dir is None else Artifacts(npm_dir)
        self._record = folder / "devnet.json" if folder else None
        self._chain_id = chain_id
        self._seed = seed
        self._pause_s = pause_s
        self._resources = contextlib.AsyncExitStack()
        state = folder / "anvil.json" if folder else None
        self.anvil = Anvil(
            self._artifacts, chain_id=chain_id, port=port, state=state, state_interval_s=state_interval_s
        )
        self.contracts: Mapping[str, bytes] = {}
        self.accounts: tuple[bytes, ...] = ()

    @property
    def http_url(self) -> str:
        """Where JSON-RPC is answered."""
        return self.anvil.http_url

    @property
    def ws_url(self) -> str:
        """Where subscriptions are answered."""
        return self.anvil.ws_url

    @property
    def resolver(self) -> bytes:
        """The account that the vault deposits of the traffic are addressed to."""
        return self.accounts[OWNER]

    @property
    def actors(self) -> tuple[bytes, ...]:
        """The accounts that trade: each has transactions and tokens of every kind before long."""
        return self.accounts[OWNER + 1 :]

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    async def robot(self, pool: str) -> bytes:
        """Return an account for a droid in `pool`, with tokens and approvals, that no traffic touches."""
        await furnish(self._node, self.contracts, pool)
        return ROBOT

    async def run(self) -> None:
        """Make blocks until cancelled; start anvil again, on its port and from its last state, if it ends."""
        while True:
            if not self.anvil.alive:
                log.warning("anvil ended, starting it again")
                await self._open()
            await self._traffic.turn()

    async def step(self) -> Step:
        """Make one block now."""
        return await self._traffic.step()

    async def _open(self) -> None:
        await self._resources.aclose()
        try:
            await self._furnish()
        except BaseException:
            # Without its contracts a running node would be taken for a devnet.
            await self._resources.aclose()
            raise

    async def _furnish(self) -> None:
        self._resources.push_async_callback(self.anvil.stop)
        await self.anvil.start()
        node = self._node = Node(await self._resources.enter_async_context(RpcClient(self.anvil.http_url)))
        self.accounts = await node.accounts()
        self.contracts = await deploy(node, self._artifacts, chain_id=self._chain_id, record=self._record)
        scene = Scene(
            contracts=self.contracts,
            actors=self.actors,
            chain_id=self._chain_id,
            resolver=self.resolver,
            tiny=self._artifacts.bytecode("Tiny"),
            chance=self._chance(await node.height()),
        )
        self._traffic = Traffic(node, scene, pause_s=self._pause_s)

    def _chance(self, height: int) -> Random:
        # With the height: on a chain that goes on, the same seed alone would use each vault nonce and NFT id again.
        seed = None if self._seed is None else f"{self._seed} from {height}"
        return Random(seed)  # noqa: S311 - decides traffic, protects nothing
