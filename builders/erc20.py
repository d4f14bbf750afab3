"""ERC-20 calls (EIP-20)."""

from builders.call import Call, invoke


def transfer(token: bytes, to: bytes, amount: int) -> Call:
    """Return the call that moves `amount` base units from the sender to `to`."""
    return invoke(token, "transfer(address,uint256)", to, amount)


def approve(token: bytes, spender: bytes, amount: int) -> Call:
    """Return the call that lets `spender` move up to `amount` base units of the sender's."""
    return invoke(token, "approve(address,uint256)", spender, amount)
