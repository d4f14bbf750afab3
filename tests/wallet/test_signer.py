"""Who signs, and that nobody is believed: what comes back is what was asked, by whom it should be."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from builders.call import Call
from core.errors import BadAnswer, BadConfig
from core.hex import from_hex, to_hex
from core.rpc.client import RpcClient
from core.sending import WalletSettings
from daemon.sender import local_signer
from tests.make import address
from wallet.signer import LocalSigner, RemoteSigner, checked, from_dev_key, from_keystore
from wallet.types import Fees, Unsigned

# anvil's first account: the same signatures each time.
ACCOUNT = Account.from_key("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
WALLET = from_hex(ACCOUNT.address)
UNSIGNED = Unsigned(
    chain_id=1, nonce=3, call=Call(address("to"), b"\x01\x02", 5), gas=21_000, fees=Fees(cap=100, tip=7)
)


@pytest.fixture
def keystore(tmp_path: Path) -> WalletSettings:
    (tmp_path / "key.json").write_text(json.dumps(Account.encrypt(ACCOUNT.key, "open sesame", iterations=2)))
    (tmp_path / "pass").write_text("open sesame\n")
    for name in ("key.json", "pass"):
        (tmp_path / name).chmod(0o600)
    return WalletSettings(live=True, keystore=str(tmp_path / "key.json"), passphrase=str(tmp_path / "pass"))


async def test_a_keystore_signs_what_was_asked(
    keystore: WalletSettings,
) -> None:
    signer = local_signer("main", keystore, {})
    assert signer is not None
    assert signer.address == WALLET
    raw = await signer.sign(UNSIGNED)
    assert from_hex(Account.recover_transaction(raw)) == WALLET
    assert TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["maxFeePerGas"] == 100


def test_credentials_of_the_unit_are_keystores_too(keystore: WalletSettings, tmp_path: Path) -> None:
    of = keystore.model_copy(update={"keystore": "credential:key.json", "passphrase": "credential:pass"})
    signer = local_signer("main", of, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert signer is not None
    with pytest.raises(BadConfig, match="passes no credentials"):
        local_signer("main", of, {})


def test_a_dry_run_reads_no_key() -> None:
    assert local_signer("main", WalletSettings(keystore="/nowhere", passphrase="/nowhere"), {}) is None


@pytest.mark.parametrize("file", ["key.json", "pass"])
def test_a_file_that_others_may_read_is_refused(keystore: WalletSettings, tmp_path: Path, file: str) -> None:
    (tmp_path / file).chmod(0o640)
    with pytest.raises(BadConfig, match="others may read it"):
        local_signer("main", keystore, {})


def test_faults_name_the_setting_and_never_the_secret(keystore: WalletSettings, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("wrong secret")
    with pytest.raises(BadConfig) as wrong:
        local_signer("main", keystore, {})
    assert "wallets.main.keystore" in str(wrong.value)
    assert "secret" not in str(wrong.value)
    with pytest.raises(BadConfig, match="not readable"):
        local_signer("main", keystore.model_copy(update={"passphrase": ""}), {})
    with pytest.raises(BadConfig, match="not a keystore"):
        from_keystore("{}", "x", "here")
    with pytest.raises(BadConfig) as bad:
        from_dev_key("0x1234beef", "here")
    assert "beef" not in str(bad.value)


def test_a_key_in_the_environment_is_read_from_where_the_setting_says() -> None:
    of = WalletSettings(live=True, dev_key_env="MY_KEY", allow_dev_key=True)
    signer = local_signer("main", of, {"MY_KEY": to_hex(bytes(ACCOUNT.key))})
    assert signer is not None
    assert signer.address == WALLET
    assert bytes(ACCOUNT.key).hex() not in repr(signer)
    with pytest.raises(BadConfig, match="MY_KEY"):
        local_signer("main", of, dict(os.environ))


class Remote(RpcClient):
    """Answers as Web3Signer, or as something that pretends to be one."""

    def __init__(self, answer: object) -> None:
        super().__init__("http://signer.invalid")
        self.answer_with = answer
        self.asked: list[object] = []

    async def call(self, method: str, *params: object) -> object:
        self.asked.append((method, *params))
        return self.answer_with


async def test_a_remote_signer_is_asked_for_exactly_that(keystore: WalletSettings) -> None:
    raw = await LocalSigner(ACCOUNT).sign(UNSIGNED)
    for answer in (to_hex(raw), {"raw": to_hex(raw), "tx": {}}):
        remote = Remote(answer)
        assert await RemoteSigner(remote, WALLET).sign(UNSIGNED) == raw
        assert remote.asked == [(
            "eth_signTransaction",
            {
                "from": to_hex(WALLET), "to": to_hex(address("to")), "gas": "0x5208", "maxFeePerGas": "0x64",
                "maxPriorityFeePerGas": "0x7", "value": "0x5", "data": "0x0102", "nonce": "0x3", "chainId": "0x1",
            },
        )]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": 4}, {"chain_id": 2}, {"gas": 21_001}, {"fees": Fees(101, 7)}, {"fees": Fees(100, 8)},
        {"call": Call(address("thief"), b"\x01\x02", 5)}, {"call": Call(address("to"), b"\x01", 5)},
        {"call": Call(address("to"), b"\x01\x02", 6)},
    ],
)  # fmt: skip
async def test_a_signer_that_signs_something_else_is_not_believed(change: dict[str, object]) -> None:
    other = await LocalSigner(ACCOUNT).sign(replace(UNSIGNED, **change))  # type: ignore[arg-type]
    with pytest.raises(BadAnswer, match="is not what was asked"):
        await RemoteSigner(Remote(to_hex(other)), WALLET).sign(UNSIGNED)


async def test_a_signature_of_somebody_else_is_not_believed() -> None:
    raw = await LocalSigner(Account.create()).sign(UNSIGNED)
    with pytest.raises(BadAnswer, match="signed by"):
        checked(raw, UNSIGNED, WALLET)


async def test_a_signature_written_another_way_would_have_another_hash_and_is_not_taken() -> None:
    raw = await LocalSigner(ACCOUNT).sign(UNSIGNED)
    place = len(raw) - 67  # before r and s, each with its length
    parity = {0x80: 0x1B, 0x01: 0x1C}[raw[place]]
    with pytest.raises(BadAnswer, match="expected a parity"):
        checked(raw[:place] + bytes([parity]) + raw[place + 1 :], UNSIGNED, WALLET)


@pytest.mark.parametrize("answer", ["0x02", "0x", "0xf86c", None, 5, {"raw": None}])
async def test_an_answer_that_is_no_transaction_is_a_fault(answer: object) -> None:
    with pytest.raises(BadAnswer):
        await RemoteSigner(Remote(answer), WALLET).sign(UNSIGNED)


def test_the_libraries_of_signing_leave_the_limit_of_recursion_as_it_was() -> None:
    program = (
        "import sys; before = sys.getrecursionlimit(); import wallet.signer; print(before, sys.getrecursionlimit())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert found[0] == found[1]
