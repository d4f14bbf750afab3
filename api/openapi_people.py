"""The description of sign-in, people and their tokens: schemas come from the structs that are read and sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from accounts import passwords, people
from api import redirects
from api.access import Scope
from api.errors import Envelope
from api.openapi import Json, response
from api.routes.accounts import Credentials, Entered, Me, Message
from api.routes.people import Change, Changed, HasToken, NewToken, NoToken, Users

NEW_ACCOUNT: Final = "NewAccount"  # Credentials, with what a new account's have to be

ERRORS: Final[Mapping[int, str]] = {
    400: "A field, a parameter or the body is wrong; the message names it",
    401: "No session that is open, or no account with these credentials",
    403: "A page of another site asks, the role is too low, or the account is not approved",
    404: "No such thing",
    408: "The body did not arrive in time",
    409: "It exists already, somebody else was first, or nobody would be an active ADMIN any more",
    413: "The body is too large",
    429: "Too many; Retry-After says when to come back",
    500: "A defect of the server",
    503: "Temporarily unavailable",
}
_SECURITY: Final[Mapping[Scope, list[dict[str, list[str]]]]] = {
    Scope.PUBLIC: [],
    Scope.SESSION: [{"refresh": []}, {"session": []}],
    Scope.OPERATOR: [{"session": []}],
    Scope.PENDING: [{"session": []}],
    Scope.ADMIN: [{"session": []}],
}
SECURITY_SCHEMES: Final[Json] = {
    "session": {"type": "apiKey", "in": "cookie", "name": "auth_token"},
    "refresh": {"type": "apiKey", "in": "cookie", "name": "refresh_token"},
}


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of one path takes and answers; `answers` are alternatives, none for a redirect."""

    summary: str
    scope: Scope
    answers: tuple[type[msgspec.Struct], ...]
    body: str = ""
    errors: tuple[int, ...] = ()
    parameters: tuple[Json, ...] = ()


_CALLBACK: Final[Json] = {
    "name": "callbackUrl", "in": "query", "required": False,
    "description": "a path of this site, not under /api; without it /",
    "schema": {"type": "string", "pattern": r"^/([!-.0-\[\]-~][!-\[\]-~]*)?$", "maxLength": redirects.LONGEST},
}  # fmt: skip
_USER_ID: Final[Json] = {
    "name": "userId", "in": "path", "required": True, "description": "whom to change",
    "schema": {"type": "string", "pattern": "^[a-z0-9]{1,64}$"},
}  # fmt: skip

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("post", "/api/auth/register"): Operation(
        "Make an account: the first is ADMIN and signed in, others wait for approval", Scope.PUBLIC, (Entered, Message),
        NEW_ACCOUNT, (409, 429),
    ),
    ("post", "/api/auth/login"): Operation(
        "Sign in: sets the cookies auth_token and refresh_token", Scope.PUBLIC, (Entered,), "Credentials", (401, 429)
    ),
    ("post", "/api/auth/logout"): Operation("Sign out at once", Scope.SESSION, (Message,)),
    ("get", "/api/auth/me"): Operation("Who is signed in", Scope.PENDING, (Me,)),
    ("post", "/api/auth/refresh"): Operation("Go on with the session: new cookies for old", Scope.SESSION, (Me,)),
    ("get", "/api/auth/refresh"): Operation(
        "The same for a browser on its way to a page of this site", Scope.SESSION, (), parameters=(_CALLBACK,)
    ),
    ("get", "/api/admin/users"): Operation("Everybody, the oldest account first", Scope.ADMIN, (Users,)),
    ("patch", "/api/admin/users/{userId}"): Operation(
        "Set somebody's role, status or both, from the next request on", Scope.ADMIN, (Changed,), "Change", (404, 409),
        (_USER_ID,),
    ),
    ("get", "/api/user/token"): Operation("Whether there is an API token", Scope.OPERATOR, (HasToken, NoToken)),
    ("post", "/api/user/token"): Operation(
        "Make an API token in place of the one there is; shown this once", Scope.OPERATOR, (NewToken,)
    ),
    ("delete", "/api/user/token"): Operation("End the API token at once", Scope.OPERATOR, (Message,), errors=(404,)),
}  # fmt: skip


def paths(operations: Mapping[tuple[str, str], Operation] = OPERATIONS) -> Json:
    """Return the path items."""
    found: Json = {}
    for (method, path), one in operations.items():
        found.setdefault(path, {})[method] = _described(method, path, one)
    return found


def components() -> Json:
    """Return the schemas that `paths` refers to."""
    structs = [Credentials, Change, *(answer for one in OPERATIONS.values() for answer in one.answers)]
    _, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    made: Json = {NEW_ACCOUNT: {**schemas["Credentials"], "title": NEW_ACCOUNT}}
    made[NEW_ACCOUNT]["properties"] = {
        "email": {"type": "string", "maxLength": people.LONGEST_EMAIL, "pattern": people.EMAIL_PATTERN},
        "password": {"type": "string", "minLength": passwords.MIN_LENGTH, "maxLength": passwords.MAX_LENGTH},
    }
    return schemas | made


def _described(method: str, path: str, one: Operation) -> Json:
    refusals = {400, 500, 503, *one.errors}
    if one.scope is not Scope.PUBLIC:
        refusals.add(401)
    if method != "get" or one.scope in (Scope.ADMIN, Scope.OPERATOR):
        refusals.add(403)
    if method != "get":
        refusals |= {408, 413}
    described: Json = {
        "summary": one.summary,
        "operationId": f"{method}_{path.removeprefix('/api/').replace('/', '_').replace('{', '').replace('}', '')}",
        "security": _SECURITY[one.scope],
        "parameters": list(one.parameters),
        "responses": {
            **_success(one),
            **{str(status): response(ERRORS[status], Envelope.__name__) for status in sorted(refusals)},
        },
    }
    if one.body:
        described["requestBody"] = {"required": True, **_content({"$ref": f"#/components/schemas/{one.body}"})}
    return described


def _success(one: Operation) -> Json:
    if not one.answers:
        location = {"schema": {"type": "string"}, "description": "callbackUrl"}
        return {"302": {"description": "To callbackUrl, with new cookies", "headers": {"Location": location}}}
    shown: list[Json] = [{"$ref": f"#/components/schemas/{answer.__name__}"} for answer in one.answers]
    return {"200": {"description": "The answer", **_content(shown[0] if len(shown) == 1 else {"anyOf": shown})}}


def _content(schema: Any) -> Json:
    return {"content": {"application/json": {"schema": schema}}}
