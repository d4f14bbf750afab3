"""What building sometimes needs of the chain: orders and trades as they are, balances, and a rehearsal.

Everything is read at one block. Whatever goes wrong on the way is Unavailable to the caller, and the pure part goes on.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from api.builder.answers import (
    AllowanceHint,
    ContractError,
    PairRules,
    SimulatedTransaction,
    Simulation,
    UnsignedTransaction,
    shown,
)  # fmt: skip
from api.errors import NotFound, Unavailable
from builders.call import Call
from builders.ostium import calldata, reads
from builders.ostium.actions import (
    Action,
    AddCollateral,
    Approve,
    Close,
    Deployment,
    EditLimit,
    Generation,
    Open,
    RemoveCollateral,
    SetTakeProfit,
)  # fmt: skip
from builders.ostium.reads import PairLimits, Target
from builders.ostium.reverts import revert
from builders.ostium.scale import LEVERAGE, USD, plain
from core.errors import Transient
from core.hex import to_hex
from core.rpc.caller import Caller
from core.rpc.state import Outcome, RpcState
from core.types import ZERO_ADDRESS, BlockRef

log = logging.getLogger(__name__)

PAIRS: Final = "pairsStorage"  # its name in the registry


class ChainView:
    """Reads one deployment through one node. Raises Unavailable when the node does not answer within `deadline_s`."""

    def __init__(self, on: Deployment, state: RpcState, caller: Caller, *, deadline_s: float = 5.0) -> None:
        self._on = on
        self._state = state
        self._caller = caller
        self._deadline_s = deadline_s
        self._known = False
        self._pairs: bytes | None = None

    async def completed(self, action: Action, trader: bytes, generation: Generation) -> Action:
        """Return `action` with what only the chain knows. Raises NotFound where there is no such trade or order."""
        match action:
            case EditLimit(take_profit=None) | EditLimit(stop_loss=None):
                return await self._kept(action, trader)
            case SetTakeProfit(price=0) if generation is Generation.V3:
                return await self._farthest(action, trader)
            case _:
                return action

    async def balance(self, owner: bytes) -> int:
        """Return an account's USDC in base units."""
        async with self._asking():
            (found,) = await self._read([reads.balance(self._on, owner)], await self._head())
            return reads.word(found or b"", 0)

    async def simulate(self, trader: bytes, actions: Sequence[Action], calls: Sequence[Call]) -> Simulation:
        """Return how each call would end as the next transaction, and what the contracts allow."""
        async with self._asking():
            at = await self._head()
            pairs = sorted({pair for action in actions if (pair := getattr(action, "pair", None)) is not None})
            limits = await self._limits(pairs, at)
            facts = await self._read([*reads.state(self._on), reads.allowance(self._on, trader)], at)
            paused, done, most, allowed = (reads.word(fact or b"", 0) for fact in facts)
            outcomes = [await self._state.call_as(trader, call.to or ZERO_ADDRESS, call.data, at) for call in calls]
        return Simulation(
            block_number=at.number, block_hash=to_hex(at.hash), is_paused=bool(paused), is_done=bool(done),
            max_collateral=plain(most, USD), allowance=self._allowance(trader, allowed, _required(actions, limits)),
            pairs=[_rules(pair, of) for pair, of in limits.items()], transactions=[_ended(each) for each in outcomes],
        )  # fmt: skip

    async def _kept(self, action: EditLimit, trader: bytes) -> EditLimit:
        """Fill in the take profit or stop loss that the order has: the contract overwrites both."""
        async with self._asking():
            asked = reads.limit_order(self._on, trader, action.pair, action.index)
            (found,) = await self._read([asked], await self._head())
            order = None if found is None else reads.read_limit_order(found)
        if order is None or order.leverage == 0:
            raise NotFound(f"i: {shown(trader)} has no limit order {action.index} on pair {action.pair}")
        return replace(
            action,
            take_profit=order.take_profit if action.take_profit is None else action.take_profit,
            stop_loss=order.stop_loss if action.stop_loss is None else action.stop_loss,
        )

    async def _farthest(self, action: SetTakeProfit, trader: bytes) -> SetTakeProfit:
        """Turn a take profit of 0, "the default", into the farthest one there is: the contract refuses a plain 0."""
        async with self._asking():
            place = (self._on, trader, action.pair, action.index)
            trade, info = await self._read([reads.trade(*place), reads.trade_info(*place)], await self._head())
            found = None if trade is None else reads.read_trade(trade)
            if found is not None and found.leverage:
                initial = 0 if info is None else reads.read_initial_leverage(info)
                return replace(action, price=reads.maximum_take_profit(found, initial))
        raise NotFound(f"i: {shown(trader)} has no open trade {action.index} on pair {action.pair}")

    async def _limits(self, pairs: Sequence[int], at: BlockRef) -> dict[int, PairLimits]:
        if not pairs:
            return {}
        where = await self._pairs_storage(at)
        asked = [reads.pair_limits(where, pair) for pair in pairs]
        answers = await self._read([target for part in asked for target in part], at)
        size = len(asked[0])
        return {
            pair: reads.read_pair_limits(tuple(answers[place * size : (place + 1) * size]))
            for place, pair in enumerate(pairs)
        }

    async def _pairs_storage(self, at: BlockRef) -> bytes:
        if self._pairs is None:
            (registry,) = await self._read([reads.registry(self._on)], at)
            target = reads.registered(reads.read_address(registry or b""), PAIRS)
            (found,) = await self._read([target], at)
            self._pairs = reads.read_address(found or b"")
        return self._pairs

    def _allowance(self, trader: bytes, current: int, required: int) -> AllowanceHint:
        short = current < required
        approve = calldata.call(Approve(required), self._on, trader, Generation.V3)
        return AllowanceHint(
            spender=shown(self._on.storage), current=plain(current, USD), required=plain(required, USD),
            sufficient=not short, approve_tx=unsigned(approve, trader) if short else None,
        )  # fmt: skip

    async def _read(self, targets: Sequence[Target], at: BlockRef) -> list[bytes | None]:
        return await self._caller.call(targets, at)

    async def _head(self) -> BlockRef:
        if not self._known:
            found = await self._state.chain_id()
            if found != self._on.chain_id:
                log.error("wrong node", extra={"chain_id": found, "expected": self._on.chain_id})
                raise Unavailable(f"the configured node serves chain {found}, expected {self._on.chain_id}")
            self._known = True
        return await self._state.head()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_s):
                yield
        except (Transient, TimeoutError, ValueError) as error:
            # ValueError: an answer that is too short, as from an address without the contract.
            log.warning("node did not help", extra={"why": str(error) or "no answer in time"})
            self._pairs = None
            raise Unavailable(f"the node of chain {self._on.chain_id} did not answer as expected; try again") from None


def unsigned(call: Call, trader: bytes) -> UnsignedTransaction:
    """Return a call as a transaction for `trader` to sign."""
    assert call.to is not None, "a builder never creates contracts"
    return UnsignedTransaction(shown(call.to), "0x" + call.data.hex(), str(call.value), shown(trader))


def _required(actions: Sequence[Action], limits: dict[int, PairLimits]) -> int:
    """Return the USDC that the contracts would take from the trader's account."""
    total = 0
    for action in actions:
        match action:
            case Open(collateral=amount) | AddCollateral(amount=amount):
                total += amount
            case Close(pair=pair) | RemoveCollateral(pair=pair):
                # The oracle's fee is taken from the account, not from the collateral.
                total += limits[pair].oracle_fee
            case _:
                pass
    return total


def _rules(pair: int, of: PairLimits) -> PairRules:
    return PairRules(
        pair_index=pair, listed=of.listed, min_leverage=plain(of.min_leverage, LEVERAGE),
        max_leverage=plain(of.max_leverage, LEVERAGE),
        overnight_max_leverage=plain(of.overnight_max_leverage, LEVERAGE) if of.overnight_max_leverage else None,
        min_position=plain(of.min_position, USD), oracle_fee=plain(of.oracle_fee, USD),
    )  # fmt: skip


def _ended(of: Outcome) -> SimulatedTransaction:
    if of.ok:
        return SimulatedTransaction(True, None)
    why = revert(of.data)
    return SimulatedTransaction(False, ContractError(why.name, to_hex(why.selector), why.arguments, why.meaning))
