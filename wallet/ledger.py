"""What a mined attempt moved, from its receipt alone. Pure.

Transfers are those of ERC-20 (EIP-20): three topics and one word. What contracts send to the wallet in wei, such as
WETH's withdrawal, leaves no log and is not seen here.
"""

from collections import Counter
from typing import Final

from builders.call import Call, topic
from wallet.types import NATIVE, Movement, Receipt

TRANSFER: Final = topic("Transfer(address,address,uint256)")


def movements(wallet: bytes, call: Call, receipt: Receipt) -> tuple[Movement, ...]:
    """Return what came and went, one movement for each asset; the fee is always one, a value only if it succeeded."""
    sums: Counter[bytes] = Counter()
    sums[NATIVE] -= receipt.fee
    if receipt.ok and call.to != wallet:
        sums[NATIVE] -= call.value
    for each in receipt.logs:
        if len(each.topics) == 3 and each.topics[0] == TRANSFER and len(each.data) == 32:
            amount = int.from_bytes(each.data)
            if each.topics[1][12:] == wallet:
                sums[each.address] -= amount
            if each.topics[2][12:] == wallet:
                sums[each.address] += amount
    return tuple(Movement(asset, amount) for asset, amount in sums.items() if amount)
