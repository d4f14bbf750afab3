"""Rows of listings as JSON text, straight from what is stored: a page has up to 200 of them, asked for all the time.

`api.schemas.Transaction` says what a row is; made as an object and then encoded, it takes twice as long
(tests/api/test_rows.py holds both against each other).
"""

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgspec

from api.addresses import checksum
from api.amounts import amount, digits
from api.prices import Values
from api.schemas import ETHER, GWEI, STATUS, amount_usd, short
from api.times import iso
from core.store.transactions import StoredTransfer, StoredTx
from core.types import TokenStandard

ERC20: Final = TokenStandard.ERC20


@lru_cache(maxsize=4_096)
def _text(value: str | None) -> str:
    """Return JSON for a text that may hold anything: symbols are what contracts say."""
    return msgspec.json.encode(value).decode()


_STATUS: Final = {status: _text(word) for status, word in STATUS.items()}


def rows(txs: Sequence[StoredTx], native_symbol: str, values: Values) -> msgspec.Raw:
    """Return the JSON array of `api.schemas.Transaction` for these, in their order."""
    unit = _text(native_symbol)[1:-1]
    return msgspec.Raw(f"[{','.join([_row(tx, unit, values) for tx in txs])}]")


def _row(tx: StoredTx, unit: str, values: Values) -> str:
    number, _, hash_, sender, recipient, created, value, gas_used, gas_price, status, _, time, transfers, finality = tx
    to = "null" if recipient is None else f'"{checksum(recipient)}"'
    contract = "null" if created is None else f'"{checksum(created)}"'
    value_usd = fee_usd = "null"
    if values.found:
        value_usd, fee_usd = _number(values.usd(value, tx)), _number(values.usd(gas_used * gas_price, tx))
    moved = ",".join([_transfer(each, tx, values) for each in transfers]) if transfers else ""
    return (
        f'{{"hash":"0x{hash_.hex()}","block_number":{number},"block_timestamp":"{iso(time)}",'
        f'"from_address":"{checksum(sender)}","to_address":{to},"contract_address":{contract},'
        f'"value_native":"{amount(value, ETHER)} {unit}","value_usd":{value_usd},"gas_used":{gas_used},'
        f'"gas_price_gwei":{digits(gas_price, GWEI)},"gas_fee_usd":{fee_usd},"status":{_STATUS[status]},'
        f'"finality":"{finality}","token_transfers":[{moved}]}}'
    )


def _transfer(stored: StoredTransfer, tx: StoredTx, values: Values) -> str:
    moved, token = stored
    name = _text(token.symbol or short(token.address))[1:-1]
    decimals = token.decimals if moved.standard is ERC20 else None
    shown = moved.amount if decimals is None else amount(moved.amount, decimals)
    usd = _number(amount_usd(stored, tx, values)) if values.found else "null"
    return f'{{"token_symbol":{_text(token.symbol)},"amount_display":"{shown} {name}","amount_usd":{usd}}}'


def _number(value: Decimal | None) -> str:
    return "null" if value is None else format(value, "f")
