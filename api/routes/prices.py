"""Prices of tokens over HTTP: at a block, and as candles."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from api import candles, params, schemas
from api.access import Scope, route
from api.addresses import checksum
from api.errors import NotFound
from api.prices import NATIVE_DECIMALS, Prices, TokenPrice, of_whole
from api.routes.explorer import PREFIX
from core.store import ticks
from core.store.pool import Pool, translated
from core.store.reader import Reader, snapshot
from core.store.transactions import StoredToken
from prices.pricer import Pricer

NATIVE: Final = bytes(20)  # the zero address stands for the native coin, as in vaults

Named = Callable[[HTTPConnection, Sequence[str]], Awaitable[tuple[str, int]]]


class PriceRoutes:
    """Answers about prices; `named` says which chain a request asks for."""

    def __init__(self, pool: Pool, prices: Prices, named: Named) -> None:
        self._pool = pool
        self._prices = prices
        self._named = named

    def routes(self) -> list[Route]:
        """Return the group's routes."""
        endpoints = {"/tokens/{contract_address}/price": self.price, "/prices/candles": self.candles}
        return [route(PREFIX + path, endpoint, scope=Scope.API_KEY) for path, endpoint in endpoints.items()]

    @staticmethod
    def described() -> dict[str, tuple[str, type[msgspec.Struct], Sequence[str]]]:
        """Return what each path answers and which query parameters it takes."""
        return {
            "/tokens/{contract_address}/price": ("What a token was worth in USD", TokenPrice, ("at", "chain")),
            "/prices/candles": (
                "What a pool's price did",
                candles.Candles,
                (*candles.PARAMETERS, "chain"),
            ),
        }

    async def price(self, request: Request) -> Response:
        """What a token was worth at the end of a block; the zero address stands for the native coin."""
        name, chain_id = await self._named(request, ("at",))
        wanted = params.address(request.path_params["contract_address"], "contract_address")
        at = _at(request)
        found = await Reader(self._pool, chain_id).token(wanted) or StoredToken(wanted)
        with translated():
            async with snapshot(self._pool) as conn:
                block = await ticks.block_at(conn, chain_id, at)
        if block is None:
            raise NotFound(f"at: {request.query_params.get('at', 'the newest block')} is not indexed")
        values = await self._prices.at(name, chain_id, block, None if wanted == NATIVE else wanted)
        (price,) = values.found.values()
        if wanted == NATIVE:
            info = values.info(price, NATIVE_DECIMALS)
        else:
            info = values.info(of_whole(price, found), found.decimals or 0)
        return _answer(TokenPrice(checksum(wanted), found.symbol, info))

    async def candles(self, request: Request) -> Response:
        """Open, high, low, close and volume of a pool, by spans of time."""
        name, chain_id = await self._named(request, candles.PARAMETERS)
        pricer: Pricer | None = self._prices.pricer(name, chain_id)
        return _answer(await candles.answer(request, self._pool, chain_id, pricer))


def _at(request: Request) -> int | datetime | None:
    """Return the block number or the time that is asked for."""
    text = request.query_params.get("at")
    if text is not None and text.isascii() and text.isdigit():
        return params.optional_block(params.given(request), "at")
    return params.moment(params.given(request), "at")


def _answer(body: msgspec.Struct) -> Response:
    return Response(schemas.encode(body), media_type="application/json")
