"""Whatever a client sends, the answer is one that the API's own description promises.

The short form runs with the tests; `make fuzz` is the same for longer (FUZZ_EXAMPLES per path).
"""

import os
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from api import stream
from api.facts import HelloEvent
from api.openapi import document
from api.routes.description import answered
from api.routes.explorer import PREFIX
from core.store.pool import Pool
from tests.api.conftest import Bench, client_of
from tests.api.streams import House
from tests.api.test_listing import scene
from tests.api.test_stream import A
from tests.pools import VENUE

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "30"))
CHECKS = (content_type_conformance, negative_data_rejection, response_schema_conformance, status_code_conformance)
DESCRIPTION = document({PREFIX + path: described for path, described in answered().items()}, streams=stream.PATHS)
# Credentials have tests of their own (test_explorer.py); here every request has valid ones.
del DESCRIPTION["security"], DESCRIPTION["components"]["securitySchemes"]
SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION)
PATHS = [path for path in DESCRIPTION["paths"] if path not in stream.PATHS]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_is_one_that_the_description_promises(bench: Bench, api_pool: Pool, path: str) -> None:
    await scene(bench)
    client = client_of(api_pool, bench.token, venues={"main": VENUE})
    operation = SCHEMA[path]["GET"]
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])
    sent = 0

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(case=cases)
    async def each(case: Any) -> None:
        nonlocal sent
        request = case.as_transport_kwargs(base_url="http://api.test")
        answer = await client.request(
            request["method"],
            request["url"],
            params=request.get("params"),
            headers={"authorization": f"Bearer {bench.token}"},
        )
        assert answer.status_code < 500, (request, answer.text)
        case.validate_response(schemathesis.Response.from_httpx(answer, verify=True), checks=CHECKS)
        sent += 1

    await run_each(each)
    assert sent >= EXAMPLES // 2


@pytest.mark.parametrize("path", stream.PATHS)
async def test_every_answer_of_the_stream_is_one_that_the_description_promises(house: House, path: str) -> None:
    """A stream has no end: of one that is granted the first event is looked at."""
    await house.store.commit(A[:5], after=None)
    operation = SCHEMA[path]["GET"]
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])
    seen: Counter[int] = Counter()

    @settings(
        max_examples=EXAMPLES * 3, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(case=cases)
    async def each(case: Any) -> None:
        request = case.as_transport_kwargs(base_url=house.url)
        given_headers = {name: value for name, value in request["headers"].items() if name.lower() == "last-event-id"}
        headers = {**given_headers, "authorization": f"Bearer {house.key}"}
        async with client.stream("GET", request["url"], params=request.get("params"), headers=headers) as answer:
            if answer.status_code == 200:
                body = await anext(answer.aiter_bytes())
                msgspec.json.decode(body.split(b"data: ")[1].split(b"\n")[0], type=HelloEvent)
            else:
                body = await answer.aread()
        seen[answer.status_code] += 1
        assert answer.status_code < 500, (request, body)
        whole = httpx.Response(answer.status_code, headers=answer.headers, content=body, request=answer.request)
        whole.elapsed = timedelta()
        case.validate_response(schemathesis.Response.from_httpx(whole, verify=True), checks=CHECKS)

    async with httpx.AsyncClient(timeout=20) as client:
        await run_each(each)
    assert min(seen[200], seen[400], seen[410]) > 0, seen


async def run_each(test: Any) -> None:
    """Run Hypothesis' examples on the loop that the database's connections belong to."""
    examples: list[Any] = []
    inner = test.hypothesis.inner_test

    def collect(case: Any) -> None:
        examples.append(case)

    test.hypothesis.inner_test = collect
    test()
    for case in examples:
        await inner(case=case)
