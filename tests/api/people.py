"""The API with its people: the daemon's own composition, on a clock that tests turn and with cheap passwords."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from argon2 import PasswordHasher
from starlette.applications import Starlette

from accounts import people
from accounts.audit import COMMAND_LINE, By
from accounts.passwords import Passwords
from accounts.roles import Role
from api.app import application
from api.hub import FactHub
from api.prices import Prices
from api.readiness import Readiness
from core.droid_settings import DroidSettings
from core.metrics import Metrics
from core.settings import ApiSettings, AuthSettings, ChainSettings, Settings
from core.store.pool import Pool
from daemon.builder import builder_of
from daemon.faces import client_face
from daemon.prices import venues
from tests.unit.clocks import FakeClock

SQL_WAITING = """
    select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
"""
HERE = "http://127.0.0.1:8080"
PASSWORD = "mypassword123"
FREE = AuthSettings(client_rate="", account_rate="", register_rate="")


def cheap() -> PasswordHasher:
    """argon2 with the least it can do."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class CountedPasswords(Passwords):
    """Notes against what each password was verified: a real hash or the dummy."""

    def __init__(self, hasher: PasswordHasher) -> None:
        super().__init__(hasher)
        self.verified: list[bool] = []

    def _verify(self, stored: str | None, password: bytes) -> Any:
        self.verified.append(stored is not None)
        return super()._verify(stored, password)


@dataclass
class Town:
    """An application and what it stands on."""

    pool: Pool
    clock: FakeClock
    passwords: CountedPasswords
    settings: Settings
    metrics: Metrics
    app: Starlette
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def client(self, cookies: dict[str, str] | None = None, **headers: str) -> httpx.AsyncClient:
        """A browser of its own, with nothing in its jar."""
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        self.clients.append(httpx.AsyncClient(transport=transport, base_url=HERE, headers=headers, cookies=cookies))
        return self.clients[-1]

    async def person(self, email: str, role: Role = Role.OPERATOR) -> str:
        """Somebody who is approved; their id."""
        by = By(COMMAND_LINE, self.clock.now())
        return (await people.create(self.pool, email, await self.passwords.hash(PASSWORD), role, by)).user_id

    async def signed_in(self, email: str, role: Role = Role.OPERATOR) -> httpx.AsyncClient:
        """A browser of somebody who is approved and has signed in."""
        await self.person(email, role)
        client = self.client()
        assert (await login(client, email)).status_code == 200
        return client

    async def demoted(self, email: str) -> httpx.AsyncClient:
        """A browser whose session outlived its person's role, which only a defect of ours could bring about."""
        client = await self.signed_in(email)
        await self.pool.execute("update accounts.person set role = 'PENDING' where email = $1", email)
        return client


@asynccontextmanager
async def town(
    pool: Pool,
    *,
    auth: AuthSettings = FREE,
    api: ApiSettings | None = None,
    chains: Mapping[str, ChainSettings] | None = None,
    droids: DroidSettings | None = None,
) -> AsyncIterator[Town]:
    """A town without people."""
    settings = Settings(
        auth=auth, api=api or ApiSettings(rate_limit=""), chains=dict(chains or {}), droids=droids or DroidSettings()
    )
    readiness = Readiness(pool, chains=(), ready_lag_s=60, silence_s=120)
    passwords, clock, metrics = CountedPasswords(cheap()), FakeClock(), Metrics()
    async with builder_of(settings, metrics) as built:
        hub = FactHub(pool, metrics.for_streams(), max_streams=1)
        face = client_face(
            settings, pool, readiness, passwords, clock, metrics=metrics, hub=hub, groups=built.groups,
            prices=Prices(pool, venues(settings)),
        )  # fmt: skip
        app = application(face.routes, metrics, gate=face.gate, groups=built.groups)
        made = Town(pool, clock, passwords, settings, metrics, app)
        try:
            yield made
        finally:
            for client in made.clients:
                await client.aclose()
            passwords.close()


@asynccontextmanager
async def writers_held_up(owner: Pool, table: str, at_least: int) -> AsyncIterator[None]:
    """Let everybody read `table` and nobody write it until `at_least` connections wait: all then go at once."""
    async with owner.acquire() as connection, connection.transaction():
        await connection.execute(f"lock table {table} in exclusive mode")
        yield
        async with asyncio.timeout(60):
            # By another connection: within one transaction the view does not change.
            while await owner.fetchval(SQL_WAITING) < at_least:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def login(client: httpx.AsyncClient, email: str, password: str = PASSWORD, **headers: str) -> httpx.Response:
    """Try to sign in."""
    body = {"email": email, "password": password}
    return await client.post("/api/auth/login", json=body, headers=headers)


async def register(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    """Try to register."""
    return await client.post("/api/auth/register", json={"email": email, "password": password})


def refused(answer: httpx.Response, status: int) -> str:
    """The message of an answer that is an error, in the seed's envelope."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "code"}
    assert body["code"] == str(status)
    return str(body["error"])
