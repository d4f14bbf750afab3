"""The two cookies of a session: `auth_token` for every path, `refresh_token` for /api/auth alone."""

from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.errors import BadRequest

ACCESS: Final = "auth_token"
REFRESH: Final = "refresh_token"
PATHS: Final = {ACCESS: "/", REFRESH: "/api/auth"}


def of(request: Request, name: str) -> str | None:
    """Return a cookie. Raises BadRequest if it came twice: one is another site's, and which cannot be known."""
    sent = [part.partition("=") for header in request.headers.getlist("cookie") for part in header.split(";")]
    values = [value.strip().strip('"') for key, _, value in sent if key.strip() == name]
    if len(values) > 1:
        raise BadRequest(f"cookie {name}: given {len(values)} times")
    return values[0] if values else None


class Cookies:
    """Sets and clears both, httpOnly and SameSite=Lax; `secure` everywhere but on loopback."""

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure

    def set(self, response: Response, access: str, refresh: str, *, access_s: timedelta, refresh_s: timedelta) -> None:
        """Give the browser both, each for as long as it is good."""
        for name, value, age in ((ACCESS, access, access_s), (REFRESH, refresh, refresh_s)):
            response.set_cookie(
                name, value, max_age=int(age.total_seconds()), path=PATHS[name], secure=self._secure, httponly=True,
                samesite="lax",
            )  # fmt: skip

    def clear(self, response: Response) -> None:
        """Take both away."""
        for name, path in PATHS.items():
            response.delete_cookie(name, path=path, secure=self._secure, httponly=True, samesite="lax")
