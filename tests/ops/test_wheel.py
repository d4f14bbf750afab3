"""What people install: all that is needed is in the wheel, nothing else is, and it works without the checkout."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.ops.process import ANY_PORTS, Cli

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
OUR_NAMES = frozenset(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
WHERE = "import daemon, sys; print(daemon.__file__); print(*sys.path, sep='\\n')"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with our wheel; what it depends on is borrowed from this one, which takes no network."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    site = next(folder.glob("lib/python*/site-packages"))
    # A path in a .pth file does not have its own .pth files read: the editable checkout stays out.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def cli(environment: Path, tmp_path: Path) -> Cli:
    borrowed = sysconfig.get_path("scripts")  # where dbmate is
    base = {**ANY_PORTS, "PATH": f"{borrowed}:{os.environ['PATH']}", "CHAINWORKD_DATA_DIR": str(tmp_path / "data")}
    return Cli(tmp_path, base, [str(environment / "bin" / "chainworkd")])


def _tracked(pattern: str) -> set[str]:
    return {str(file.relative_to(CHECKOUT)) for file in CHECKOUT.glob(pattern)}


def test_all_data_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = _tracked("core/store/migrations/*.sql") | _tracked("accounts/migrations/*.sql")
    wanted |= _tracked("contracts/abi/*.json") | {"contracts/deployments.toml", "api/status.html"}
    wanted |= {f"core/config_files/{Path(file).name}" for file in _tracked("config/*.toml")}
    assert len(wanted) > 15
    assert wanted <= names


def test_nothing_but_our_packages_is_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == OUR_NAMES
    unwanted = ("tests", "npm", "var", "node_modules", "__pycache__")
    assert [name for name in names if set(name.split("/")) & set(unwanted)] == []


def test_no_other_distribution_owns_one_of_our_names() -> None:
    owners = {
        (file.parts[0].removesuffix(".py"), found.name)
        for found in distributions()
        if found.name != PROJECT["project"]["name"]
        for file in found.files or ()
    }
    assert len(owners) > 20
    assert {(name, owner) for name, owner in owners if name in OUR_NAMES} == set()


def test_the_installed_program_is_not_the_checkout(environment: Path, tmp_path: Path) -> None:
    run = [str(environment / "bin" / "python"), "-P", "-c", WHERE]
    module, *path = subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.splitlines()
    assert Path(module).is_relative_to(environment)
    assert str(CHECKOUT) not in path


async def test_the_installed_program_works_from_anywhere(cli: Cli, empty_database_url: str) -> None:
    database = {"CHAINWORKD_DATABASE__URL": empty_database_url}
    version, helped = await cli("--version"), await cli("--help")
    assert (version.code, version.out) == (0, f"chainworkd {PROJECT['project']['version']}\n")
    assert (helped.code, "mainnet" in helped.out) == (0, True)
    migrated = await cli("migrate", **database)
    assert (migrated.code, migrated.err) == (0, "")
    assert migrated.out.splitlines()[:2] == ["applied 0001_chain.sql", "applied 0002_accounts.sql"]
    checked = await cli("check", **database)
    assert (checked.code, "up to date" in checked.out) == (0, True)
    assert (await cli("token", "create", "--label", "x", **database)).code == 0
