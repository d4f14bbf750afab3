"""Going live and stopping, as people say it: activations bound to chain, wallet and code, and the kill switch."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import uuid4

from core.store.pool import Pool, translated

SQL_REVOKE: Final = """
    update wallet.activation
    set revoked_at = $3, revoked_by = $4
    where chain_id = $1 and wallet = $2 and revoked_at is null
"""
SQL_ACTIVATE: Final = """
    insert into wallet.activation
        (activation_id, chain_id, wallet, code_hashes, activated_at, activated_by, because)
    values ($1, $2, $3, $4, $5, $6, $7)
"""
SQL_HALT: Final = """
    insert into wallet.halt (halt_id, halted_at, halted_by, because) values ($1, $2, $3, $4)
"""
SQL_LIFT: Final = "update wallet.halt set lifted_at = $1, lifted_by = $2 where lifted_at is null"


async def activate(
    pool: Pool, chain_id: int, wallet: bytes, hashes: Mapping[bytes, bytes], at: datetime, *, by: str, because: str
) -> None:
    """Let a wallet sign as long as the contracts have this code; an earlier activation of it is revoked."""
    text = json.dumps({address.hex(): found.hex() for address, found in sorted(hashes.items())})
    with translated():
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute(SQL_REVOKE, chain_id, wallet, at, by)
            await conn.execute(SQL_ACTIVATE, uuid4(), chain_id, wallet, text, at, by, because)


async def revoke(pool: Pool, chain_id: int, wallet: bytes, at: datetime, *, by: str) -> bool:
    """Take a wallet's activation back; False if it had none."""
    with translated():
        return await pool.execute(SQL_REVOKE, chain_id, wallet, at, by) == "UPDATE 1"


async def halt(pool: Pool, at: datetime, *, by: str, because: str) -> None:
    """Stop signing and broadcasting for every wallet, before the next one of either."""
    with translated():
        await pool.execute(SQL_HALT, uuid4(), at, by, because)


async def resume(pool: Pool, at: datetime, *, by: str) -> int:
    """Lift all halts; return how many there were."""
    with translated():
        return int((await pool.execute(SQL_LIFT, at, by)).split()[-1])


def differences(activated: Mapping[bytes, bytes], found: Mapping[bytes, bytes]) -> str:
    """Return what of the code that may be called is not what was activated, "" if nothing."""
    for address, code in sorted(found.items()):
        if address not in activated:
            return f"0x{address.hex()} was not part of the activation (chainworkd activate)"
        if activated[address] != code:
            return f"the code of 0x{address.hex()} has changed since the activation (chainworkd activate)"
    return ""
