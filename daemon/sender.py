"""`chainworkd run sender`: the process that has keys, one service for each configured wallet."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from api.app import application
from api.routes.operations import probes
from api.server import HttpServer
from core import systemd
from core.clock import SystemClock
from core.errors import BadConfig, Transient, WrongChain
from core.metrics import Metrics
from core.pulse import Beat, Pulse
from core.rpc.client import RpcClient
from core.rpc.source import chain_id
from core.sending import WalletSettings
from core.service import Service
from core.settings import Settings
from core.store.pool import Pool, open_pool
from daemon.chains import addresses, endpoints
from daemon.processes import Sockets
from daemon.readiness import ops_gate
from wallet.node import Node
from wallet.policy import Bound, Rules
from wallet.sender import Limits, Sender
from wallet.signer import LocalSigner, RemoteSigner, Signer, from_dev_key, from_keystore

CREDENTIAL: Final = "credential:"  # a file of systemd's LoadCredential, by its name
SIGN_S: Final = 20.0


class WalletService:
    """Connects to the nodes of a wallet's chain, then sends from it (a Service)."""

    def __init__(
        self, name: str, settings: Settings, pool: Pool, metrics: Metrics, *, local: LocalSigner | None, beat: Beat
    ) -> None:
        self.name = f"wallet.{name}"
        self.faults: list[str] = ["not connected yet"]
        self._wallet_name = name
        self._settings = settings
        self._pool = pool
        self._metrics = metrics
        self._local = local
        self._beat = beat

    async def run(self) -> None:
        """Run for ever. Raises WrongChain for nodes of another chain, BadConfig for a key of another account."""
        of = self._settings.wallets[self._wallet_name]
        chain = self._settings.chains[of.chain]
        try:
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(endpoints(of.chain, chain, self._metrics, sticky=True))
                found = await chain_id(client)
                if found != chain.chain_id:
                    raise WrongChain(f"chains.{of.chain}: the node serves chain {found}, configured {chain.chain_id}")
                rules = rules_of(of)
                signer: Signer | None = self._local
                if of.live and of.remote_signer:
                    remote = await stack.enter_async_context(RpcClient(of.remote_signer, deadline_s=SIGN_S))
                    signer = RemoteSigner(remote, rules.wallet)
                sender = Sender(
                    self._wallet_name, self._pool, Node(client, rules.wallet), rules, self._limits(of),
                    chain_id=found, clock=SystemClock(), meter=self._metrics.for_wallet(self._wallet_name),
                    signer=signer if of.live else None, beat=self._step,
                )  # fmt: skip
                await sender.run()
        except Transient as error:
            self.faults = [str(error)]
            self._beat()  # an outage, and it is tried again: no hang
            raise

    def _step(self) -> None:
        self.faults = []
        self._beat()

    def _limits(self, of: WalletSettings) -> Limits:
        kill = self._settings.sender.kill_file
        return Limits(
            max_fee=of.max_fee_wei, min_tip=of.min_tip_wei, max_gas=of.max_gas, settle_blocks=of.settle_blocks,
            bump_blocks=of.bump_blocks, poll_s=of.poll_s, kill_file=Path(kill).expanduser() if kill else None,
        )  # fmt: skip


class SenderReadiness:
    """Whether every wallet is looked after, for /readyz."""

    def __init__(self, services: Sequence[WalletService]) -> None:
        self._services = services

    async def report(self) -> dict[str, list[str]]:
        """Return what keeps each wallet from being looked after."""
        return {each.name: each.faults for each in self._services}


@asynccontextmanager
async def sender_services(
    settings: Settings, url: str, sockets: Sockets, metrics: Metrics, *, pulse: Pulse
) -> AsyncIterator[Sequence[Service]]:
    """Build the services of the sender. Raises BadConfig for a wallet that nobody can sign for."""
    if not settings.wallets:
        raise BadConfig("wallets: none is configured; add [wallets.<name>] (docs/sending.md)")
    signers = {name: local_signer(name, of, os.environ) for name, of in settings.wallets.items()}
    async with open_pool(url, role="chainworkd_sender", size=len(signers) + 1) as pool:
        services = [
            WalletService(name, settings, pool, metrics, local=signer, beat=pulse.part(f"sender.{name}"))
            for name, signer in signers.items()
        ]
        ops = HttpServer(
            application(probes(metrics, SenderReadiness(services)), metrics, gate=ops_gate()),
            sockets.ops, name="ops.sender",
        )  # fmt: skip
        yield [ops, *services, systemd.Announcer()]


def rules_of(of: WalletSettings) -> Rules:
    """Return what a wallet may do. Raises BadConfig."""
    try:
        return Rules(
            wallet=addresses([of.address])[0], native=Bound(each=of.each_wei, day=of.day_wei),
            tokens={addresses([at])[0]: Bound(each=token.each, day=token.day) for at, token in of.tokens.items()},
            recipients=frozenset(addresses(of.recipients)), routers=frozenset(addresses(of.routers)),
            position_managers=frozenset(addresses(of.position_managers)),
        )  # fmt: skip
    except ValueError as error:
        raise BadConfig(f"wallets: {error}") from None


def local_signer(name: str, of: WalletSettings, environ: Mapping[str, str]) -> LocalSigner | None:
    """Return who signs in this process, None in dry-run and for a remote signer: no key is even read then."""
    if not of.live or of.remote_signer:
        return None
    if of.dev_key_env:
        where = f"wallets.{name}.dev_key_env: {of.dev_key_env}"
        return from_dev_key(environ.get(of.dev_key_env, ""), where)
    text = _secret(f"wallets.{name}.keystore", of.keystore, environ)
    passphrase = _secret(f"wallets.{name}.passphrase", of.passphrase, environ)
    return from_keystore(text, passphrase.rstrip("\r\n"), f"wallets.{name}.keystore")


def _secret(setting: str, named: str, environ: Mapping[str, str]) -> str:
    """Read a file that nobody else may read, or a credential of the unit. Raises BadConfig, never with the content."""
    file = Path(named).expanduser()
    if named.startswith(CREDENTIAL):
        folder = environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            raise BadConfig(f"{setting}: {named}: systemd passes no credentials to this process")
        file = Path(folder) / named.removeprefix(CREDENTIAL)
    try:
        mode = file.stat().st_mode
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{setting}: {named or 'not set'}: not readable as text ({type(error).__name__})") from None
    # Of a credential systemd decides who may read it, by an access list that looks like a group's right.
    if mode & 0o077 and not named.startswith(CREDENTIAL):
        raise BadConfig(f"{setting}: {named}: others may read it (mode {mode & 0o777:o}); expected 600 or 400")
    return text
