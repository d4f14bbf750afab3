"""The Ostium builder of the API process: its deployment, its node if there is one, its feed if there is one."""

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from api.builder.chain import ChainView
from api.builder.desk import Desk
from api.builder.exchange import ExchangeSocket
from api.builder.feed import Feed
from api.builder.generation import GenerationWatch
from api.builder.market import Market, MarketSocket
from api.builder.quota import Quota, Rate
from api.routes.builder import Builder
from builders.ostium.actions import Deployment, Generation
from contracts import deployments
from core.errors import BadConfig
from core.metrics import Metrics
from core.rpc.caller import RpcCaller
from core.rpc.client import Rpc, RpcClient
from core.rpc.pool import RpcPool
from core.rpc.state import RpcState
from core.service import Service
from core.settings import BuilderSettings, Settings

ATTEMPTS = 2  # somebody waits for the answer; the deadline ends it anyway


@dataclass(frozen=True, slots=True)
class Built:
    """What the API gets: the group to serve, none if it is off, and what has to run beside it."""

    groups: Sequence[Builder] = ()
    services: Sequence[Service] = ()


@asynccontextmanager
async def builder_of(settings: Settings, metrics: Metrics) -> AsyncIterator[Built]:
    """Build the group. Raises BadConfig for a deployment that nobody has named."""
    of = settings.builder
    if not of.enabled:
        yield Built()
        return
    on = deployment(of)
    async with AsyncExitStack() as stack:
        urls = (of.rpc_url,) if of.rpc_url else _nodes_of(settings)
        client = None
        if urls:
            nodes = [RpcClient(url, deadline_s=of.deadline_s) for url in urls]
            client = await stack.enter_async_context(RpcPool(nodes, attempts=ATTEMPTS))
        yield _group(of, on, client, metrics)


def deployment(of: BuilderSettings) -> Deployment:
    """Return the contracts that the settings name, or that are known for their chain. Raises BadConfig."""
    known = deployments(of.chain_id)
    found: list[bytes] = []
    for name, set_, key in (
        ("trading", of.trading, "ostium_trading"), ("trading_storage", of.trading_storage, "ostium_storage"),
        ("usdc", of.usdc, "usdc"),
    ):  # fmt: skip
        if not set_ and "ostium_trading" not in known:
            raise BadConfig(f"builder.{name}: no Ostium deployment is known on chain {of.chain_id}; set its address")
        found.append(bytes.fromhex(set_[2:]) if set_ else known[key])
    return Deployment(of.chain_id, *found)


def _group(of: BuilderSettings, on: Deployment, client: Rpc | None, metrics: Metrics) -> Built:
    start = Generation.V3 if of.abi == "auto" else Generation(of.abi)
    state = None if client is None else RpcState(client)
    watch = GenerationWatch(on, start, state if of.abi == "auto" else None)
    chain = None
    if client is not None and state is not None:
        chain = ChainView(on, state, RpcCaller(client), deadline_s=of.deadline_s)
    desk, meter = Desk(on, watch, chain), metrics.for_builder()
    rate = Rate(
        of.rate_limit_max_requests, of.rate_limit_window_ms, of.rate_limit_enabled,
        tuple(ipaddress.ip_network(network) for network in of.rate_limit_whitelist),
    )  # fmt: skip
    market = Market(meter, has_feed=bool(of.feed_url))
    group = Builder(desk, Quota(rate), ExchangeSocket(desk, Quota(rate), meter), MarketSocket(market))
    services: list[Service] = []
    if watch.looks:
        services.append(watch)
    if of.feed_url:
        services.append(
            Feed(of.feed_url, market, poll_s=of.feed_poll_s, silence_s=of.feed_silence_s, subscribe=of.feed_subscribe)
        )
    return Built([group], services)


def _nodes_of(settings: Settings) -> tuple[str, ...]:
    """Return the URLs of the configured chain that the deployment is on, none if there is no such chain."""
    chains = settings.chains.values()
    return next((chain.endpoints for chain in chains if chain.chain_id == settings.builder.chain_id), ())
