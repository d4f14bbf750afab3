"""The builder's error envelope, and faults of a body as an error. Pure but for the response object."""

from typing import Any, Final

from starlette.responses import Response
from starlette.types import Scope

from api.builder.answers import ErrorResponse, encode
from api.builder.fields import Faults
from api.errors import ApiError, Invalid

REQUEST_ID: Final = "chainworkd.request_id"  # where a scope keeps the id of its request
JSON: Final = "application/json"


def invalid(faults: Faults) -> Invalid:
    """Return the error that names every fault of a body by its path."""
    first = next(iter(faults.messages.values()))[0]
    details: dict[str, Any] = {"validationErrors": faults.messages}
    if faults.found:
        details["found"] = faults.found
    return Invalid(f"Validation failed: {first}", details)


def body_of(error: ApiError) -> bytes:
    """Return the envelope of an error."""
    return encode(ErrorResponse(str(error), error.status, error.kind, dict(error.details)))


def rendered(scope: Scope, error: ApiError) -> Response:
    """Return the answer to a request that failed."""
    headers = dict(error.headers)
    if REQUEST_ID in scope:
        headers["x-request-id"] = scope[REQUEST_ID]
    return Response(body_of(error), error.status, headers, JSON)
