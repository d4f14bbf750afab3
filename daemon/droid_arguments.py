"""The grammar of `chainworkd droid`."""

import argparse
from typing import Any

from daemon.arguments import add, address, row_id


def droid_grammar(into: Any) -> None:
    """Add the command."""
    droid = into.add_parser(
        "droid", help="list, look at and command droids, their pools and accounts",
        description="List, look at and command droids, their pools and accounts.",
        epilog="example:\n  chainworkd droid list", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = droid.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = add(actions, "list", "list droids", "chainworkd droid list --json", "droids.listed")
    made.add_argument("--json", action="store_true", help="as JSON")
    made = add(
        actions, "show", "show a droid, its sessions and bots, as JSON", "chainworkd droid show 1", "droids.show"
    )
    made.add_argument("id", type=row_id, metavar="ID", help="the droid's id, as `droid list` shows it")
    made = add(
        actions, "active", "pause (0), run (1), reset (2) or close (3) a droid", "chainworkd droid active 1 0",
        "droids.active",
    )  # fmt: skip
    made.add_argument("id", type=row_id, metavar="ID", help="the droid's id, as `droid list` shows it")
    made.add_argument("active", type=_active, metavar="ACTIVE", help="0, 1, 2 or 3")
    pools = _group(actions, "pools", "pools that droids may be in")
    add(pools, "list", "list pools that droids may be in", "chainworkd droid pools list", "droids.pools")
    made = add(
        pools, "add", "make a pool known to droids",
        "chainworkd droid pools add --id 42 --chain mainnet --address 0x… --quote 0x…", "droids.add_pool",
    )  # fmt: skip
    made.add_argument("--id", type=row_id, required=True, help="its id in the API; what it stands for cannot change")
    made.add_argument("--chain", default="", help="which chain; the default or the only one, if not given")
    made.add_argument("--address", type=address, required=True, help="the pool's contract")
    made.add_argument("--quote", type=address, required=True, help="the token that prices are in, taken for a dollar")
    made.add_argument("--manager", type=address, help="the NonfungiblePositionManager; Uniswap's own, if not given")
    accounts = _group(actions, "accounts", "wallets that droids may use")
    add(accounts, "list", "list wallets that droids may use", "chainworkd droid accounts list", "droids.accounts")
    made = add(
        accounts, "add", "make a wallet known to droids", "chainworkd droid accounts add --id 1 --wallet main",
        "droids.add_account",
    )  # fmt: skip
    made.add_argument("--id", type=row_id, required=True, help="its id in the API; what it stands for cannot change")
    made.add_argument("--wallet", required=True, help="its name in the settings")


def _group(into: Any, name: str, text: str) -> Any:
    made = into.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  chainworkd droid {name} list", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    return made.add_subparsers(dest="what", required=True, metavar="WHAT")


def _active(text: str) -> int:
    if text not in ("0", "1", "2", "3"):
        raise ValueError("no command")
    return int(text)
