"""Droids: /api/droids/* (docs/droids.md). Envelope {"error", "code"}; askers are OPERATOR or above."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from accounts.audit import By
from accounts.roles import Role
from api import schemas
from api.access import Scope, caller_of, route
from api.bodies import object_of
from api.credentials import SignedIn
from api.droid_outlook import Outlook
from api.droids import (
    AccountList,
    AccountOf,
    BotOf,
    Commanded,
    Configured,
    Created,
    DecisionOf,
    Decisions,
    DroidDetail,
    DroidList,
    DroidOf,
    History,
    PoolList,
    PoolOf,
    SessionOf,
    SnapshotOf,
)
from api.errors import BadRequest, Conflict, Forbidden, Invalid, NotCovered, NotFound
from api.params import given, integer, refuse_unknown
from api.routes.accounts import no_store
from core.clock import Clock
from core.store.pool import Pool
from droids import commands, records
from droids.commands import CHANGEABLE, NoSuchDroid, Overruled
from droids.droid import BadDroid, Droid, droid_of, require_fit, shown
from droids.records import AccountRow, Command, DroidRow, PoolRow, Taken

DROIDS: Final = "/api/droids"
ONE: Final = f"{DROIDS}/{{id}}"
WHERE: Final = ("poolId", "blockChain", "accountId")  # of a new droid's fields, those that are no Droid's
MOST_ID: Final = 2**63 - 1
PAGE: Final = 500
MOST_PAGE: Final = 5_000
SESSIONS: Final = 100  # the newest of them
DAYS: Final = 7
MOST_DAYS: Final = 30


class Droids:
    """Answers /api/droids/*. `chains` are names of chains by their ids; `outlook` says what a droid would do."""

    def __init__(self, pool: Pool, clock: Clock, chains: Mapping[int, str], outlook: Outlook) -> None:
        self._pool = pool
        self._clock = clock
        self._chains = chains
        self._outlook = outlook

    def routes(self) -> list[Route]:
        """Return the group's routes; fixed names come before ids."""
        return [
            route(DROIDS, self.droids, scope=Scope.OPERATOR),
            route(DROIDS, self.create, scope=Scope.ADMIN, methods=["POST"]),
            route(f"{DROIDS}/accounts", self.accounts, scope=Scope.OPERATOR),
            route(f"{DROIDS}/pools", self.pools, scope=Scope.OPERATOR),
            route(ONE, self.droid, scope=Scope.OPERATOR),
            route(f"{ONE}/active", self.command, scope=Scope.OPERATOR, methods=["PATCH"]),
            route(f"{ONE}/config", self.configure, scope=Scope.ADMIN, methods=["PATCH"]),
            route(f"{ONE}/history", self.history, scope=Scope.OPERATOR),
            route(f"{ONE}/decisions", self.decisions, scope=Scope.OPERATOR),
            route(f"{ONE}/plan", self.plan, scope=Scope.OPERATOR),
            route(f"{ONE}/estimate", self.estimate, scope=Scope.OPERATOR),
        ]

    async def droids(self, request: Request) -> Response:
        """All droids."""
        refuse_unknown(request, frozenset())
        rows = await records.droids(self._pool)
        return _answer(DroidList([DroidOf.of(row, self._chain(row.chain_id)) for row in rows]))

    async def create(self, request: Request) -> Response:
        """Make a droid, paused: what it would do can be looked at before it runs."""
        refuse_unknown(request, frozenset())
        given = await object_of(request)
        where: dict[str, Any] = {name: given.pop(name) for name in WHERE if name in given}
        faults: list[str] = []
        droid = _droid(given, faults)
        place, account = await self._places(where, faults)
        if droid is not None and place is not None and place.market is not None:
            faults += _unfit(droid, place)
        if faults or droid is None or place is None or account is None:
            raise _invalid(faults)
        made = await commands.create(
            self._pool, droid, account_id=account.account_id, pool_id=place.pool_id, by=self._by(request)
        )
        return _answer(Created(made))

    async def accounts(self, request: Request) -> Response:
        """The wallets that droids may use."""
        refuse_unknown(request, frozenset())
        rows = await records.accounts(self._pool)
        return _answer(AccountList([AccountOf.of(row, self._chain(row.chain_id)) for row in rows]))

    async def pools(self, request: Request) -> Response:
        """The pools that droids may be in."""
        refuse_unknown(request, frozenset())
        rows = await records.pools(self._pool)
        return _answer(PoolList([PoolOf.of(row, self._chain(row.chain_id)) for row in rows]))

    async def droid(self, request: Request) -> Response:
        """One droid, its newest sessions, and its bots."""
        refuse_unknown(request, frozenset())
        row = await self._one(request)
        place = await self._pool_of(row)
        sessions = await records.sessions(self._pool, row.droid_id, SESSIONS)
        bots = await records.bots(self._pool, row.droid_id)
        return _answer(
            DroidDetail(
                DroidOf.of(row, self._chain(row.chain_id)), [SessionOf.of(each) for each in sessions],
                [BotOf.of(each, place.market) for each in bots],
            )
        )  # fmt: skip

    async def command(self, request: Request) -> Response:
        """Pause (0), run (1), reset (2) or close (3) a droid; the last two are an ADMIN's."""
        refuse_unknown(request, frozenset())
        droid_id = _id(request)
        active = _active(await object_of(request))
        role = caller_of(request, SignedIn).person.role
        if active in (Command.RESET, Command.CLOSE) and role is not Role.ADMIN:
            raise Forbidden(f"active: expected 0 or 1 of an {role}, {active:d} is an ADMIN's to say")
        try:
            await commands.command(self._pool, droid_id, active, by=self._by(request), role=role)
        except NoSuchDroid as error:
            raise NotFound(f"id: {error}") from None
        except BadDroid as error:
            raise _invalid(error.faults) from None
        except (Overruled, Taken) as error:
            raise Conflict(str(error)) from None
        return _answer(Commanded(droid_id, int(active)))

    async def configure(self, request: Request) -> Response:
        """Change some of a droid's fields; they count from its next decision on."""
        refuse_unknown(request, frozenset())
        droid_id = _id(request)
        changes = await object_of(request)
        if not changes:
            raise BadRequest(f"body: expected at least one of {', '.join(CHANGEABLE)}")
        try:
            droid = await commands.configure(self._pool, droid_id, changes, self._by(request))
        except NoSuchDroid as error:
            raise NotFound(f"id: {error}") from None
        except BadDroid as error:
            raise _invalid(error.faults) from None
        except Overruled as error:
            raise Conflict(str(error)) from None
        return _answer(Configured.of(droid_id, droid))

    async def history(self, request: Request) -> Response:
        """What a droid was worth, newest first."""
        limit, before = _page(request)
        row = await self._one(request)
        found = await records.snapshots(self._pool, row.droid_id, limit + 1, before=before)
        market = (await self._pool_of(row)).market
        if found and market is None:
            raise NotCovered(f"pool_not_read: the worker has not read the contract of pool {row.pool_id} yet")
        rows = [SnapshotOf.of(each, market) for each in found[:limit]] if market else []
        return _answer(History(rows, rows[-1].id if len(found) > limit else None))

    async def decisions(self, request: Request) -> Response:
        """What a droid decided, and why, newest first."""
        limit, before = _page(request)
        row = await self._one(request)
        found = await records.decisions(self._pool, row.droid_id, limit + 1, before=before)
        rows = [DecisionOf.of(each) for each in found[:limit]]
        return _answer(Decisions(rows, rows[-1].id if len(found) > limit else None))

    async def plan(self, request: Request) -> Response:
        """What a droid would do now, what that would cost, and what it would be worth before and after."""
        refuse_unknown(request, frozenset())
        row = await self._one(request)
        return _answer(await self._outlook.plan(row, await self._pool_of(row), self._chain(row.chain_id)))

    async def estimate(self, request: Request) -> Response:
        """How often a droid would have moved in the pool's last days, and what of it would have become."""
        refuse_unknown(request, frozenset({"days"}))
        days = integer(given(request), "days", default=DAYS, low=1, high=MOST_DAYS)
        row = await self._one(request)
        place = await self._pool_of(row)
        return _answer(await self._outlook.estimate(row, place, self._chain(row.chain_id), days))

    async def _one(self, request: Request) -> DroidRow:
        droid_id = _id(request)
        found = await records.one(self._pool, droid_id)
        if found is None:
            raise NotFound(f"id: no droid {droid_id}")
        return found

    async def _pool_of(self, row: DroidRow) -> PoolRow:
        return next(each for each in await records.pools(self._pool) if each.pool_id == row.pool_id)

    async def _places(self, where: Mapping[str, Any], faults: list[str]) -> tuple[PoolRow | None, AccountRow | None]:
        """Return the pool and the account that a new droid names; say what is wrong with them in `faults`."""
        pools = {row.pool_id: row for row in await records.pools(self._pool)}
        place = pools.get(_whole(where, "poolId", pools, faults))
        chains = list(self._chains.values()) if place is None else [self._chain(place.chain_id)]
        if "blockChain" in where and where["blockChain"] not in chains:
            listed = ", ".join(chains) + ("" if place is None else f", the chain of pool {place.pool_id}")
            faults.append(f"blockChain: expected {listed}, found {shown(where['blockChain'])}")
        rows = await records.accounts(self._pool)
        accounts = {row.account_id: row for row in rows if place is None or row.chain_id == place.chain_id}
        if "accountId" not in where and (place is None or len(accounts) == 1):
            return place, next(iter(accounts.values()), None)
        return place, accounts.get(_whole(where, "accountId", accounts, faults))

    def _chain(self, chain_id: int) -> str:
        return self._chains.get(chain_id, str(chain_id))

    def _by(self, request: Request) -> By:
        return By(caller_of(request, SignedIn).person.user_id, self._clock.now())


def _droid(given: Mapping[str, Any], faults: list[str]) -> Droid | None:
    try:
        return droid_of(given)
    except BadDroid as error:
        faults += error.faults
        return None


def _unfit(droid: Droid, place: PoolRow) -> tuple[str, ...]:
    assert place.market is not None, "asked only where the pool is read"
    try:
        require_fit(droid, place.market)
    except BadDroid as error:
        return error.faults
    return ()


def _whole(where: Mapping[str, Any], name: str, known: Mapping[int, Any], faults: list[str]) -> int:
    """Return an id that is among `known`; 0, which none is, after saying what is wrong."""
    listed = ", ".join(map(str, sorted(known))) or "none, there is none"
    found = where.get(name)
    if isinstance(found, int) and not isinstance(found, bool) and found in known:
        return found
    faults.append(f"{name}: expected one of {listed}, found {shown(found) if name in where else 'none'}")
    return 0


def _active(body: Mapping[str, Any]) -> Command:
    faults = [f"{name}: no such field" for name in body if name != "active"]
    found = body.get("active")
    known = isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= 3
    if not known:
        faults.append(f"active: expected 0, 1, 2 or 3, found {shown(found) if 'active' in body else 'none'}")
    if faults or not isinstance(found, int):
        raise _invalid(faults)
    return Command(found)


def _invalid(faults: "list[str] | tuple[str, ...]") -> Invalid:
    return Invalid("; ".join(faults), {fault.partition(":")[0]: fault.partition(": ")[2] for fault in faults})


def _id(request: Request) -> int:
    text: str = request.path_params["id"]
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > MOST_ID:
        raise BadRequest(f"id: expected a whole number, found {text[:40]!r}")
    return int(text)


def _page(request: Request) -> tuple[int, int | None]:
    refuse_unknown(request, frozenset({"limit", "before"}))
    limit = integer(given(request), "limit", default=PAGE, low=1, high=MOST_PAGE)
    before = integer(given(request), "before", default=0, low=1, high=MOST_ID)
    return limit, before or None


def _answer(body: msgspec.Struct) -> Response:
    return no_store(Response(schemas.encode(body), media_type="application/json"))
