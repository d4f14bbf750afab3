"""`chainworkd demo` and `chainworkd devnet`: a local chain with real contracts and live traffic, indexed and served."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from accounts import tokens
from api.addresses import checksum
from api.server import listen, url_of
from core.errors import BadConfig, ServiceEnded
from core.hex import to_hex
from core.metrics import Metrics
from core.price_settings import PriceSettings
from core.service import Service, supervise
from core.settings import BuilderSettings, Settings
from core.store.pool import Pool, open_pool
from daemon import demo_droid, droid_file
from daemon.processes import ROLES
from daemon.run import House, run_all
from devnet.feed import LocalFeed
from devnet.town import Devnet

PROFILE: Final = "local"
READY_S: Final = 120.0
DROID: Final = Path(__file__).resolve().parents[1] / "docs" / "examples" / "demo-droid.toml"
ORDER: Final = '{"open": {"a": 0, "b": true, "t": "market", "p": "65000", "s": "100", "l": "10"}}'

# A block with several transactions, one of which the printed address sent.
SQL_READ: Final = "select count(distinct address) from chain.token where chain_id = $1 and address = any($2::bytea[])"
SHOWN: Final = ("wbtc", "weth", "usdc")  # tokens whose prices the printed lines ask for
SQL_SAMPLE: Final = """
    select t.hash, t.block_number
    from chain.transaction t
    where t.chain_id = $1 and t.sender = $2 and t.block_number > $3
    order by t.block_number desc, t.tx_index
    limit 1
"""
# Only once this run has heard of the chain and agrees with it: blocks of the last run may be gone from the node.
SQL_HEIGHT: Final = """
    select c.number
    from chain.cursor c
    join chain.head h on h.chain_id = c.chain_id and h.number = c.number and h.hash = c.hash
    where c.chain_id = $1 and h.seen_at >= $2
"""


async def run(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Run everything on a local chain until stopped; started again, it goes on where it was."""
    folder = _folder(settings, arguments, "demo")
    async with Devnet(folder=folder / "chain", chain_id=_local(settings)) as town:
        vaults = (to_hex(town.contracts["vault"]),)
        robot, file = await town.robot(demo_droid.POOL), droid_file.read(DROID)
        own = {
            "http": (town.http_url,), "ws": (town.ws_url,), "vaults": vaults, "prices": venue(town.contracts),
        }  # fmt: skip
        chain = settings.chains[PROFILE].model_copy(update=own)
        prices = listen("127.0.0.1", 0, "demo feed")
        changes = {
            "data_dir": str(folder), "chains": {PROFILE: chain}, "default_chain": PROFILE, **_ports(settings),
            "builder": _builder(settings, town, url_of(prices)),
        }  # fmt: skip

        changed = demo_droid.settings_of(
            settings.model_copy(update=changes), PROFILE, town.contracts, robot, file
        )  # fmt: skip

        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(prices))

            async def extra(house: House) -> Sequence[Service]:
                droid = await demo_droid.made(house, _local(settings), town.contracts, robot, file)
                greeter = Greeter(house, town, await _token(house, folder / "demo.token"), droid=droid)
                return [Town(town), LocalFeed(prices), greeter, *stack.enter_context(demo_droid.workers(house))]

            await run_all(changed, extra)
    return None


async def devnet(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Run the local chain and its traffic until stopped."""
    folder = _folder(settings, arguments, "devnet")
    async with Devnet(folder=folder, chain_id=_local(settings), port=arguments.port) as town:
        lines = [f"node      {town.http_url}  {town.ws_url}", f"chain id  {_local(settings)}"]
        lines += [f"{name:<28} {checksum(address)}" for name, address in sorted(town.contracts.items())]
        _say("\n".join(lines))
        await supervise([Town(town)], Metrics())
    return None


def venue(at: Mapping[str, bytes]) -> PriceSettings:
    """Return the settings of prices for the Uniswap v3 among the local chain's contracts, whose pools are small."""
    return PriceSettings(
        factory=to_hex(at["uniswap_v3_factory"]), wrapper=to_hex(at["weth"]),
        stables=tuple(to_hex(at[name]) for name in ("usdc", "usdt", "dai")), min_depth=1,
    )  # fmt: skip


def _builder(settings: Settings, town: Devnet, feed: str) -> BuilderSettings:
    """Return the builder's settings for the doubles on the local chain and for the made-up prices."""
    at = town.contracts
    changes = {
        "chain_id": _local(settings), "trading": to_hex(at["ostium_trading"]), "usdc": to_hex(at["usdc"]),
        "trading_storage": to_hex(at["ostium_storage"]), "feed_url": feed.replace("http", "ws", 1),
    }  # fmt: skip
    return settings.builder.model_copy(update=changes)


def _folder(settings: Settings, arguments: argparse.Namespace, name: str) -> Path:
    folder: Path = (arguments.data_dir or settings.data_path / name).expanduser().absolute()
    try:
        (folder / "chain").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfig(f"--data-dir: {folder}: {error.strerror}") from error
    return folder


def _ports(settings: Settings) -> dict[str, object]:
    """Return the API's and the operators' settings with a free port for each one that is taken."""
    api, ops = settings.api, settings.ops
    free = {name: _free(ops.host, port) for name, port in ops.model_dump().items() if name.endswith("_port")}
    return {"api": api.model_copy(update={"port": _free(api.host, api.port)}), "ops": ops.model_copy(update=free)}


def _free(host: str, port: int) -> int:
    """Return `port`, or 0 (any free one) if somebody else has it: a demo should start anyway."""
    try:
        listen(host, port, "port").close()
    except BadConfig:
        return 0
    return port


def _local(settings: Settings) -> int:
    if PROFILE not in settings.chains:
        raise BadConfig(f"the demo needs the profile {PROFILE!r}")
    return settings.chains[PROFILE].chain_id


class Town:
    """The local chain's traffic (a Service)."""

    name = "devnet"

    def __init__(self, town: Devnet) -> None:
        self._town = town

    async def run(self) -> None:
        """Make blocks for ever."""
        await self._town.run()


class Greeter:
    """Waits until the demo has something to show, prints where, then stays silent (a Service)."""

    name = "greeter"

    def __init__(self, house: House, town: Devnet, token: str, *, droid: int) -> None:
        self._house = house
        self._town = town
        self._token = token
        self._droid = droid
        self._since = datetime.now(UTC)

    async def run(self) -> None:
        """Print the list once."""
        async with open_pool(self._house.url, size=1) as pool:
            tx_hash, number = await self._sample(pool)
        _say(self._text(tx_hash, number))
        await asyncio.Event().wait()

    async def _sample(self, pool: Pool) -> tuple[bytes, int]:
        """Return a transaction of the first actor, and its block, once one is there and tokens have their decimals."""
        chain_id = self._house.settings.chains[PROFILE].chain_id
        shown = [self._town.contracts[name] for name in SHOWN]
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    height = await pool.fetchval(SQL_HEIGHT, chain_id, self._since)
                    row = height and await pool.fetchrow(SQL_SAMPLE, chain_id, self._town.actors[0], height - 100)
                    if row and await pool.fetchval(SQL_READ, chain_id, shown) == len(shown):
                        return row["hash"], row["block_number"]
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise ServiceEnded(f"nothing was indexed within {READY_S:.0f} s; the log says why") from None

    def _text(self, tx_hash: bytes, number: int) -> str:
        api = self._house.api_url
        v1, trader = f"{api}/api/v1", checksum(self._town.actors[0])
        bitcoin, weth, usdc = (checksum(self._town.contracts[name]) for name in SHOWN)
        head = f"curl -s -H 'Authorization: Bearer {self._token}'"
        metrics = "  ".join(f"{self._house.ops_url(role)}/metrics" for role in ROLES)
        return f"""
chainworkd demo: a local chain is being indexed and served. Ctrl-C stops it; started again, it goes on.

  status page      {api}/
  API              {api}/api/docs
  API token        {self._token}
  people           {api}/api/auth/register: the first becomes ADMIN (docs/accounts.md)
  node (JSON-RPC)  {self._town.http_url}
  metrics          {metrics}
  readiness        {self._house.ops_url("api")}/readyz
  Ostium prices    {api.replace("http", "ws", 1)}/v1/market/stream
  backtest         {self._backtest()}
  droid, dry-run   {self._chainworkd()} droid show {self._droid}
  its decisions    {demo_droid.line(api, self._house.settings.data_path, self._droid)}
  facts, live      curl -sN -H 'Authorization: Bearer {self._token}' '{api}/stream?from=0'

  {head} {v1}/health
  {head} {v1}/blocks/{number}
  {head} {v1}/transactions/{to_hex(tx_hash)}
  {head} '{v1}/transactions/address/{checksum(self._town.actors[0])}?page_size=5'
  {head} {v1}/tokens/{bitcoin}/price
  {head} '{v1}/prices/candles?token={weth}&quote={usdc}&fee=500&interval=1m'
  {head} '{v1}/vault/deposits?resolver={checksum(self._town.resolver)}&page_size=5'
  curl -s '{api}/v1/exchange/open?simulate=true&address={trader}' -H 'content-type: text/plain' -d '{ORDER}'
"""

    def _backtest(self) -> str:
        """Return the line that runs a droid over the demo's own swaps, once there are some."""
        return f"{self._chainworkd()} backtest --droid {DROID} --pool {to_hex(self._town.contracts[demo_droid.POOL])}"

    def _chainworkd(self) -> str:
        installed = Path(sys.executable).with_name("chainworkd")
        program = installed if installed.is_file() else f"{sys.executable} -m daemon"
        return f"CHAINWORKD_DATA_DIR={self._house.settings.data_path} {program} --profile {PROFILE}"


async def _token(house: House, file: Path) -> str:
    """Return the demo's token: the one kept in its folder while it is valid, else a new one."""
    kept = _read(file)
    async with open_pool(house.url, size=1) as pool:
        if kept and await tokens.authenticate(pool, kept) is not None:
            return kept
        made = await tokens.issue(pool, "demo")
    _write(file, made)
    return made


def _read(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def _write(file: Path, secret: str) -> None:
    file.touch(mode=0o600)
    file.write_text(secret + "\n")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
