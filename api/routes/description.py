"""The API's description, for programs and for people: /api/openapi.json and /api/docs."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from api import openapi, openapi_droids, openapi_people, stream
from api.access import Scope, route
from api.routes.explorer import PREFIX, Explorer
from api.routes.operations import PAGE_POLICY
from api.routes.prices import PriceRoutes


def answered() -> dict[str, tuple[str, type[msgspec.Struct], Sequence[str]]]:
    """Return what each path of the explorer answers and which query parameters it takes."""
    return Explorer.described() | PriceRoutes.described()


def document() -> dict[str, Any]:
    """Return the description of every path under /api."""
    made = openapi.document({PREFIX + path: described for path, described in answered().items()}, streams=stream.PATHS)
    made["paths"] |= openapi_people.paths() | openapi_people.paths(openapi_droids.OPERATIONS)
    made["components"]["schemas"] |= openapi_people.components() | openapi_droids.components()
    made["components"]["securitySchemes"] |= openapi_people.SECURITY_SCHEMES
    return made


def routes() -> list[Route]:
    """Return the routes of the description and of the page that shows it."""
    body = msgspec.json.encode(document())
    page = resources.files("api").joinpath("docs.html").read_text()

    async def described(_: Request) -> Response:
        """The API's description."""
        return Response(body, media_type="application/json")

    async def shown(_: Request) -> Response:
        """The same for people."""
        return HTMLResponse(page, headers={"content-security-policy": PAGE_POLICY})

    return [
        route("/api/openapi.json", described, scope=Scope.PUBLIC),
        route("/api/docs", shown, scope=Scope.PUBLIC),
    ]
