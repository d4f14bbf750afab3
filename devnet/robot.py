"""An account for a droid on the devnet: nobody has its key and no traffic touches it."""

from collections.abc import Mapping
from typing import Final

from builders import erc20
from builders.call import invoke
from core.errors import BadConfig
from core.keccak import keccak
from devnet.deploy import ALL, CALL_GAS, POOL_GAS, UNIT
from devnet.node import Draft, Node

ROBOT: Final = keccak(b"chainworkd devnet robot")[-20:]
ETHER: Final = 100 * UNIT
WETH: Final = 20 * UNIT
USDC: Final = 60_000 * 10**6
OBSERVATIONS: Final = 200  # that the pool is to remember: with one, it knows no mean price


async def furnish(node: Node, contracts: Mapping[str, bytes], pool: str) -> None:
    """Give ROBOT ether, WETH and USDC, let the position manager have them, and `pool` a memory of its prices.

    Does nothing on a chain where that was done. Raises BadConfig if one of it fails.
    """
    weth, usdc, manager = contracts["weth"], contracts["usdc"], contracts["uniswap_v3_position_manager"]
    if int.from_bytes(await node.read(invoke(weth, "allowance(address,address)", ROBOT, manager))):
        return
    calls = [
        invoke(weth, "deposit()", value=WETH),
        invoke(usdc, "mint(address,uint256)", ROBOT, USDC),
        erc20.approve(usdc, manager, ALL),
    ]
    drafts = [Draft(kind="robot", sender=ROBOT, call=call, gas=CALL_GAS) for call in calls]
    grow = invoke(contracts[pool], "increaseObservationCardinalityNext(uint16)", OBSERVATIONS)
    drafts.append(Draft(kind="robot", sender=ROBOT, call=grow, gas=POOL_GAS))
    # Last: it says that all before it was done.
    drafts.append(Draft(kind="robot", sender=ROBOT, call=erc20.approve(weth, manager, ALL), gas=CALL_GAS))
    await node.act_as(ROBOT, ETHER)
    for draft, receipt in zip(drafts, await node.settle(drafts), strict=True):
        if receipt.status != 1:
            raise BadConfig(
                f"devnet: the robot's call of 0x{(draft.call.to or b'').hex()} failed, block {receipt.block}"
            )
