"""The systemd units: hardened alike, naming commands that exist, keys for the sender alone."""

import asyncio
import configparser
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core import systemd
from core.pulse import Pulse
from core.settings import load
from daemon.cli import parser
from daemon.processes import ALONE, ROLES

FOLDER = Path(__file__).parents[2] / "systemd"
PROGRAM = "/opt/chainworkd/bin/chainworkd"
SERVICES = sorted(FOLDER.glob("*.service"))
LONG_RUNNING = [unit for unit in SERVICES if unit.stem != "chainworkd-migrate"]
NAMES = [unit.stem for unit in SERVICES]

HARDENING = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateUsers": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectControlGroups": "yes",
    "RestrictNamespaces": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "MemoryDenyWriteExecute": "yes",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service\n~@privileged @resources",
    "UMask": "0077",
    "LimitCORE": "0",
    "DynamicUser": "yes",
}

# What a unit has to do without, and why it is said in the unit itself.
WITHOUT = {f"chainworkd-{unit}": ("MemoryDenyWriteExecute",) for unit in ("indexer", "backfill")}


class _Repeated(dict[str, Any]):
    """Joins the lines of a directive that is given several times."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and isinstance(self.get(key), list):
            value = [*self[key], *value]
        super().__setitem__(key, value)


def read(unit: Path) -> configparser.RawConfigParser:
    repeated: Any = _Repeated
    found = configparser.RawConfigParser(strict=False, dict_type=repeated, comment_prefixes=("#",), delimiters=("=",))
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read(unit)
    return found


def command(unit: Path) -> list[str]:
    return read(unit)["Service"]["ExecStart"].split()


@pytest.mark.parametrize("unit", SERVICES, ids=NAMES)
def test_every_unit_is_hardened(unit: Path) -> None:
    service = read(unit)["Service"]
    wanted = {name: value for name, value in HARDENING.items() if name not in WITHOUT.get(unit.stem, ())}
    assert {name: service.get(name) for name in wanted} == wanted
    assert service["User"] == unit.stem


@pytest.mark.parametrize("unit", SERVICES, ids=NAMES)
def test_every_unit_starts_a_command_that_exists(unit: Path) -> None:
    program, *arguments = command(unit)
    assert program == PROGRAM
    role = unit.stem.removeprefix("chainworkd-")
    parsed = parser().parse_args(arguments)
    assert [parsed.command, getattr(parsed, "role", None)] == (
        ["migrate", None] if role == "migrate" else ["run", role]
    )


@pytest.mark.parametrize("unit", LONG_RUNNING, ids=[unit.stem for unit in LONG_RUNNING])
def test_a_failure_is_restarted_and_a_wrong_setting_is_not(unit: Path) -> None:
    found = read(unit)
    service = found["Service"]
    assert service["Type"] == "notify"
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "78")
    fed = unit.stem.removeprefix("chainworkd-") in (*ROLES, *ALONE)
    assert service.get("WatchdogSec") == ("60s" if fed else None)
    assert found["Unit"]["Requires"] == "chainworkd-migrate.service"
    assert found["Unit"]["StartLimitIntervalSec"] == "0"


@pytest.mark.parametrize("unit", SERVICES, ids=NAMES)
def test_every_unit_has_its_own_database_log_in_and_only_the_sender_may_have_keys(unit: Path) -> None:
    role = unit.stem.removeprefix("chainworkd-")
    text = unit.read_text()
    lines = [line.lstrip("#") for line in text.splitlines() if "Credential" in line and "=" in line]
    allowed = [
        "LoadCredential=chainworkd.toml:/etc/chainworkd/chainworkd.toml",
        f"LoadCredential=chainworkd_database__url:/etc/chainworkd/credentials/{role}_database_url",
    ]
    keys = [line for line in lines if line not in allowed]
    assert lines[:2] == allowed
    assert bool(keys) == (role == "sender")
    assert not any(word in text for word in ("Environment", "SetCredential", "PassEnvironment"))


def test_the_target_wants_what_this_version_has() -> None:
    wanted = read(FOLDER / "chainworkd.target")["Unit"]["Wants"].split()
    assert wanted == [f"chainworkd-{name}.service" for name in ("migrate", "indexer", "backfill", "api")]


def test_the_example_settings_load() -> None:
    settings = load(config=FOLDER / "chainworkd.example.toml", environ={})
    assert list(settings.chains) == ["mainnet"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, with a program that exists here in the place of ours."""
    for unit in FOLDER.glob("chainworkd*.*"):
        if unit.suffix in (".service", ".target"):
            (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    return tmp_path


def _analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed here")
    environment = {"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_PAGER": "cat"}
    return subprocess.run(
        [tool, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_systemd_has_nothing_to_say_about_the_units(installed: Path) -> None:
    units = sorted(file.name for file in installed.iterdir())
    done = _analyze(installed, "verify", "--man=no", *units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_check_above_would_notice_a_fault(installed: Path) -> None:
    unit = installed / "chainworkd-api.service"
    unit.write_text(unit.read_text().replace("[Service]", "[Service]\nProtectEverything=yes"))
    done = _analyze(installed, "verify", "--man=no", unit.name)
    assert "ProtectEverything" in done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=NAMES)
def test_the_exposure_stays_what_the_runbook_says(unit: Path, installed: Path) -> None:
    done = _analyze(installed, "security", "--offline=true", "--threshold=12", f"./{unit.name}")
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at units that are not loaded")
    assert done.returncode == 0, done.stdout[-300:]


async def test_the_watchdog_is_fed_as_systemd_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address))
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        monkeypatch.setenv("WATCHDOG_USEC", "3000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        (feed,) = systemd.watchdog(Pulse())
        running = asyncio.create_task(feed.run())
        await asyncio.sleep(0)
        assert channel.recv(100) == b"WATCHDOG=1"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    monkeypatch.delenv("WATCHDOG_USEC")
    assert systemd.watchdog(Pulse()) == []
