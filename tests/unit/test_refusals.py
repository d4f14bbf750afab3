"""The error table against refusals as providers word them."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from core.errors import RpcRefused
from core.rpc.refusals import ELSEWHERE, Kind, classify, retry_s

CASES: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "refusals.toml").read_text())["case"]


@pytest.mark.parametrize("case", CASES, ids=[f"{case['source'][:30]}: {case['message'][:30]}" for case in CASES])
def test_a_refusal_is_understood(case: dict[str, Any]) -> None:
    found = classify(RpcRefused("node", case["method"], case["code"], case["message"]))
    assert found.kind == case["kind"]
    assert "limit" not in case or found.limit == case["limit"]
    assert found.suggested == (tuple(case["suggested"]) if "suggested" in case else None)
    assert found.retry_s == case.get("retry_s")


def test_the_table_has_a_case_for_every_kind() -> None:
    assert {case["kind"] for case in CASES} == set(Kind)
    assert all(case["source"] for case in CASES)


def test_only_what_lies_with_the_endpoint_is_asked_elsewhere() -> None:
    assert Kind.OTHER not in ELSEWHERE and Kind.LIMITED not in ELSEWHERE and Kind.RANGE not in ELSEWHERE


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("retry in 3 seconds", 3.0),
        ("try again in 250ms", 0.25),
        ("please retry after 1.5s", 1.5),
        ("backoff 30 sec", 30.0),
        ("try again later", None),
        ("retry: 5 of 9", None),
        ("", None),
    ],
)
def test_the_wait_that_a_text_names_is_read(text: str, seconds: float | None) -> None:
    assert retry_s(text) == seconds


def test_a_range_that_runs_backwards_suggests_nothing() -> None:
    refused = RpcRefused("node", "eth_getLogs", -32602, "this block range should work: [0x9, 0x1]")
    assert classify(refused).suggested is None
