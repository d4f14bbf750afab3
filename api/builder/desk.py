"""Requests to transactions: the one place behind HTTP and WebSocket alike."""

from decimal import Decimal
from typing import Any, Final

import msgspec

from api.builder import bodies
from api.builder.answers import BalanceResponse, CallSummary, TransactionResponse, shown
from api.builder.chain import ChainView, unsigned
from api.builder.delegated import DELEGATED_OFF
from api.builder.fields import address
from api.builder.generation import GenerationWatch
from api.builder.refusals import invalid
from api.errors import BadAddress, BadRequest, SwitchedOff
from builders.ostium import calldata
from builders.ostium.actions import Action, Deployment, EditLimit, Generation, SetTakeProfit
from builders.ostium.scale import USD, fixed
from builders.ostium.summary import summary

ACTIONS: Final = frozenset(bodies.READERS)
NO_NODE: Final = "this needs the chain, and no node is configured (builder.rpc_url)"

_decoder: Final = msgspec.json.Decoder(float_hook=Decimal)  # a number's text becomes a Decimal, never a float


class Desk:
    """Builds for one deployment. Without `chain` only what needs no chain; the rest is SwitchedOff."""

    def __init__(self, on: Deployment, generation: GenerationWatch, chain: ChainView | None) -> None:
        self._on = on
        self._generation = generation
        self._chain = chain

    async def exchange(
        self, action: str, trader: bytes, body: Any, *, delegated: bool = False, simulate: bool = False
    ) -> TransactionResponse:
        """Return the transactions that `body` asks for; `action` is one of ACTIONS. Raises ApiError."""
        generation = await self._generation.ready()
        draft = _read(action, body, generation)
        if delegated:
            if len(draft.actions) > 1:
                raise BadRequest("delegated mode: expected one action per request")
            raise SwitchedOff(DELEGATED_OFF)
        actions = [await self._completed(each, trader, generation) for each in draft.actions]
        calls = [calldata.call(each, self._on, trader, generation) for each in actions]
        answer = TransactionResponse(
            transactions=[unsigned(call, trader) for call in calls],
            summary=[CallSummary.of(summary(call.data)) for call in calls],
            warnings=[f"{path}: no such field, ignored" for path in draft.warnings],
        )
        if simulate:
            answer.simulation = await self._with_chain().simulate(trader, actions, calls)
        return answer

    async def balance(self, trader: bytes) -> BalanceResponse:
        """Return an account's USDC. Raises SwitchedOff without a node."""
        found = await self._with_chain().balance(trader)
        return BalanceResponse(shown(trader), "USDC", USD, str(found), fixed(found, USD))

    async def _completed(self, action: Action, trader: bytes, generation: Generation) -> Action:
        match action:
            case EditLimit(take_profit=None) | EditLimit(stop_loss=None):
                return await self._with_chain().completed(action, trader, generation)
            case SetTakeProfit(price=0) if generation is Generation.V3:
                return await self._with_chain().completed(action, trader, generation)
            case _:
                return action

    def _with_chain(self) -> ChainView:
        if self._chain is None:
            raise SwitchedOff(NO_NODE)
        return self._chain


def parsed(body: bytes | str) -> Any:
    """Return the JSON value of a body, numbers exact. Raises BadRequest."""
    if not body:
        raise BadRequest("body: expected JSON, found nothing")
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError):
        raise BadRequest("Invalid JSON payload") from None


def trader_of(header: str | None, query: str | None) -> bytes:
    """Return who trades: the header's address, else the query's; one that is no address is refused even if unused."""
    found = None
    for name, text in (("X-Trader-Address", header), ("address", query)):
        if text is None:
            continue
        one = address(text.strip())
        if one is None:
            raise BadAddress(f"{name}: expected 0x and 40 hex digits, found {text[:60]!r}")
        found = found or one
    if found is None:
        raise BadRequest("X-Trader-Address: expected the trader's address in this header or in ?address=, found none")
    return found


def _read(action: str, body: Any, generation: Generation) -> bodies.Draft:
    try:
        return bodies.read(action, body, generation)
    except bodies.Invalid as error:
        raise invalid(error.faults) from None
