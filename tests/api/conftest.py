"""The API's application in this process, on a database that tests fill with made-up blocks."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx
import pytest

from accounts import tokens
from api.access import Gate, Scope, anybody
from api.app import application
from api.credentials import ApiKeys
from api.limits import Budget, RateLimiter
from api.prices import Prices
from api.readiness import Readiness
from api.routes import description
from api.routes.explorer import Explorer
from api.routes.operations import probes, status_page
from api.routes.prices import PriceRoutes
from core.metrics import Metrics
from core.store.derived import Derived
from core.store.pg import PgStore
from core.store.pool import Pool, open_pool
from indexer.decode.tables import TransferTable
from prices.routes import Venue
from tests.api.people import Town, town
from tests.api.streams import House, streaming

CHAIN = 31_337
BASE = "http://api.test"


@dataclass(frozen=True)
class Bench:
    """An empty index of one chain called `main`, and a client with a valid token."""

    pool: Pool
    store: PgStore
    token: str
    client: httpx.AsyncClient

    async def get(self, path: str, status: int = 200) -> httpx.Response:
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer

    async def refused(self, path: str, status: int = 400) -> str:
        """The message of an answer that is an error; its envelope is checked."""
        body = (await self.get(path, status)).json()
        assert set(body) == {"error", "code"}
        assert body["code"] == str(status)
        return str(body["error"])


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections of the owner, as the indexer and the command line have them."""
    async with open_pool(database_url, size=2) as pool:
        yield pool


@pytest.fixture
async def api_pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections with the rights of the API and no others."""
    async with open_pool(database_url, role="chainworkd_api", size=3, statement_timeout_s=5) as pool:
        yield pool


@pytest.fixture
async def wide_pool(database_url: str) -> AsyncIterator[Pool]:
    """The API's rights on as many connections as the API has."""
    async with open_pool(database_url, role="chainworkd_api", size=8, statement_timeout_s=30) as pool:
        yield pool


@pytest.fixture
async def people(wide_pool: Pool) -> AsyncIterator[Town]:
    """The daemon's own API, with nobody in it yet."""
    async with town(wide_pool) as made:
        yield made


@pytest.fixture
async def bench(pool: Pool, api_pool: Pool) -> AsyncIterator[Bench]:
    tables: list[Derived] = [TransferTable(lambda *_: None)]
    store = PgStore(pool, CHAIN, derived=tables)
    await store.register("main", None)
    token = await tokens.issue(pool, "test")
    async with client_of(api_pool, token) as client:
        yield Bench(pool, store, token, client)


def client_of(
    pool: Pool,
    token: str = "",
    *,
    public_url: str = "",
    rate_limit: str = "",
    venues: Mapping[str, Venue] | None = None,
) -> httpx.AsyncClient:
    """A client of the application; a defect in it becomes an answer, as behind a real server."""
    readiness = Readiness(pool, chains=(), ready_lag_s=60, silence_s=120)
    metrics = Metrics()
    prices = Prices(pool, venues or {})
    explorer = Explorer(
        pool, readiness, default_chain="main", native_symbols={"main": "ETH"}, public_url=public_url, prices=prices
    )  # fmt: skip
    priced = PriceRoutes(pool, prices, explorer.named).routes()
    routes = [
        *explorer.routes(),
        *priced,
        *description.routes(),
        *probes(metrics, readiness),
        *status_page(pool, readiness, prices.native),
    ]
    keys = ApiKeys(pool, RateLimiter(Budget(rate_limit)))
    gate = Gate({Scope.API_KEY: keys.check, Scope.PUBLIC: anybody, Scope.OPERATIONS: anybody})
    transport = httpx.ASGITransport(app=application(routes, metrics, gate=gate), raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)


@pytest.fixture
async def house(pool: Pool, api_pool: Pool) -> AsyncIterator[House]:
    """A real server of streams."""
    async with streaming(pool, api_pool) as house:
        yield house
