"""The command line. Exit codes: 0 done or stopped, 1 failed, 2 wrong usage, 78 wrong configuration."""

import argparse
import asyncio
import faulthandler
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NoReturn
from uuid import UUID

import uvloop

from accounts.roles import Role, Status
from core import log as logs
from core import settings as settings_of
from core.errors import ChainworkdError
from core.pulse import Pulse
from core.service import exit_code, first_of, stopping_on_signals
from core.settings import Settings
from core.store.export import TABLES
from daemon import export, family
from daemon.arguments import add, address, some
from daemon.droid_arguments import droid_grammar
from daemon.processes import ALONE, ROLES, STOP_S, Sockets
from daemon.processes import Role as ProcessRole

log = logging.getLogger("daemon")

EXAMPLES: Final = """\
examples:
  chainworkd demo                                      everything on this machine, with a local chain
  CHAINWORKD_RPC_URL=http://127.0.0.1:8545 chainworkd run
  chainworkd --profile mainnet --config /etc/chainworkd.toml check
  chainworkd token create --label dashboard --days 90
  chainworkd status --json
  chainworkd export --from 0 --to 1000 --out files

Settings come from config/base.toml, a profile, --config and CHAINWORKD_* variables (docs/configuration.md).
"""

LOCAL: Final = {"demo": "local", "devnet": "local"}  # commands with a profile of their own

Command = Callable[[Settings, argparse.Namespace], Coroutine[Any, Any, int | None]]


def main() -> NoReturn:
    """Run one command and exit."""
    arguments = parser().parse_args()
    sys.exit(_guarded(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(
        prog="chainworkd", description="EVM chain indexer and on-chain worker daemon.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"chainworkd {version('chainworkd')}")
    top.add_argument("--profile", help=f"settings that come with the program: {', '.join(settings_of.profiles())}")
    top.add_argument("--config", type=Path, help="a TOML file of your own settings")
    commands_ = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _run_grammar(commands_)
    _local_grammar(commands_)
    _database_grammar(commands_)
    _backfill_grammar(commands_)
    _verify_grammar(commands_)
    _reindex_grammar(commands_)
    _export_grammar(commands_)
    _backtest_grammar(commands_)
    _token_grammar(commands_)
    _user_grammar(commands_)
    _alarm_grammar(commands_)
    _outbox_grammar(commands_)
    droid_grammar(commands_)
    _simulate_grammar(commands_)
    child = commands_.add_parser("child")  # a parent starts it; not for people
    child.add_argument("role", choices=(*ROLES, *ALONE))
    return top


def command(name: str) -> Command:
    """Return what `name`, module and function within daemon/, stands for.

    A command is loaded when it is run: all of them together take a second, the one that is wanted half of it.
    """
    module, function = name.split(".")
    found: Command = getattr(import_module(f"daemon.{module}"), function)
    return found


def _run_grammar(into: Any) -> None:
    made = add(
        into, "run", "follow the configured chains and serve them, or run one role alone",
        "CHAINWORKD_RPC_URL=https://… CHAINWORKD_BACKFILL=18000000.. chainworkd run", "run.run",
    )  # fmt: skip
    made.add_argument(
        "role",
        nargs="?",
        choices=(*ROLES, *ALONE),
        help="one role for a process of its own (systemd); none: all",
    )


def _local_grammar(into: Any) -> None:
    made = add(into, "demo", "run everything on a local chain with live traffic", "chainworkd demo", "demo.run")
    made.add_argument("--data-dir", type=Path, help="where the demo keeps its chain and its database")
    made = add(into, "devnet", "run only the local chain with traffic", "chainworkd devnet --port 8545", "demo.devnet")
    made.add_argument("--data-dir", type=Path, help="where the chain's state is kept")
    made.add_argument("--port", type=int, default=0, help="port of the node; 0 takes a free one")


def _database_grammar(into: Any) -> None:
    add(into, "check", "verify settings, database and nodes before running", "chainworkd check", "check.run")
    made = add(into, "migrate", "bring the database's schema up to date", "chainworkd migrate", "commands.migrate")
    made.add_argument("--status", action="store_true", help="only say what is applied and what is pending")
    made.add_argument(
        "--wait", type=_seconds, default=60.0, metavar="SECONDS",
        help="how long to wait for the database, and for another process that migrates it; 60 if not given",
    )  # fmt: skip
    made = add(into, "status", "say what is indexed and how far behind it is", "chainworkd status", "commands.status")
    made.add_argument("--json", action="store_true", help="as JSON")


def _backfill_grammar(into: Any) -> None:
    made = add(
        into, "backfill", "fill a range of finalized history now, and show how it goes",
        "chainworkd backfill --chain mainnet --from 18000000 --to 18099999", "backfill.run",
    )  # fmt: skip
    made.add_argument("--chain", default="", help="which chain; the default or the only one, if not given")
    made.add_argument("--from", dest="first", type=_number, required=True, metavar="BLOCK", help="first block")
    made.add_argument(
        "--to", dest="last", type=_number, metavar="BLOCK", help="last block; the newest finalized one, if not given"
    )
    made.add_argument("--json", action="store_true", help="report at the end as one line of JSON")


def _verify_grammar(into: Any) -> None:
    made = add(
        into, "verify", "hold stored blocks against the node again, row by row",
        "chainworkd verify --chain mainnet --from 18000000 --to 18000999", "verify.run",
    )  # fmt: skip
    made.add_argument("--chain", default="", help="which chain; the default or the only one, if not given")
    made.add_argument("--from", dest="first", type=_number, required=True, metavar="BLOCK", help="first block")
    made.add_argument(
        "--to", dest="last", type=_number, metavar="BLOCK", help="last block; the newest stored one, if not given"
    )
    made.add_argument("--json", action="store_true", help="report at the end as one line of JSON")


def _reindex_grammar(into: Any) -> None:
    reindex = into.add_parser(
        "reindex", help="make again what is derived from stored blocks",
        description="Make again what is derived from stored blocks.",
        epilog="example:\n  chainworkd reindex counters", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = reindex.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = add(
        actions, "counters", "count again what totals are made of, and say what was wrong",
        "chainworkd reindex counters --json", "reindex.counters",
    )  # fmt: skip
    made.add_argument("--json", action="store_true", help="report at the end as one line of JSON")


def _number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("not a block number")
    return value


def _export_grammar(into: Any) -> None:
    made = add(
        into, "export", "write blocks, transactions and transfers of a range to files",
        "chainworkd export --chain mainnet --from 18000000 --to 18000999 --format parquet --out eth", "export.run",
    )  # fmt: skip
    made.add_argument("--chain", default="", help="which chain; the default or the only one, if not given")
    made.add_argument("--from", dest="first", type=int, required=True, metavar="BLOCK", help="first block")
    made.add_argument("--to", dest="last", type=int, metavar="BLOCK", help="last block; the newest, if not given")
    made.add_argument("--format", choices=("csv", "parquet"), default="csv", help="csv, or parquet (needs pyarrow)")
    made.add_argument(
        "--tables", default=",".join(export.DEFAULT_TABLES), metavar="NAMES",
        help=f"some of {', '.join(TABLES)}, separated by commas; {', '.join(export.DEFAULT_TABLES)} if not given",
    )  # fmt: skip
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the files; made if missing")
    made.add_argument("--partial", action="store_true", help="leave out blocks that are not indexed")
    made.add_argument("--force", action="store_true", help="overwrite files of an earlier export")


def _backtest_grammar(into: Any) -> None:
    made = add(
        into, "backtest", "run a droid over indexed prices or a CSV, beside holding and two simpler strategies",
        "CHAINWORKD_PROFILE=mainnet chainworkd backtest --droid droid.toml --pool 0x… --from 2026-10-01 --out figures",
        "backtest.run",
    )  # fmt: skip
    made.add_argument(
        "--droid", type=Path, required=True, metavar="FILE", help="TOML: the droid's fields as in the API"
    )
    made.add_argument("--pool", type=address, metavar="ADDRESS", help="a pool whose swaps are indexed")
    made.add_argument("--csv", type=Path, metavar="FILE", help="prices from a file instead: time, price, liquidity")
    made.add_argument("--chain", default="", help="which chain; the default or the only one, if not given")
    made.add_argument(
        "--from", dest="first", metavar="BLOCK", help="first block, or a time; all that is indexed, if not given"
    )
    made.add_argument("--to", dest="last", metavar="BLOCK", help="last block, or a time; the newest, if not given")
    made.add_argument(
        "--gas-gwei", type=_amount, default=Decimal(1), metavar="GWEI", help="price of gas; 1 if not given"
    )
    made.add_argument(
        "--native-usd", type=_amount, metavar="USD", help="the native coin in quote; the base, if not given"
    )
    made.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for backtest.json, .png and .html (needs matplotlib)"
    )
    made.add_argument("--json", action="store_true", help="report as one line of JSON")


def _amount(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except ArithmeticError:
        raise ValueError("not a number") from None
    if not value.is_finite() or not 0 <= value < Decimal("1e12"):
        raise ValueError("not an amount")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError("not a number of seconds above 0")
    return value


def _token_grammar(into: Any) -> None:
    token = into.add_parser(
        "token", help="create, list and revoke API tokens", description="Create, list and revoke API tokens.",
        epilog="example:\n  chainworkd token create --label ci", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = token.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = add(
        actions, "create", "create a token and print it once", "chainworkd token create --label ci --days 30",
        "commands.token_create",
    )  # fmt: skip
    made.add_argument("--label", required=True, help="what the token is for")
    made.add_argument("--days", type=int, help="days until it expires; never, if not given")
    add(actions, "list", "list tokens, without their keys", "chainworkd token list", "commands.token_list")
    made = add(
        actions, "revoke", "end a token at once", "chainworkd token revoke hc_live_1a2b3c4d", "commands.token_revoke"
    )
    made.add_argument("prefix", help="first 16 characters of the token, as `token list` shows them")


def _user_grammar(into: Any) -> None:
    user = into.add_parser(
        "user", help="list, create and change people", description="List, create and change people.",
        epilog="example:\n  chainworkd user create --email ann@example.org --role ADMIN",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = user.add_subparsers(dest="action", required=True, metavar="ACTION")
    add(actions, "list", "list people with their roles", "chainworkd user list", "people.listing")
    made = add(
        actions, "create", "add somebody who is approved, and print a password once",
        "chainworkd user create --email ann@example.org --role ADMIN", "people.create",
    )  # fmt: skip
    made.add_argument(
        "--role", choices=[Role.OPERATOR, Role.ADMIN], default=Role.OPERATOR, help="OPERATOR if not given"
    )
    _whose(made, secret=True)
    made = add(
        actions, "set", "change somebody's role or status; it counts from their next request on",
        "chainworkd user set --email ann@example.org --status DISABLED", "people.change",
    )  # fmt: skip
    made.add_argument("--role", choices=list(Role), help="what they may do")
    made.add_argument("--status", choices=list(Status), help="whether they are let in")
    _whose(made)
    made = add(
        actions, "reset-password", "give somebody another password and end their sessions",
        "chainworkd user reset-password --email ann@example.org", "people.reset_password",
    )  # fmt: skip
    _whose(made, secret=True)
    made = add(actions, "log", "show who changed what, the latest first", "chainworkd user log", "people.log")
    made.add_argument("--limit", type=int, default=50, metavar="LINES", help="how many lines; 50 if not given")


def _whose(made: argparse.ArgumentParser, *, secret: bool = False) -> None:
    made.add_argument("--email", required=True, help="their address")
    if secret:
        made.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input, not make one up"
        )


def _alarm_grammar(into: Any) -> None:
    alarm = into.add_parser(
        "alarm", help="list and clear alarms that finalized blocks were orphaned",
        description="List and clear alarms that finalized blocks were orphaned.",
        epilog="example:\n  chainworkd alarm list", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = alarm.add_subparsers(dest="action", required=True, metavar="ACTION")
    add(actions, "list", "list alarms that nobody has cleared", "chainworkd alarm list", "alarms.listed")
    made = add(
        actions, "clear", "clear a chain's alarms, so that what spends money goes on",
        "chainworkd alarm clear --chain mainnet --by ann --because 'two public nodes agree'", "alarms.clear",
    )  # fmt: skip
    made.add_argument("--chain", default="", help="which chain; the default or the only one, if not given")
    made.add_argument("--by", required=True, help="who says so")
    made.add_argument("--because", required=True, help="what was looked at, for those who ask later")


def _outbox_grammar(into: Any) -> None:
    outbox = into.add_parser(
        "outbox", help="look at what is sent, cancel it, stop all of it",
        description="Look at what is sent, cancel it, stop all of it.",
        epilog="example:\n  chainworkd outbox list", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = outbox.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = add(actions, "list", "list intents, the newest first", "chainworkd outbox list --all", "outbox.listed")
    made.add_argument("--all", action="store_true", help="those too that are final")
    made.add_argument("--limit", type=some, default=100, metavar="COUNT", help="how many; 100 if not given")
    made.add_argument("--json", action="store_true", help="as JSON")
    made = add(
        actions, "show", "show an intent, all that was signed for it, and what it cost, as JSON",
        "chainworkd outbox show 6b1f0c1e-8a44-4a57-9d0b-0c6f7f1e2a3b", "outbox.show",
    )  # fmt: skip
    made.add_argument("id", type=UUID, metavar="ID", help="the intent's id, as `outbox list` shows it")
    made = add(
        actions, "cancel", "ask that an intent not happen",
        "chainworkd outbox cancel 6b1f0c1e-8a44-4a57-9d0b-0c6f7f1e2a3b --by ann --because 'wrong amount'",
        "outbox.cancel",
    )  # fmt: skip
    made.add_argument("id", type=UUID, metavar="ID", help="the intent's id, as `outbox list` shows it")
    _by(made)
    made = add(
        actions, "halt", "stop signing and broadcasting for every wallet",
        "chainworkd outbox halt --by ann --because 'the pool looks wrong'", "outbox.halt",
    )  # fmt: skip
    _by(made)
    made = add(actions, "resume", "lift all halts", "chainworkd outbox resume --by ann", "outbox.resume")
    made.add_argument("--by", required=True, help="who says so")
    made = add(
        into, "activate", "let a wallet go live, bound to the code of all it may call",
        "chainworkd activate --wallet main --by ann --because 'rehearsed for a week'", "outbox.activate",
    )  # fmt: skip
    made.add_argument("--wallet", required=True, help="its name in the settings")
    made.add_argument("--revoke", action="store_true", help="take the activation back")
    _by(made)


def _by(made: argparse.ArgumentParser) -> None:
    made.add_argument("--by", required=True, help="who says so")
    made.add_argument("--because", required=True, help="why, for those who ask later")


def _simulate_grammar(into: Any) -> None:
    made = add(
        into, "simulate", "try the indexer on chains and faults that are made up, with the settings of a chain",
        "CHAINWORKD_PROFILE=mainnet chainworkd simulate --seeds 200", "simulate.run",
    )  # fmt: skip
    made.add_argument("--seeds", type=some, default=100, metavar="COUNT", help="how many; 100 if not given")
    made.add_argument("--seed-start", type=_number, default=0, metavar="SEED", help="the first one; 0 if not given")
    made.add_argument("--chain", default="", help="whose settings; the default or the only one, if not given")
    made.add_argument("--jobs", type=some, metavar="COUNT", help="processes; one for each core, if not given")
    made.add_argument("--json", action="store_true", help="report at the end as one line of JSON")
    made.add_argument("--trace", action="store_true", help="tell on standard error what happens, one seed at a time")


def _guarded(arguments: argparse.Namespace) -> int:
    """Run the command; turn its error into one line and an exit code."""
    # Whoever ends a process that hangs, systemd or the parent, does so by SIGABRT: where it hung is then in the log.
    faulthandler.enable()
    try:
        if arguments.command == "child":
            settings, url, sockets, beats = family.read_order()
            _logging(settings, arguments.role)
            family.yield_to_others(arguments.role)
            return _until_stopped(_child(arguments.role, settings, url, sockets, beats))
        profile = arguments.profile or LOCAL.get(arguments.command)
        settings = settings_of.load(profile=profile, config=arguments.config)
        _logging(settings, getattr(arguments, "role", None) or arguments.command)
        return _until_stopped(command(arguments.does)(settings, arguments))
    except ChainworkdError as error:
        log.error("%s", error)
        return exit_code(error)
    except BaseExceptionGroup as errors:
        return _failed(first_of(errors))
    except BrokenPipeError:
        return 1


def _failed(error: BaseException) -> int:
    if isinstance(error, ChainworkdError):
        log.error("%s", error)
    else:
        log.error("failed", exc_info=error)
    return exit_code(error)


def _logging(settings: Settings, process: str) -> None:
    logs.set_up(level=settings.log.level, style=settings.log.style, process=process)


def _until_stopped(work: Awaitable[int | None]) -> int:
    """Run `work` until it ends or a signal asks for it; a stop that was asked for is a success."""

    async def body() -> int:
        task = asyncio.ensure_future(work)
        try:
            with stopping_on_signals(task, within_s=STOP_S) as stop:
                return await task or 0
        except asyncio.CancelledError:
            if stop.asked_by is None:
                raise
            return 0
        except family.OrphanedChild:
            log.warning("stopping: the parent process is gone")
            return 1
        finally:
            # The second Ctrl-C of an impatient person must not break off what is left of an orderly end.
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    # Loaded by now (__main__.py): the collector never has to look at any of it again.
    gc.freeze()
    gc.enable()
    return uvloop.run(body())


async def _child(role: ProcessRole, settings: Settings, url: str, sockets: Sockets, beats: int) -> None:
    from daemon.run import run_services  # noqa: PLC0415 - as `command`

    pulse = Pulse()
    heart = family.heartbeat(pulse, beats, hang_s=settings.ops.hang_s)
    await run_services(role, settings, url, sockets, pulse, family.ParentWatch(), heart)
