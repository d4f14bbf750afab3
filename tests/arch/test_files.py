"""What must not be in a tracked file: places of one machine, keys, hosts of package registries, loose ends."""

import json
import re
from pathlib import Path

import pytest

from core.hex import from_hex
from tests.arch.house import ROOT, files, source

# Split, so that this file does not contain what it looks for.
LOOSE_ENDS = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
MACHINE = re.compile(r"(?<![\w.])/(?:ho" + r"me/\w|ro" + r"ot/[\w.]|Us" + r"ers/\w|wo" + r"rk/\w)")
REGISTRY = re.compile(
    r"registry\.npm" + r"js|registry\.yarn" + r"pkg|files\.python" + r"hosted|(?:test\.)?py" + r"pi\.org|\bindex-url\b"
)
KEY = re.compile(r"(?:0x)?\b[0-9a-fA-F]{64}\b")
KEY_WORDS = re.compile(r"private|secret|mnemonic|key\w*['\"]?\s*[:=](?!=)", re.I)

# Derived from the phrase "test test … junk", which anvil and every other development node print at their start.
ANVIL_KEYS = frozenset(
    from_hex(key)
    for key in (
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
        "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
        "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
        "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
        "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
        "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
        "0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
        "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
    )
)

TEXTS = [file for file in files() if source(file)]


def _found(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{file}:{number}"
        for file in TEXTS
        for number, line in enumerate(source(file).splitlines(), 1)
        if pattern.search(line)
    ]


def test_the_rules_would_notice() -> None:
    assert MACHINE.search("see /ho" + "me/ann/x")
    assert not MACHINE.search("https://example.org/ho" + "me/ann")
    assert REGISTRY.search("https://registry.npm" + "js.org/a")
    assert LOOSE_ENDS.search("# TO" + "DO: later")
    assert KEY_WORDS.search("PRIVATE_KEY = ")


def test_no_loose_ends() -> None:
    assert _found(LOOSE_ENDS) == []


def test_no_places_of_one_machine() -> None:
    assert _found(MACHINE) == []


def test_no_hosts_of_package_registries() -> None:
    assert _found(REGISTRY) == []


def test_the_lock_file_of_npm_says_what_but_not_from_where() -> None:
    lock = json.loads((ROOT / "npm/package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    unproven = [name for name, package in lock["packages"].items() if name and "integrity" not in package]
    # npm/README.md says why these have no hash yet.
    assert [name for name in unproven if not name.startswith("node_modules/@foundry-rs/anvil-")] == []


def test_no_private_keys_but_the_public_ones_of_test_nodes() -> None:
    found = [
        f"{file}:{number}"
        for file in TEXTS
        for number, line in enumerate(source(file).splitlines(), 1)
        if KEY_WORDS.search(line) and any(from_hex(hit) not in ANVIL_KEYS for hit in map(_prefixed, KEY.findall(line)))
    ]
    assert found == []


def _prefixed(text: str) -> str:
    return text if text.startswith("0x") else f"0x{text}"


@pytest.mark.parametrize("kind", ["pem", "key", "env", "sqlite", "pyc"])
def test_no_files_of_a_kind_that_holds_secrets_or_products(kind: str) -> None:
    assert [file for file in files() if file.suffix == f".{kind}" or file.name == f".{kind}"] == []


def test_every_package_has_a_first_file() -> None:
    folders = {file.parent for file in files() if file.suffix == ".py" and file.parent != Path()}
    assert [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").is_file()] == []
