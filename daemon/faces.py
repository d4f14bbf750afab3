"""The API that faces clients: every route of it, and the gate that decides who gets to which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from starlette.routing import BaseRoute

from accounts.passwords import Passwords
from accounts.sessions import Lives
from accounts.signing import AccessTokens
from api.access import Check, Gate, Scope, anybody
from api.cookies import Cookies
from api.credentials import LOOPBACK, ApiKeys, Origins, SessionCookies
from api.limits import Budget, RateLimiter
from api.readiness import Readiness
from api.routes import description
from api.routes.accounts import Desk, SignIn, SignInLimits
from api.routes.builder import Builder
from api.routes.explorer import Explorer
from api.routes.operations import status_page
from api.routes.people import People
from core.clock import Clock
from core.metrics import Metrics
from core.settings import Settings
from core.store.pool import Pool


@dataclass(frozen=True, slots=True)
class Face:
    """What an application is made of."""

    routes: list[BaseRoute]
    gate: Gate


def client_face(
    settings: Settings,
    pool: Pool,
    readiness: Readiness,
    passwords: Passwords,
    clock: Clock,
    *,
    metrics: Metrics,
    groups: Sequence[Builder] = (),
) -> Face:
    """Return the API that faces clients, on a pool with its rights; `groups` is the builder, if it is on."""
    access = AccessTokens(pool, clock, lifetime=timedelta(minutes=settings.auth.access_minutes))
    # A newcomer opens the API's address first. Off loopback the page stays on the operators' port.
    page = status_page(pool, readiness) if _loopback(settings) else []
    routes: list[BaseRoute] = [
        *groups,
        *_explorer(settings, pool, readiness).routes(),
        *description.routes(),
        *SignIn(_desk(settings, pool, passwords, access, clock, metrics=metrics)).routes(),
        *_people(settings, pool, clock).routes(),
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


def _explorer(settings: Settings, pool: Pool, readiness: Readiness) -> Explorer:
    symbols: Mapping[str, str] = {name: chain.native_symbol for name, chain in settings.chains.items()}
    return Explorer(
        pool, readiness, default_chain=settings.explorer_chain, native_symbols=symbols,
        public_url=settings.api.public_url,
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


def _loopback(settings: Settings) -> bool:
    return settings.api.host in LOOPBACK
