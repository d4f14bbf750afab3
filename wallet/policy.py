"""What a wallet may do, from the decoded calldata: everything that is not named here is refused. Pure.

Sources of the signatures: EIP-20; v3-periphery 1.4.4 (INonfungiblePositionManager, ISwapRouter, IMulticall);
swap-router-contracts 1.3.1 (IV3SwapRouter). Left out on purpose: `increaseLiquidity` (the position may be somebody
else's), `callPositionManager` and `approve` of positions (whoever asks SwapRouter02 could then move them), and
multicall within multicall.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eth_abi.exceptions import DecodingError

from builders.call import Call, decode, encode, selector
from builders.uniswap_v3 import BURN, COLLECT, DECREASE, MINT, MULTICALL, SWAP_02
from wallet.types import NATIVE

APPROVE: Final = "approve(address,uint256)"
TRANSFER: Final = "transfer(address,uint256)"
SWAP: Final = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))"


class Denied(Exception):
    """A call that the policy does not allow; the message says which part of it, what was expected and found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much of an asset may leave the wallet: with one transaction, and within 24 hours. Base units."""

    each: int
    day: int


NOTHING: Final = Bound(each=0, day=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one wallet may call, and how much it may spend.

    `recipients` may be paid in tokens and wei. `native` bounds wei, fees included. Raises ValueError when one address
    has two roles: `approve` means another thing for a token than for positions.
    """

    wallet: bytes
    native: Bound = NOTHING
    tokens: Mapping[bytes, Bound] = field(default_factory=dict)
    recipients: frozenset[bytes] = frozenset()
    position_managers: frozenset[bytes] = frozenset()
    routers: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        groups = (*self.tokens, *self.position_managers, *self.routers, *self.recipients, self.wallet)
        twice = [address for address, count in Counter(groups).items() if count > 1]
        if twice:
            raise ValueError(f"0x{twice[0].hex()}: expected one role for each address, found several")

    @property
    def contracts(self) -> frozenset[bytes]:
        """All that may be called; an activation is bound to their code."""
        return frozenset(self.tokens) | self.position_managers | self.routers

    def bound(self, asset: bytes) -> Bound:
        """Return how much of an asset may be spent."""
        return self.native if asset == NATIVE else self.tokens.get(asset, NOTHING)


Spend = Mapping[bytes, int]  # asset -> base units that may leave the wallet


def spend_of(call: Call, rules: Rules) -> Spend:
    """Return what the call may take out of the wallet, without fees. Raises Denied."""
    if call.to is None:
        raise Denied("to: expected an account or a contract, found a creation")
    if call.to in rules.recipients and not call.data:
        return _within({NATIVE: call.value}, rules)
    if call.value:
        raise Denied(f"value: expected 0 for a call, found {call.value}")
    if call.to in rules.tokens:
        spend = _token(call.to, call.data, rules)
    elif call.to in rules.position_managers:
        spend = _each(call.data, rules, _position)
    elif call.to in rules.routers:
        spend = _each(call.data, rules, _swap)
    else:
        raise Denied(f"to: 0x{call.to.hex()} is not among what this wallet may call")
    return _within(spend, rules)


def over_a_day(spend: Spend, spent: Spend, rules: Rules) -> str | None:
    """Return what is too much on top of what was spent within 24 hours, None if nothing."""
    for asset, amount in spend.items():
        before, day = spent.get(asset, 0), rules.bound(asset).day
        if amount and before + amount > day:
            return f"{_name(asset)}: {amount} on top of {before} within 24 hours is more than {day}"
    return None


def with_fee(spend: Spend, fee: int, rules: Rules) -> Spend:
    """Return the spend with the most that may be paid as fee. Raises Denied if it is more than one transaction may."""
    return _within({**spend, NATIVE: spend.get(NATIVE, 0) + fee}, rules)


def _within(spend: Spend, rules: Rules) -> Spend:
    for asset, amount in spend.items():
        if amount > rules.bound(asset).each:
            raise Denied(f"{_name(asset)}: {amount} is more than the {rules.bound(asset).each} of one transaction")
    return {asset: amount for asset, amount in spend.items() if amount}


def _token(token: bytes, data: bytes, rules: Rules) -> Spend:
    name, (other, amount) = _decoded(data, (APPROVE, TRANSFER))
    if name == TRANSFER:
        _require("recipient of transfer", _address(other), rules.recipients)
        return {token: amount}
    _require("spender of approve", _address(other), rules.position_managers | rules.routers)
    if amount > rules.tokens[token].each:
        raise Denied(f"approve: {amount} is more than the {rules.tokens[token].each} of one transaction")
    return {}


def _each(data: bytes, rules: Rules, one: Callable[[bytes, Rules], Spend]) -> Spend:
    """Return the sum over the items of a multicall, or what a single call spends."""
    if data[:4] != selector(MULTICALL):
        return one(data, rules)
    _, (items,) = _decoded(data, (MULTICALL,))
    total: Counter[bytes] = Counter()
    for place, item in enumerate(items):
        try:
            total.update(one(item, rules))
        except Denied as denied:
            raise Denied(f"multicall item {place}: {denied}") from None
    return total


def _position(data: bytes, rules: Rules) -> Spend:
    name, (arguments,) = _decoded(data, (MINT, DECREASE, COLLECT, BURN))
    if name == MINT:
        token0, token1, _, _, _, amount0, amount1, _, _, recipient, _ = arguments
        _require("recipient of mint", _address(recipient), {rules.wallet})
        for token in (token0, token1):
            _require("token of mint", _address(token), rules.tokens)
        total: Counter[bytes] = Counter({_address(token0): amount0})
        total[_address(token1)] += amount1
        return total
    if name == COLLECT:
        # The zero address stands for the position manager itself, from where anybody may fetch it.
        _require("recipient of collect", _address(arguments[1]), {rules.wallet})
    return {}


def _swap(data: bytes, rules: Rules) -> Spend:
    name, (arguments,) = _decoded(data, (SWAP, SWAP_02))
    paid, received, _, recipient, *rest = arguments
    amount, least = rest[1:3] if name == SWAP else rest[:2]
    # SwapRouter02 knows 0x…01 as the sender and 0x…02 as itself; neither is written by our builders.
    _require("recipient of swap", _address(recipient), {rules.wallet})
    for token in (paid, received):
        _require("token of swap", _address(token), rules.tokens)
    if amount == 0 or least == 0:
        # 0 in stands for all that the router holds, 0 out for whatever a sandwich leaves.
        raise Denied(f"swap: expected an amount and a least amount above 0, found {amount} and {least}")
    return {_address(paid): amount}


def _decoded(data: bytes, allowed: Sequence[str]) -> tuple[str, Sequence[Any]]:
    """Return which of `allowed` the calldata calls, and the arguments. Raises Denied unless encoded as by us."""
    name = next((each for each in allowed if selector(each) == data[:4]), None)
    if name is None:
        raise Denied(
            f"selector 0x{data[:4].hex()} is not allowed here; allowed: {', '.join(_short(a) for a in allowed)}"
        )
    try:
        arguments = decode(name, data)
    except DecodingError as error:
        raise Denied(f"{_short(name)}: not decodable: {error}") from None
    if encode(name, arguments) != data:
        # What one decoder skips another may read: only the one canonical encoding is let through.
        raise Denied(f"{_short(name)}: not the canonical encoding of its arguments")
    return name, arguments


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _require(what: str, found: bytes, allowed: Mapping[bytes, Any] | frozenset[bytes] | set[bytes]) -> None:
    if found not in allowed:
        raise Denied(f"{what}: 0x{found.hex()} is not allowed")


def _short(name: str) -> str:
    return name[: name.index("(")]


def _name(asset: bytes) -> str:
    return f"token 0x{asset.hex()}" if asset else "wei"
