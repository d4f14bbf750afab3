"""The explorer: V1 of the trading app's API (docs/api.md). Bearer `hc_live_…`, envelope {"error", "code"}."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from accounts import tokens
from api import params, schemas
from api.addresses import checksum
from api.errors import BadRequest, NotFound, Unauthorized, Unavailable
from api.readiness import Readiness
from core.store import reader
from core.store.pool import Pool
from core.store.reader import Reader

MAX_PAGE_SIZE: Final = 200
PREFIX: Final = "/api/v1"


class Explorer:
    """Answers for the chains in the database; `default_chain` when asked for none, else the only one."""

    def __init__(
        self,
        pool: Pool,
        readiness: Readiness,
        *,
        default_chain: str,
        native_symbols: Mapping[str, str],
        public_url: str,
    ) -> None:
        self._pool = pool
        self._readiness = readiness
        self._default_chain = default_chain
        self._symbols = native_symbols
        self._public_url = public_url.rstrip("/")
        self._chains: dict[str, int] = {}

    def routes(self) -> list[Route]:
        """Return the group's routes."""
        return [
            Route(f"{PREFIX}/health", self.health),
            Route(f"{PREFIX}/blocks/{{block_number}}", self.block),
            Route(f"{PREFIX}/transactions/address/{{address}}", self.address),
            Route(f"{PREFIX}/transactions/{{hash}}", self.transaction),
            Route(f"{PREFIX}/tokens/{{contract_address}}", self.token),
        ]

    async def health(self, request: Request) -> Response:
        """How far the index is behind the chain; always 200, the verdict is in `status`."""
        _, chain = await self._admit(request)
        lag = await chain.lag()
        return _answer(schemas.Health.of(lag, stale=bool(self._readiness.faults(lag))))

    async def block(self, request: Request) -> Response:
        """One block and its transactions' hashes."""
        _, chain = await self._admit(request)
        number = params.block_number(request.path_params["block_number"])
        if number is None:
            number = (await chain.lag()).number
        found = None if number is None else await chain.block(number)
        if found is None:
            raise await _missing_block(chain, number)
        return _answer(schemas.Block.of(found))

    async def transaction(self, request: Request) -> Response:
        """One transaction in full."""
        symbol, chain = await self._admit(request)
        wanted = params.tx_hash(request.path_params["hash"])
        found = await chain.transaction(wanted)
        if found is None:
            raise NotFound(f"hash: no transaction 0x{wanted.hex()} in {await _covered(chain)}")
        return _answer(schemas.TransactionDetail.of(found, symbol))

    async def token(self, request: Request) -> Response:
        """What a token says of itself."""
        _, chain = await self._admit(request)
        wanted = params.address(request.path_params["contract_address"], "contract_address")
        found = await chain.token(wanted)
        if found is None:
            raise NotFound(f"contract_address: no token transfer of {checksum(wanted)} in {await _covered(chain)}")
        return _answer(schemas.Token.of(found))

    async def address(self, request: Request) -> Response:
        """The transactions of an address, newest first, page by page."""
        symbol, chain = await self._admit(request, "page", "page_size")
        owner = params.address(request.path_params["address"], "address")
        page = params.integer(request, "page", default=1, low=1, high=params.MAX_PAGE)
        size = params.integer(request, "page_size", default=20, low=1, high=MAX_PAGE_SIZE)
        found = await chain.transactions_of(owner, limit=size, offset=(page - 1) * size)
        pages = -(-found.total // size)
        return _answer(
            schemas.Page(
                data=[schemas.Transaction.of(tx, symbol) for tx in found.txs],
                page=page,
                page_size=size,
                total_results=found.total,
                total_pages=pages,
                next_page_url=self._page_url(request, page + 1) if page < pages else None,
                prev_page_url=self._page_url(request, min(page - 1, pages)) if page > 1 and pages else None,
            )
        )

    # -- admission ---------------------------------------------------------------------------------------------------

    async def _admit(self, request: Request, *known: str) -> tuple[str, Reader]:
        """Check key and parameter names; return the native symbol and the reader of the chain that is asked for."""
        await self._authenticate(request)
        params.refuse_unknown(request, frozenset({"chain", *known}))
        name, chain_id = await self._chain(request.query_params.get("chain"))
        return self._symbols.get(name, "ETH"), Reader(self._pool, chain_id)

    async def _authenticate(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or await tokens.authenticate(self._pool, key.strip()) is None:
            raise Unauthorized("authorization: expected Bearer with a valid API token")

    async def _chain(self, asked: str | None) -> tuple[str, int]:
        name = asked if asked is not None else self._default_chain
        if name not in self._chains:
            self._chains = await reader.chains(self._pool)
        if not self._chains:
            raise Unavailable("no chain is indexed yet")
        if asked is None and name not in self._chains:
            name = next(iter(self._chains))
        if name not in self._chains:
            raise BadRequest(f"chain: expected one of {', '.join(self._chains)}, found {name[:40]!r}")
        return name, self._chains[name]

    def _page_url(self, request: Request, page: int) -> str:
        base = self._public_url or str(request.base_url).rstrip("/")
        return f"{base}{request.url.path}?{urlencode({**request.query_params, 'page': page})}"


def _answer(body: msgspec.Struct) -> Response:
    return Response(schemas.encode(body), media_type="application/json")


async def _missing_block(chain: Reader, number: int | None) -> NotFound:
    if number is None:
        return NotFound("block_number: nothing is indexed yet")
    return NotFound(f"block_number: {number} is not indexed; {await _covered(chain)}")


async def _covered(chain: Reader) -> str:
    """Say what is indexed: outside of it, missing means nothing."""
    ranges = await chain.coverage()
    if not ranges:
        return "the index, which is empty so far"
    shown = ", ".join(str(span) for span in ranges[-5:])
    return f"indexed blocks {'… ' if len(ranges) > 5 else ''}{shown}"
