"""What a droid sees of the chain: every read of one look is of one block, named by its hash.

Sources: v3-core 1.0.1 (slot0, observe), v3-periphery 1.4.4 (positions, ERC721Enumerable), EIP-1898 (block by hash).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from builders import uniswap_v3
from builders.call import Call, invoke
from builders.liquidity import Amounts
from core.errors import BadAnswer, RpcRefused
from core.hex import from_hex, from_quantity, to_hex, to_quantity
from core.rpc import wire
from core.rpc.client import Rpc, Seat
from core.types import BlockRef
from droids.decide import Spot
from droids.market import Market, Span
from droids.plan import Held, Place
from droids.records import PoolRow

MOST_POSITIONS: Final = 500  # of one wallet; a wallet with more is not one that a droid has to itself
POSITION: Final = ["uint96", *["address"] * 3, "uint24", "int24", "int24", "uint128"]
MINTED: Final = ["uint256", "uint128", "uint256", "uint256"]

_text = msgspec.json.Decoder(str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a look is about. `since_s`: how many seconds of the pool's ticks are wanted, `twap_s` those of the guard.

    `known` are the open positions of the ledger; `last` is the block of the last move that counts.
    """

    market: Market
    place: Place
    pool: bytes
    known: frozenset[int]
    since: int | None
    twap_s: int
    last: BlockRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A pool and a wallet at one block. Amounts are of token0 and token1.

    `ticks` are the sum of the pool's ticks over `seconds`, `twap_tick` is the mean of the guard's; None where the pool
    does not remember that far. `held` are the known positions that are there with their liquidity as the chain has it;
    `gone` those that are not, `strangers` what else of this pool the wallet has. `rooted`: the last move's block is in
    this chain.
    """

    block: BlockRef
    spot: Spot
    ticks: int | None
    seconds: int
    twap_tick: int | None
    idle: Amounts
    allowed: Amounts
    native: int
    held: tuple[Held, ...]
    gone: frozenset[int] = frozenset()
    strangers: tuple[Held, ...] = ()
    rooted: bool = True


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a plan would do at the block of its look: amounts paid to the wallet, and taken for each position opened."""

    paid: Amounts
    opened: tuple[tuple[int, Amounts], ...] = field(default=())


async def facts(client: Rpc, row: PoolRow) -> tuple[tuple[bytes, bytes], Market]:
    """Return the tokens of a pool, and what does not change of it. Raises BadAnswer for what is no such pool."""

    async def ask(seat: Seat) -> tuple[tuple[bytes, bytes], Market]:
        asked = [invoke(row.address, name) for name in ("token0()", "token1()", "fee()", "tickSpacing()")]
        raw = [_answered(each) for each in await _calls(seat, asked, "latest")]
        token0, token1 = raw[0][-20:], raw[1][-20:]
        decimals = await _calls(seat, [invoke(token, "decimals()") for token in (token0, token1)], "latest")
        one, other = (int.from_bytes(_answered(each)) for each in decimals)
        if row.quote not in (token0, token1):
            raise BadAnswer(f"pool 0x{row.address.hex()}: its quote 0x{row.quote.hex()} is none of its tokens")
        market = Market(
            fee=int.from_bytes(raw[2]), spacing=int.from_bytes(raw[3]), decimals0=one, decimals1=other,
            base_is_token0=token1 == row.quote,
        )  # fmt: skip
        return (token0, token1), market

    return await client.answer(ask)


async def look(client: Rpc, asked: Asked) -> Sight:
    """Return what one node says at its newest block. Raises Transient errors."""

    async def ask(seat: Seat) -> Sight:
        head = wire.head(await seat.raw("eth_getBlockByNumber", "latest", False))
        if head is None:
            raise BadAnswer(f"{seat.host}: latest block is null")
        at = {"blockHash": to_hex(head.ref.hash)}
        rooted = await _rooted(seat, asked.last, head.ref)
        state = await _state(seat, asked, at, head.timestamp)
        owned = await _owned(seat, asked, state["count"], at)
        held = await _with_fees(seat, asked, {key: of for key, of in owned.items() if key in asked.known}, at)
        strangers = tuple(
            Held(key, span, liquidity, (0, 0)) for key, (span, liquidity) in owned.items() if key not in asked.known
        )
        return Sight(
            block=head.ref, spot=Spot(head.timestamp, state["sqrt"], state["tick"]), ticks=state["ticks"],
            seconds=state["seconds"], twap_tick=state["twap"], idle=state["idle"], allowed=state["allowed"],
            native=state["native"], held=held, gone=asked.known - owned.keys(), strangers=strangers, rooted=rooted,
        )  # fmt: skip

    try:
        return await client.answer(ask)
    except DecodingError as error:
        raise BadAnswer(f"pool 0x{asked.pool.hex()}: answers that are none of a pool of Uniswap v3: {error}") from error


async def simulate(client: Rpc, place: Place, call: Call, at: BlockRef) -> Simulated | str:
    """Return what a multicall of the position manager would do after a block, or why it would revert."""
    try:
        raw = await client.raw("eth_call", _asked(call, place.wallet), {"blockHash": to_hex(at.hash)})
    except RpcRefused as error:
        if not error.reverted:
            raise
        return f"would revert: {error.message[:200]}"
    try:
        (items,) = decode(["bytes[]"], from_hex(_text.decode(raw)))
        return _outcome(call, items)
    except DecodingError as error:
        raise BadAnswer(f"{client.host}: the simulated multicall's answer: {error}") from error


def _outcome(call: Call, items: Sequence[bytes]) -> Simulated:
    paid, opened = [0, 0], []
    for done, said in zip(uniswap_v3.items(call), items, strict=True):
        if done == uniswap_v3.MINT:
            _, liquidity, amount0, amount1 = decode(MINTED, said)
            opened.append((liquidity, (amount0, amount1)))
        elif done == uniswap_v3.COLLECT:
            paid = [have + more for have, more in zip(paid, decode(["uint256", "uint256"], said), strict=True)]
    return Simulated((paid[0], paid[1]), tuple(opened))


async def _rooted(seat: Seat, last: BlockRef | None, head: BlockRef) -> bool:
    if last is None:
        return True
    if head.number < last.number:
        raise BadAnswer(f"{seat.host}: it is at block {head}, before {last}, in which the last move was mined")
    found = wire.ref(await seat.raw("eth_getBlockByNumber", to_quantity(last.number), False))
    return found == last


async def _state(seat: Seat, asked: Asked, at: Mapping[str, str], now: int) -> dict[str, Any]:
    place, market = asked.place, asked.market
    since = max(0, now - asked.since) if asked.since is not None else 0
    tokens = (place.token0, place.token1)
    calls = [
        invoke(asked.pool, "slot0()"),
        invoke(asked.pool, "observe(uint32[])", [asked.twap_s, 0]),
        invoke(asked.pool, "observe(uint32[])", [since, 0]),
        invoke(place.manager, "balanceOf(address)", place.wallet),
        *(invoke(token, "balanceOf(address)", place.wallet) for token in tokens),
        *(invoke(token, "allowance(address,address)", place.wallet, place.manager) for token in tokens),
    ]
    slot0, twap, ticks, count, *amounts = await _calls(seat, calls, at)
    native = _text.decode(await seat.raw("eth_getBalance", to_hex(place.wallet), at))
    sqrt, tick = decode(["uint160", "int24"], _answered(slot0)[:64])
    if not sqrt or not market.spacing:
        raise BadAnswer(f"pool 0x{asked.pool.hex()}: it has no price")
    whole = [int.from_bytes(_answered(each)) for each in amounts]
    mean = _ticks(twap)
    return {
        "sqrt": sqrt, "tick": tick, "seconds": since, "ticks": _ticks(ticks) if since else None,
        # Rounded down as OracleLibrary does.
        "twap": None if mean is None else mean // asked.twap_s, "count": int.from_bytes(_answered(count)),
        "idle": (whole[0], whole[1]), "allowed": (whole[2], whole[3]), "native": from_quantity(native),
    }  # fmt: skip


def _ticks(answer: bytes | RpcRefused) -> int | None:
    """Return the sum of ticks between two observations, None if the pool does not remember that far (OLD)."""
    if isinstance(answer, RpcRefused):
        return None
    (cumulative, _) = decode(["int56[]", "uint160[]"], answer)
    return int(cumulative[1]) - int(cumulative[0])


async def _owned(seat: Seat, asked: Asked, count: int, at: Mapping[str, str]) -> dict[int, tuple[Span, int]]:
    """Return span and liquidity of all positions in this pool that the wallet has."""
    place, market = asked.place, asked.market
    if count > MOST_POSITIONS:
        raise BadAnswer(f"wallet 0x{place.wallet.hex()}: expected at most {MOST_POSITIONS} positions, found {count}")
    which = [invoke(place.manager, "tokenOfOwnerByIndex(address,uint256)", place.wallet, each) for each in range(count)]
    tokens = [int.from_bytes(_answered(each)) for each in await _calls(seat, which, at)]
    details = await _calls(seat, [invoke(place.manager, "positions(uint256)", each) for each in tokens], at)
    found = {}
    for token_id, answer in zip(tokens, details, strict=True):
        _, _, one, other, fee, lower, upper, liquidity = decode(POSITION, _answered(answer)[: 32 * len(POSITION)])
        if (from_hex(one), from_hex(other), fee) == (place.token0, place.token1, market.fee):
            found[token_id] = (Span(lower, upper), liquidity)
    return found


async def _with_fees(
    seat: Seat, asked: Asked, owned: Mapping[int, tuple[Span, int]], at: Mapping[str, str]
) -> tuple[Held, ...]:  # fmt: skip
    """Return positions with the fees that collecting them would pay: positions() says what they were at the last touch.

    Source: NonfungiblePositionManager.collect, called as the owner.
    """
    place = asked.place
    calls = [uniswap_v3.collect(place.manager, each, recipient=place.wallet) for each in sorted(owned)]
    answers = await _calls(seat, calls, at, sender=place.wallet)
    held = []
    for token_id, answer in zip(sorted(owned), answers, strict=True):
        amount0, amount1 = decode(["uint256", "uint256"], _answered(answer))
        span, liquidity = owned[token_id]
        held.append(Held(token_id, span, liquidity, (amount0, amount1)))
    return tuple(held)


async def _calls(
    seat: Seat, calls: Sequence[Call], at: Mapping[str, str] | str, *, sender: bytes | None = None
) -> list[bytes | RpcRefused]:
    """Return the answers in order; a call that the contract refused has its refusal. Raises Transient for others."""
    if not calls:
        return []
    answers = await seat.batch_each([("eth_call", (_asked(call, sender), at)) for call in calls])
    found: list[bytes | RpcRefused] = []
    for each in answers:
        if isinstance(each, RpcRefused):
            if not each.reverted:
                raise each
            found.append(each)
        else:
            found.append(from_hex(_text.decode(each)))
    return found


def _asked(call: Call, sender: bytes | None) -> dict[str, str]:
    assert call.to is not None, "a creation has no answer"
    asked = {"to": to_hex(call.to), "data": to_hex(call.data)}
    return asked if sender is None else {**asked, "from": to_hex(sender)}


def _answered(answer: bytes | RpcRefused) -> bytes:
    if isinstance(answer, RpcRefused):
        raise answer
    if not answer:
        raise BadAnswer("a contract answered nothing: there is none at this address")
    return answer
