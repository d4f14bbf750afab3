"""`chainworkd verify` as people start it: what is stored as the node has it is clean, what is not is named."""

import json
from pathlib import Path
from typing import Any

import asyncpg

from core.rpc.client import RpcClient
from core.verify.checks import ALL, names
from devnet.town import Devnet
from tests.e2e.daemon import environment, run
from tests.e2e.story import CHAIN, steps


def report(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    return found


async def test_what_is_stored_is_held_against_the_node(
    folder: Path, town: Devnet, rpc: RpcClient, database_url: str
) -> None:
    await steps(town, 12)
    await rpc.call("anvil_mine", hex(40))
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url)
    code, out, err = await run(folder, "backfill", "--from", "3", "--json", env=env)
    last = report(out)["last"]
    assert code == 0, err

    code, out, err = await run(folder, "verify", "--from", "3", "--json", env=env)
    whole = report(out)
    assert (code, whole["clean"], whole["differences"], whole["unverified"]) == (0, True, [], []), err
    assert (whole["chain_id"], whole["first"], whole["last"], whole["blocks"]) == (CHAIN, 3, last, last - 2)
    assert (whole["checks"], whole["lookups_counted"]) == (names(ALL), True)
    assert whole["rows"] > 300

    code, out, _ = await run(folder, "verify", "--from", "0", "--to", "5", "--json", env=env)
    assert (code, report(out)["missing_blocks"], report(out)["blocks"]) == (1, 3, 3)

    connection = await asyncpg.connect(database_url)
    moved = await connection.fetchrow(
        "update chain.token_transfer set amount = amount + 1 where (block_number, log_index) = "
        "(select block_number, log_index from chain.token_transfer where standard = 20 limit 1) "
        "returning block_number, log_index, amount"
    )
    await connection.close()
    assert moved is not None
    code, out, _ = await run(folder, "verify", "--from", "3", env=env)
    assert code == 1
    amount, key = int(moved["amount"]), f"{moved['block_number']}, {moved['log_index']}, 0"
    assert f"token_transfer ({key}) amount: expected {amount - 1}, found {amount}" in out
    assert "1 differences, 0 blocks not stored" in out


async def test_bad_arguments_are_refused_with_what_is_wrong(folder: Path, town: Devnet, database_url: str) -> None:
    env = environment(folder, RPC_URL=town.http_url, DATABASE__URL=database_url)
    for arguments, expected, said in (
        (("--from", "0"), 78, "nothing is stored"),
        (("--from", "x"), 2, "--from"),
        ((), 2, "--from"),
        (("--from", "0", "--chain", "nowhere"), 78, "not configured; there are"),
    ):
        code, _, err = await run(folder, "verify", *arguments, env=env)
        assert code == expected, err
        assert said in err
