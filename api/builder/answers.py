"""What the builder answers, field for field as the seed's schemas; what is more is said so. Amounts are text."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec

from api.addresses import checksum
from builders.ostium.summary import Summary

SERVICE: Final = "builder-service"
VERSION: Final = "v1"

Address = Annotated[str, msgspec.Meta(pattern="^0x[a-fA-F0-9]{40}$")]


class UnsignedTransaction(msgspec.Struct, omit_defaults=True):
    """A transaction for the trader to sign. `from` is who must send it; `value` is wei."""

    to: str
    data: str
    value: str
    from_: str = msgspec.field(name="from", default="")


class CallSummary(msgspec.Struct):
    """What a transaction's calldata says, decoded from its bytes; amounts in human units."""

    function: str
    text: str
    arguments: dict[str, str | int | bool]

    @classmethod
    def of(cls, found: Summary) -> "CallSummary":
        """Make it from the decoded calldata."""
        return cls(found.function, found.text, found.arguments)


class ContractError(msgspec.Struct):
    """Why a transaction would revert. `name` is null for an error that no known contract has."""

    name: str | None
    selector: str
    arguments: dict[str, str | int | bool]
    meaning: str


class SimulatedTransaction(msgspec.Struct):
    """How one of the transactions would end if it were the next one."""

    ok: bool
    error: ContractError | None


class AllowanceHint(msgspec.Struct):
    """What TradingStorage may take of the trader's USDC, and what these transactions need; in USDC."""

    spender: str
    current: str
    required: str
    sufficient: bool
    approve_tx: UnsignedTransaction | None = msgspec.field(name="approveTx")


class PairRules(msgspec.Struct, rename="camel"):
    """What the contracts allow for a pair. `overnight_max_leverage` is null where `max_leverage` holds overnight."""

    pair_index: int
    listed: bool
    min_leverage: str
    max_leverage: str
    overnight_max_leverage: str | None
    min_position: str
    oracle_fee: str


class Simulation(msgspec.Struct, rename="camel"):
    """What the chain said of the transactions, each on its own, at one block."""

    block_number: int
    block_hash: str
    is_paused: bool
    is_done: bool
    max_collateral: str
    allowance: AllowanceHint
    pairs: list[PairRules]
    transactions: list[SimulatedTransaction]


class TransactionResponse(msgspec.Struct, omit_defaults=True):
    """The transactions, in the order of what was asked.

    Additive: `summary` says what each one does, `warnings` names fields that nobody reads, `simulation` is there if
    asked. They stand beside the transactions, not in them: wallets refuse transactions with fields they do not know.
    """

    transactions: list[UnsignedTransaction]
    summary: list[CallSummary]
    warnings: list[str] = []
    simulation: Simulation | None = None


class ServiceHealthResponse(msgspec.Struct):
    """GET /v1/health."""

    status: Literal["healthy"]
    service: str
    version: str
    timestamp: str


class ExchangeHealthResponse(msgspec.Struct):
    """GET /v1/exchange/health."""

    status: Literal["healthy"]
    endpoint: str
    version: str
    timestamp: str


class BalanceResponse(msgspec.Struct, rename="camel"):
    """GET /v1/balance/usdc."""

    address: Address
    symbol: str
    decimals: int
    balance: str
    balance_formatted: str


class ErrorResponse(msgspec.Struct, rename="camel", omit_defaults=True):
    """Every error. `code` is the HTTP status, `error_code` the same for programs."""

    error: str
    code: int
    error_code: str
    details: dict[str, Any] = {}


def service_health() -> ServiceHealthResponse:
    """Return that the process answers."""
    return ServiceHealthResponse("healthy", SERVICE, VERSION, _now())


def exchange_health() -> ExchangeHealthResponse:
    """Return that the exchange routes answer."""
    return ExchangeHealthResponse("healthy", "exchange", VERSION, _now())


@lru_cache(maxsize=4_096)
def shown(address: bytes) -> str:
    """Return an address with its checksum; remembered, since most requests name the same few."""
    return checksum(address)


_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def encode(answer: Any) -> bytes:
    """Return the JSON text."""
    return _encoder.encode(answer)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
