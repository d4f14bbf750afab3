"""The explorer: V1 of the trading app's API (docs/api.md). Bearer `hc_live_…`, envelope {"error", "code"}."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from api import deposits, listings, params, reorgs, schemas
from api.access import Scope, route
from api.addresses import checksum
from api.errors import BadRequest, NotFound, Unavailable
from api.prices import Prices
from api.readiness import Readiness
from core.store import reader
from core.store.deposits import Deposits
from core.store.pool import Pool
from core.store.reader import Reader
from core.store.reorgs import Reorgs, StoredReorg

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
        prices: Prices,
    ) -> None:
        self._pool = pool
        self._prices = prices
        self._readiness = readiness
        self._default_chain = default_chain
        self._symbols = native_symbols
        self._public_url = public_url.rstrip("/")
        self._chains: dict[str, int] = {}
        self._readers: dict[int, Reader] = {}

    def routes(self) -> list[Route]:
        """Return the group's routes."""
        endpoints = {
            "/health": self.health,
            "/blocks/{block_number}": self.block,
            "/transactions": self.transactions,
            "/transactions/address/{address}": self.address,
            "/transactions/{hash}": self.transaction,
            "/tokens/{contract_address}": self.token,
            "/vault/deposits": self.deposits,
            "/vault/deposits/{id}": self.deposit,
            "/reorgs": self.reorgs,
            "/reorgs/{id}": self.reorg,
            "/reorgs/{id}/blocks": self.orphaned_blocks,
            "/reorgs/{id}/transactions": self.orphaned_transactions,
        }
        return [route(PREFIX + path, endpoint, scope=Scope.API_KEY) for path, endpoint in endpoints.items()]

    @staticmethod
    def described() -> dict[str, tuple[str, type[msgspec.Struct], Sequence[str]]]:
        """Return what each path answers and which query parameters it takes."""
        listing = (*listings.FILTERS, *listings.PAGING, "chain")
        return {
            "/health": ("How far the index is behind the chain", schemas.Health, ("chain",)),
            "/blocks/{block_number}": ("A block and its transactions' hashes", schemas.Block, ("chain",)),
            "/transactions": ("Transactions that pass filters", schemas.Page, ("address", *listing)),
            "/transactions/address/{address}": ("Transactions of an address", schemas.Page, listing),
            "/transactions/{hash}": ("One transaction", schemas.TransactionDetail, ("chain",)),
            "/tokens/{contract_address}": ("What a token says of itself", schemas.Token, ("chain",)),
            "/vault/deposits": (
                "SignedVault deposits that pass filters, and their totals",
                deposits.DepositList,
                (*deposits.FILTERS, *deposits.PAGING, "chain"),
            ),
            "/vault/deposits/{id}": ("One deposit, orphaned or not", deposits.Deposit, ("chain",)),
            "/reorgs": ("Blocks that the chain no longer has, and why", reorgs.ReorgList, (*reorgs.PAGING, "chain")),
            "/reorgs/{id}": ("One reorg", reorgs.Reorg, ("chain",)),
            "/reorgs/{id}/blocks": ("Its blocks", reorgs.OrphanedBlockList, (*reorgs.INSIDE_PAGING, "chain")),
            "/reorgs/{id}/transactions": (
                "Its transactions",
                reorgs.OrphanedTransactionList,
                (*reorgs.INSIDE_PAGING, "chain"),
            ),
        }

    async def health(self, request: Request) -> Response:
        """How far the index is behind the chain; always 200, the verdict is in `status`."""
        _, chain = await self._admit(request)
        lag = await chain.lag()
        known, quarantined = await chain.completeness()
        return _answer(schemas.Health.of(lag, known, quarantined, stale=bool(self._readiness.stale(lag))))

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
        name, chain_id = await self.named(request, ())
        chain = self._reader(chain_id)
        wanted = params.tx_hash(request.path_params["hash"])
        found = await chain.transaction(wanted)
        if found is None:
            raise NotFound(f"hash: no transaction 0x{wanted.hex()} in {await _covered(chain)}")
        values = await self._prices.values(name, chain_id, [found])
        return _answer(schemas.TransactionDetail.of(found, self._symbol(name), values))

    async def token(self, request: Request) -> Response:
        """What a token says of itself."""
        _, chain = await self._admit(request)
        wanted = params.address(request.path_params["contract_address"], "contract_address")
        found = await chain.token(wanted)
        if found is None:
            raise NotFound(f"contract_address: no token transfer of {checksum(wanted)} in {await _covered(chain)}")
        return _answer(schemas.Token.of(found))

    async def transactions(self, request: Request) -> Response:
        """Transactions that pass the filters, newest first unless asked otherwise."""
        return await self._listed(request, params.optional_address(params.given(request), "address"), "address")

    async def address(self, request: Request) -> Response:
        """The transactions of an address."""
        return await self._listed(request, params.address(request.path_params["address"], "address"))

    async def _listed(self, request: Request, owner: bytes | None, *known: str) -> Response:
        name, chain_id = await self.named(request, (*known, *listings.FILTERS, *listings.PAGING))
        style = listings.Style(self._symbol(name), self._public_url)
        valued = partial(self._prices.values, name, chain_id)
        return _answer(await listings.answer(request, self._reader(chain_id), owner, style, valued))

    async def deposits(self, request: Request) -> Response:
        """Vault deposits that pass the filters, newest first unless asked otherwise."""
        symbol, chain_id = await self._admitted(request, *deposits.FILTERS, *deposits.PAGING)
        style = listings.Style(symbol, self._public_url)
        return _answer(await deposits.answer(request, Deposits(self._pool, chain_id), style))

    async def deposit(self, request: Request) -> Response:
        """One vault deposit."""
        symbol, chain_id = await self._admitted(request)
        place = params.log_place(request.path_params["id"], "id")
        found = await Deposits(self._pool, chain_id).find(place)
        if found is None:
            covered = await _covered(self._reader(chain_id))
            raise NotFound(f"id: no deposit {deposits.id_of(place)} into a watched vault in {covered}")
        return _answer(deposits.Deposit.of(found, symbol))

    async def reorgs(self, request: Request) -> Response:
        """Reorgs, newest first unless asked otherwise."""
        symbol, chain_id = await self._admitted(request, *reorgs.PAGING)
        style = listings.Style(symbol, self._public_url)
        return _answer(await reorgs.listed(request, Reorgs(self._pool, chain_id), style))

    async def reorg(self, request: Request) -> Response:
        """One reorg."""
        _, chain_id = await self._admitted(request)
        return _answer(reorgs.Reorg.of(await _archived(request, Reorgs(self._pool, chain_id))))

    async def orphaned_blocks(self, request: Request) -> Response:
        """The blocks of a reorg."""
        symbol, chain_id = await self._admitted(request, *reorgs.INSIDE_PAGING)
        archive, style = Reorgs(self._pool, chain_id), listings.Style(symbol, self._public_url)
        return _answer(await reorgs.blocks(request, archive, await _archived(request, archive), style))

    async def orphaned_transactions(self, request: Request) -> Response:
        """The transactions of a reorg."""
        symbol, chain_id = await self._admitted(request, *reorgs.INSIDE_PAGING)
        archive, style = Reorgs(self._pool, chain_id), listings.Style(symbol, self._public_url)
        return _answer(await reorgs.transactions(request, archive, await _archived(request, archive), style))

    # -- admission ---------------------------------------------------------------------------------------------------

    async def _admit(self, request: Request, *known: str) -> tuple[str, Reader]:
        """Check as `_admitted`; return the native symbol and the reader of the chain that is asked for."""
        symbol, chain_id = await self._admitted(request, *known)
        return symbol, self._reader(chain_id)

    def _reader(self, chain_id: int) -> Reader:
        """Return the one reader of a chain: it answers together what is asked at the same time."""
        if chain_id not in self._readers:
            self._readers[chain_id] = Reader(self._pool, chain_id)
        return self._readers[chain_id]

    async def _admitted(self, request: Request, *known: str) -> tuple[str, int]:
        """Check as `named`; return native symbol and id of the chain that is asked for."""
        name, chain_id = await self.named(request, known)
        return self._symbol(name), chain_id

    def _symbol(self, name: str) -> str:
        return self._symbols.get(name, "ETH")

    async def named(self, request: HTTPConnection, known: Sequence[str]) -> tuple[str, int]:
        """Return name and id of the chain that is asked for. Raises BadRequest, also for parameters not in `known`."""
        params.refuse_unknown(request, frozenset({"chain", *known}))
        return await self._chain(params.given(request).get("chain"))

    async def _chain(self, asked: str | None) -> tuple[str, int]:
        name = asked if asked is not None else self._default_chain
        if not self._chains or (name and name not in self._chains):
            self._chains = await reader.chains(self._pool)
        if not self._chains:
            raise Unavailable("no chain is indexed yet")
        if asked is None and name not in self._chains:
            name = next(iter(self._chains))
        if name not in self._chains:
            raise BadRequest(f"chain: expected one of {', '.join(self._chains)}, found {name[:40]!r}")
        return name, self._chains[name]


def _answer(body: msgspec.Struct) -> Response:
    return Response(schemas.encode(body), media_type="application/json")


async def _archived(request: Request, archive: Reorgs) -> StoredReorg:
    text = request.path_params["id"]
    found = await archive.find(reorgs.place_of(text, "id"))
    if found is None:
        raise NotFound(f"id: no reorg {text} in the archive")
    return found


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
    only = "" if await chain.watched() is None else ", of which only transactions of watched addresses are stored"
    return f"indexed blocks {'… ' if len(ranges) > 5 else ''}{shown}{only}"
