"""Whatever a client sends to the builder, the answer is one that its description promises (schemathesis).

The short form runs with the tests; `make fuzz` is the same for longer (FUZZ_EXAMPLES per operation).
"""

import os
from collections import Counter
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api.builder import openapi
from tests.api.test_fuzz import run_each
from tests.builder.face import serving

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "30"))
CHECKS = (
    content_type_conformance, negative_data_rejection, response_headers_conformance, response_schema_conformance,
    status_code_conformance, missing_required_header, unsupported_method,
)  # fmt: skip
SCHEMA = schemathesis.openapi.from_dict(openapi.document())
OPERATIONS = [(path, method) for path, item in openapi.document()["paths"].items() for method in item]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_every_answer_of_the_builder_is_one_that_its_description_promises(path: str, method: str) -> None:
    operation = SCHEMA[path][method.upper()]
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])
    seen: Counter[int] = Counter()

    async with serving() as face, httpx.AsyncClient() as client:

        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), derandomize=True,
        )  # fmt: skip
        @given(case=cases)
        async def each(case: Any) -> None:
            request = case.as_transport_kwargs(base_url=face.url)
            answer = await client.request(
                request["method"], request["url"], params=request.get("params"), headers=request.get("headers"),
                content=request.get("data"), json=request.get("json"),
            )  # fmt: skip
            # 503 is what delegated mode and missing nodes answer; nothing else of the kind is allowed.
            assert answer.status_code < 500 or answer.json()["errorCode"] == "SERVICE_UNAVAILABLE", answer.text
            case.validate_response(schemathesis.Response.from_httpx(answer, verify=True), checks=CHECKS)
            seen[answer.status_code] += 1

        await run_each(each)
    assert seen.total() >= 1
