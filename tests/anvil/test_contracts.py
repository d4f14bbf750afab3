"""The data under contracts/ against what others compiled, and our compiler run against itself."""

import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from builders.call import encode, invoke, signature, topic
from contracts import abi, deployments
from core.keccak import keccak
from devnet.artifacts import Artifacts

Entry = Mapping[str, Any]

# Our fragment, and a compiled contract that must have all of it.
COMPILED = [
    ("erc20", "DemoToken"),
    ("erc721", "DemoNft"),
    ("erc1155", "DemoItems"),
    ("weth9", "WETH9"),
    ("uniswap_v3_factory", "UniswapV3Factory"),
    ("uniswap_v3_pool", "UniswapV3Pool"),
    ("uniswap_v3_position_manager", "NonfungiblePositionManager"),
    ("uniswap_v3_swap_router", "SwapRouter"),
]
# What a mutability of older compilers is called now.
VIEW = {"pure": "view", "constant": "view"}


def shape(entry: Entry) -> tuple[object, ...]:
    """All of an entry that matters on chain."""
    outputs = signature({"name": "", "inputs": entry.get("outputs", ())})
    indexed = tuple(part.get("indexed", False) for part in entry["inputs"])
    mutability = entry.get("stateMutability", "")
    return entry["type"], signature(entry), outputs, indexed, VIEW.get(mutability, mutability)


def compiled(artifacts: Artifacts, name: str) -> list[Entry]:
    entries: list[Entry] = json.loads((artifacts.npm / "build" / f"{name}.json").read_text())["abi"]
    return [entry for entry in entries if entry["type"] in ("function", "event", "error")]


@pytest.mark.parametrize(("ours", "theirs"), COMPILED)
def test_a_fragment_is_part_of_the_compiled_contract(ours: str, theirs: str, artifacts: Artifacts) -> None:
    known = {shape(entry) for entry in compiled(artifacts, theirs)}
    assert [signature(entry) for entry in abi(ours) if shape(entry) not in known] == []


def test_the_test_vault_has_the_whole_interface_but_permit_and_ownership(artifacts: Artifacts) -> None:
    known = {shape(entry) for entry in compiled(artifacts, "TestVault")}
    missing = {entry["name"] for entry in abi("signed_vault") if shape(entry) not in known}
    assert missing == {"depositWithPermit2", "OwnershipTransferStarted", "OwnershipTransferred", "InvalidAmount"}


VAULT_TOPICS = {
    "Deposit(address,address,address,uint256,uint256)": (
        "5fe47ed6d4225326d3303476197d782ded5a4e9c14f479dc9ec4992af4e85d59"
    ),
    "Deposit(address,address,uint256,uint256)": "dcbc1c05240f31ff3ad067ef1ee35ce4997762752e3a095284754544f4c709d7",
    "Deposit(address,address,uint256)": "5548c837ab068cf56a2c2479df0882a4922fd203edb7517321831d95078c5f62",
    "Withdraw(address,address,uint256)": "9b1bfa7fa9ee420a16e124f794c35ac9f90472acc99140eb2f6447c714cad8eb",
    "NonceCancelled(address,uint256)": "26ccf9904b9b2fb069d347553978928fd2fc65efb2638dcbeb8d142e974479f0",
    "SignatureCancelled(address,bytes)": "45f194850d9c26cfb50dad5456a1c64997b6a4d461d0159f372282ba183d854d",
    "Upgraded(address)": "bc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b",
    "OwnershipTransferred(address,address)": "8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0",
    "OwnershipTransferStarted(address,address)": "38d16b8cac22d99fc7c124b9cd0de2d3fa1faef420bfe791d8c362d765e22700",
}


def test_the_vaults_events_hash_as_on_the_real_chains() -> None:
    events = [signature(entry) for entry in abi("signed_vault") if entry["type"] == "event"]
    assert {event: topic(event).hex() for event in events} == VAULT_TOPICS


def test_the_pools_creation_code_is_the_one_uniswap_published(artifacts: Artifacts) -> None:
    # Otherwise the router and the position manager compute other addresses than the factory gives.
    published = "e34f199b19b2b4f47f68442619d555527d244f78a3297ea89325f843f87b8b54"
    assert keccak(artifacts.bytecode("UniswapV3Pool")).hex() == published


def listed() -> Iterator[tuple[str, str]]:
    text = files("contracts").joinpath("deployments.toml").read_text(encoding="utf-8")
    for chain, addresses in tomllib.loads(text).items():
        for name, address in addresses.items():
            yield f"{chain}.{name}", address


@pytest.mark.parametrize(("name", "address"), list(listed()))
def test_a_listed_address_carries_its_checksum(name: str, address: str) -> None:
    """EIP-55: a digit is upper case where the hash of the lower-case text has a nibble of eight or more."""
    lower = address[2:].lower()
    nibbles = keccak(lower.encode()).hex()
    checked = [char.upper() if int(nibble, 16) >= 8 else char for char, nibble in zip(lower, nibbles, strict=False)]
    assert address == "0x" + "".join(checked), name


def test_a_chain_that_is_not_listed_has_no_deployments() -> None:
    assert deployments(31_337) == {}
    assert len(deployments(1)["weth"]) == 20


def test_calldata_is_the_specifications_example() -> None:
    # Solidity ABI specification, "Examples": baz(uint32,bool) and sam(bytes,bool,uint256[]).
    assert encode("baz(uint32,bool)", [69, True]).hex() == "cdcd77c0" + f"{69:064x}" + f"{1:064x}"
    assert encode("sam(bytes,bool,uint256[])", [b"dave", True, [1, 2, 3]]).hex().startswith("a5643bf2" + f"{96:064x}")


def test_calldata_from_an_entry_and_from_its_signature_agree() -> None:
    aggregate = abi("multicall3")[0]
    arguments = [[(bytes(20), True, b"\x01\x02")]]
    assert encode(aggregate, arguments) == encode("aggregate3((address,bool,bytes)[])", arguments)
    assert invoke(bytes(20), "deposit()", value=5).data.hex() == "d0e30db0"


def test_compiling_again_gives_the_same_bytes(artifacts: Artifacts, tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.mkdir()
    for name in ("compile.mjs", "package-lock.json"):
        shutil.copy(artifacts.npm / name, npm / name)
    (npm / "node_modules").symlink_to(artifacts.npm / "node_modules")
    (tmp_path / "contracts").symlink_to(artifacts.npm.parent / "contracts")
    subprocess.run(["node", "compile.mjs"], cwd=npm, check=True, timeout=120)

    def built(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (folder / "build").iterdir()}

    assert built(npm) == built(artifacts.npm)


def test_the_lock_file_works_on_every_platform_and_with_every_registry() -> None:
    packages = json.loads((Path(__file__).parents[2] / "npm" / "package-lock.json").read_text())["packages"]
    platforms = packages["node_modules/@foundry-rs/anvil"]["optionalDependencies"]
    # `npm install` drops the platforms its registry lacks, and then `npm ci` refuses the file.
    assert [name for name in platforms if f"node_modules/{name}" not in packages] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []
