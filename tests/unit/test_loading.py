"""What a command loads: starting is most of what a short one costs."""

import argparse
import inspect
import subprocess
import sys
from collections.abc import Iterator

import pytest

from daemon import cli

# What each takes to load, on the machine of docs/performance.md: 20 to 110 ms.
API = ("starlette", "uvicorn", "api", "limits")
CONTRACTS = ("eth_abi", "eth_utils")
REST = ("apscheduler", "websockets", "pyarrow", "devnet")


def names(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What every command of the grammar says it is done by."""
    if does := parser.get_default("does"):
        yield does
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from names(each)


COMMANDS = list(names(cli.parser()))


def loaded(code: str) -> set[str]:
    """Which top-level packages a fresh interpreter has loaded after `code`."""
    show = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-P", "-c", show], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_every_command_is_there() -> None:
    assert {
        "run.run",
        "backfill.run",
        "export.run",
        "check.run",
        "demo.run",
        "commands.token_list",
        "alarms.clear",
    } <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_what_its_name_says(name: str) -> None:
    found = cli.command(name)
    assert inspect.iscoroutinefunction(found)
    assert list(inspect.signature(found).parameters) == ["settings", "arguments"]


def test_backfill_loads_neither_the_api_nor_what_other_processes_do() -> None:
    found = loaded("from daemon import cli; cli.parser(); cli.command('backfill.run')")
    assert "asyncpg" in found and "aiohttp" in found
    assert found.isdisjoint((*API, *CONTRACTS, *REST))


def test_the_head_loads_neither_the_routes_of_clients_nor_what_reads_contracts() -> None:
    found = loaded("from daemon import cli; cli.command('run.run'); import daemon.head")
    assert "starlette" in found, "probes are served by every process"
    assert found.isdisjoint(("limits", "builders", *CONTRACTS, *REST))
