"""Runs in the SDK's own environment: decodes calldata with its ABI. Lines of hex in, a line of JSON each out.

It imports nothing of ours: what it prints is what somebody else's library reads in our bytes.
"""

import json
import sys

from ostium_python_sdk.abi.trading_abi import trading_abi  # type: ignore[import-not-found]
from ostium_python_sdk.abi.usdc_abi import usdc_abi  # type: ignore[import-not-found]
from web3 import Web3  # type: ignore[import-not-found]

SOMEWHERE = "0x" + "00" * 20
CONTRACTS = [Web3().eth.contract(address=SOMEWHERE, abi=abi) for abi in (trading_abi, usdc_abi)]
APPROVE = "095ea7b3"

for line in sys.stdin:
    data = line.strip()
    contract = CONTRACTS[data.removeprefix("0x").startswith(APPROVE)]
    function, arguments = contract.decode_function_input(data)
    print(json.dumps({"function": function.fn_name, "arguments": arguments}, default=str))
