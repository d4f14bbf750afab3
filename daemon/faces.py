"""What the API process serves: to clients every route, behind the gate that says who gets to which; to operators."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from starlette.routing import BaseRoute

from accounts import sessions
from accounts.audit import By
from accounts.passwords import Passwords, owasp
from accounts.sessions import Lives
from accounts.signing import AccessTokens
from api.access import Check, Gate, Scope, anybody
from api.app import application
from api.cookies import Cookies
from api.credentials import LOOPBACK, ApiKeys, Origins, SessionCookies
from api.droid_outlook import Outlook
from api.hub import FactHub
from api.limits import Budget, RateLimiter
from api.prices import Prices
from api.readiness import Readiness
from api.routes import description
from api.routes.accounts import Desk, SignIn, SignInLimits
from api.routes.builder import Builder
from api.routes.droids import Droids
from api.routes.explorer import Explorer
from api.routes.operations import probes, status_page
from api.routes.people import People
from api.routes.prices import PriceRoutes
from api.server import HttpServer
from api.stream import Stream
from core import systemd
from core.chores import Chore, Chores
from core.clock import Clock, SystemClock
from core.metrics import Metrics
from core.service import Service
from core.settings import Settings
from core.store.pool import Pool, open_pool
from daemon.builder import builder_of
from daemon.droid_places import SETTINGS, adopt, pace_of
from daemon.prices import venues
from daemon.processes import Sockets
from daemon.readiness import ops_gate, readiness_of


@dataclass(frozen=True, slots=True)
class Face:
    """What an application is made of."""

    routes: list[BaseRoute]
    gate: Gate


@asynccontextmanager
async def api_services(
    settings: Settings, url: str, sockets: Sockets, metrics: Metrics
) -> AsyncIterator[Sequence[Service]]:
    """Build the services of the API process on a pool that reads chain tables; `metrics` is what it exports."""
    timeout = settings.database.statement_timeout_s
    size = settings.database.api_connections
    async with (
        open_pool(url, role="chainworkd_api", size=size, statement_timeout_s=timeout) as pool,
        builder_of(settings, metrics) as builder,
    ):
        await adopt(settings, pool, By(SETTINGS, SystemClock().now()))
        with closing(Passwords(owasp())) as passwords:
            served = _api(settings, pool, metrics, sockets, passwords=passwords, groups=builder.groups)
            yield [*served, *builder.services]


def _api(
    settings: Settings,
    pool: Pool,
    metrics: Metrics,
    sockets: Sockets,
    *,
    passwords: Passwords,
    groups: Sequence[Builder],
) -> Sequence[Service]:
    readiness = readiness_of(settings, pool)
    assert sockets.api is not None, "bind gives the api role its socket"
    hub = FactHub(pool, metrics.for_streams(), max_streams=settings.api.streams)
    prices = Prices(pool, venues(settings))
    face = client_face(
        settings, pool, readiness, passwords, SystemClock(), metrics=metrics, hub=hub, prices=prices, groups=groups
    )  # fmt: skip
    public = application(face.routes, metrics, gate=face.gate, cors_origins=settings.api.cors_origins, groups=groups)
    routes = [*probes(metrics, readiness), *status_page(pool, readiness, prices.native)]
    probing = application(routes, metrics, gate=ops_gate())
    return [
        HttpServer(
            public, sockets.api, name="api", sockets=True, proxies=settings.api.trusted_proxies,
            most=settings.api.max_connections,
        ),
        HttpServer(probing, sockets.ops, name="ops.api"),
        hub,
        Chores([Chore("sessions", timedelta(hours=6), partial(_forget, pool))], name="accounts"),
        systemd.Announcer(),
    ]  # fmt: skip


async def _forget(pool: Pool) -> None:
    """Remove what is left of sessions a while after they have expired."""
    await sessions.forget(pool, SystemClock().now() - timedelta(days=7))


def client_face(
    settings: Settings,
    pool: Pool,
    readiness: Readiness,
    passwords: Passwords,
    clock: Clock,
    *,
    metrics: Metrics,
    hub: FactHub,
    prices: Prices,
    groups: Sequence[Builder] = (),
) -> Face:
    """Return the API that faces clients, on a pool with its rights; `groups` is the builder, if it is on.

    `hub` reads facts for streams; whoever calls this runs it.
    """
    access = AccessTokens(pool, clock, lifetime=timedelta(minutes=settings.auth.access_minutes))
    # A newcomer opens the API's address first. Off loopback the page stays on the operators' port.
    page = status_page(pool, readiness, prices.native) if _loopback(settings) else []
    explorer = _explorer(settings, pool, readiness, prices)
    routes: list[BaseRoute] = [
        *groups,
        *explorer.routes(),
        *PriceRoutes(pool, prices, explorer.named).routes(),
        Stream(hub, metrics.for_streams(), explorer.named),
        *description.routes(),
        *SignIn(_desk(settings, pool, passwords, access, clock, metrics=metrics)).routes(),
        *_people(settings, pool, clock).routes(),
        *_droids(settings, pool, clock, prices).routes(),
        *page,
    ]
    return Face(routes, _gate(settings, pool, access, clock, metrics=metrics))


def _gate(settings: Settings, pool: Pool, access: AccessTokens, clock: Clock, *, metrics: Metrics) -> Gate:
    keys = ApiKeys(pool, _limiter(settings.api.rate_limit, "token", metrics))
    origins = Origins(settings.api.public_url, loopback=_loopback(settings))
    checks: dict[Scope, Check] = {
        **SessionCookies(pool, access, origins, clock).checks(),
        Scope.API_KEY: keys.check,
        Scope.BUILDER: anybody,
    }
    if _loopback(settings):
        checks[Scope.OPERATIONS] = anybody
    return Gate(checks)


def _explorer(settings: Settings, pool: Pool, readiness: Readiness, prices: Prices) -> Explorer:
    symbols: Mapping[str, str] = {name: chain.native_symbol for name, chain in settings.chains.items()}
    return Explorer(
        pool, readiness, default_chain=settings.explorer_chain, native_symbols=symbols,
        public_url=settings.api.public_url, prices=prices,
    )  # fmt: skip


def _desk(
    settings: Settings, pool: Pool, passwords: Passwords, access: AccessTokens, clock: Clock, *, metrics: Metrics
) -> Desk:
    auth = settings.auth
    rates = {"client": auth.client_rate, "account": auth.account_rate, "register": auth.register_rate}
    return Desk(
        pool=pool,
        passwords=passwords,
        access=access,
        cookies=Cookies(secure=not _loopback(settings) or settings.api.public_url.startswith("https:")),
        lives=Lives(
            timedelta(days=auth.refresh_days),
            timedelta(days=auth.session_days),
            timedelta(seconds=auth.refresh_grace_s),
        ),
        limits=SignInLimits(**{name: _limiter(rate, name, metrics) for name, rate in rates.items()}),
        clock=clock,
        metrics=metrics,
    )


def _limiter(rate: str, name: str, metrics: Metrics) -> RateLimiter:
    return RateLimiter(Budget(rate), partial(metrics.limited, name))


def _people(settings: Settings, pool: Pool, clock: Clock) -> People:
    days = settings.auth.user_token_days
    return People(pool, clock, token_life=timedelta(days=days) if days else None)


def _droids(settings: Settings, pool: Pool, clock: Clock, prices: Prices) -> Droids:
    of = settings.droids
    outlook = Outlook(pool, prices, pace_of(of), slip_bps=of.slip_bps, deadline_s=of.deadline_s)
    return Droids(pool, clock, {chain.chain_id: name for name, chain in settings.chains.items()}, outlook)


def _loopback(settings: Settings) -> bool:
    return settings.api.host in LOOPBACK
