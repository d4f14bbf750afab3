"""Which generation a Trading implementation is, from the selectors in its code."""

from typing import Final

from builders.ostium.actions import Generation
from builders.ostium.layout import OPEN

PUSH4: Final = b"\x63"  # solc's dispatcher compares the call's selector with a constant pushed by this opcode

# keccak256("eip1967.proxy.implementation") - 1 (ERC-1967): where a proxy keeps the address of its code.
IMPLEMENTATION_SLOT: Final = 0x360894A13BA1A3210667C828492DB98DCA3E2076CC3735A920A3CA505D382BBC


def generation_of(code: bytes) -> Generation | None:
    """Return the newest generation whose openTrade `code` has, None if it has none of them."""
    newest_first = (Generation.V3, Generation.V2, Generation.V1)
    return next((each for each in newest_first if PUSH4 + OPEN[each].selector in code), None)
