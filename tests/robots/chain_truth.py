"""What the chain says of a droid's wallet, asked of the node alone, held against what the rows say."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from builders.call import topic
from core.hex import from_hex, to_hex
from core.store.pool import Pool
from tests.robots.ground import ETHER, OWNED, Ground

TRANSFER: Final = topic("Transfer(address,address,uint256)")
SQL_OPEN: Final = """
    select token_id from droid.position where droid_id = $1 and closed_by is null and gone_at is null
"""
SQL_SUMS: Final = "select asset, sum(amount) as amount from droid.ledger where droid_id = $1 group by asset"
SQL_OUTSIDE: Final = "select asset, amount from droid.ledger where droid_id = $1 and kind = 'external'"
SQL_EVER: Final = "select token_id from droid.position where droid_id = $1"
SQL_MOVES: Final = "select tx_hash, outcome from droid.move where droid_id = $1"
SQL_OPENING: Final = "select asset, amount from droid.ledger where droid_id = $1 and kind = 'opening'"


@dataclass
class Truth:
    """What was found of one wallet."""

    faults: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    minted: int = 0


async def truth_of(on: Ground, store: Pool, number: int, wallet: bytes) -> Truth:
    """Compare owned NFTs, everything that was ever minted, sent and moved, with the rows."""
    who, found = f"droid {number}", Truth()
    owned = set(await on.nfts(wallet))
    ledger = {int(row["token_id"]) for row in await store.fetch(SQL_OPEN, number)}
    if owned != ledger:
        found.lost += len(owned - ledger)
        found.faults.append(f"{who}: owns {sorted(owned)} on the chain, {sorted(ledger)} in the ledger")
    minted, known = await _minted(on, wallet), await store.fetch(SQL_EVER, number)
    found.minted = len(minted)
    if set(minted) != {int(row["token_id"]) for row in known}:
        found.lost += len(set(minted) - {int(row["token_id"]) for row in known})
        found.faults.append(f"{who}: {len(minted)} positions were ever minted, the rows know {len(known)}")
    nonce = int(await on.rpc.call("eth_getTransactionCount", to_hex(wallet), "latest"), 16)
    moves = await store.fetch(SQL_MOVES, number)
    mined = Counter(row["tx_hash"] for row in moves if row["tx_hash"] is not None)
    if nonce != sum(mined.values()):
        found.faults.append(f"{who}: {nonce} transactions on the chain, {sum(mined.values())} in the rows")
    strange = {tx for tx in minted.values() if tx not in mined}
    found.doubled += len(strange) + sum(count - 1 for count in mined.values())
    if strange:
        found.faults.append(f"{who}: {len(strange)} transactions minted that no move knows")
    sums = {row["asset"]: int(row["amount"]) for row in await store.fetch(SQL_SUMS, number)}
    for asset, amount in (await on.balances(wallet)).items():
        if sums.get(asset) != amount:
            found.faults.append(f"{who}: 0x{asset.hex()}: {amount} on the chain, {sums.get(asset)} in the ledger")
    if outside := await store.fetch(SQL_OUTSIDE, number):
        found.faults.append(f"{who}: nobody gave anything, and from outside came {[row['amount'] for row in outside]}")
    first = {row["asset"]: int(row["amount"]) for row in await store.fetch(SQL_OPENING, number)}
    if first != {on.base: OWNED[0], on.quote: OWNED[1], b"": 10 * ETHER}:
        found.faults.append(f"{who}: begins with {first} in the ledger")
    return found


async def _minted(on: Ground, wallet: bytes) -> dict[int, bytes]:
    """Return each position that was ever minted for the wallet, with the hash of its transaction."""
    topics = [to_hex(TRANSFER), to_hex(bytes(32)), to_hex(wallet.rjust(32, b"\0"))]
    asked = {"address": to_hex(on.pool.manager), "topics": topics, "fromBlock": "0x0", "toBlock": "latest"}
    logs = await on.rpc.call("eth_getLogs", asked)
    return {int(each["topics"][3], 16): from_hex(each["transactionHash"]) for each in logs}
