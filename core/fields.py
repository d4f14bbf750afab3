"""Kinds of values that settings have, each with what it refuses and why."""

import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
HexAddress = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
OptionalAddress = Annotated[str, Field(pattern=r"^(0x[0-9a-fA-F]{40})?$")]
Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Rate = Annotated[str, Field(pattern=r"^([1-9][0-9]{0,6}/(second|minute|hour|day))?$")]


class Part(BaseModel):
    """A section of the settings: unknown keys are refused, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _http_url(value: str) -> str:
    return _url(value, ("http", "https"))


def several(value: Any) -> Any:
    """Split a variable's text: several URLs are separated by commas, which may also stand within one."""
    return re.split(r"\s*,\s*(?=[a-z]+://)", value.strip()) if isinstance(value, str) and value.strip() else value or ()


def _ws_url(value: str) -> str:
    return _url(value, ("ws", "wss"))


def _feed_url(value: str) -> str:
    return _url(value, ("http", "https", "ws", "wss"))


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError(f"expected an address or a network like 10.0.0.0/8, found {value[:60]!r}") from None


def _pg_url(value: str) -> str:
    return _url(value, ("postgresql", "postgres"), host=False)


def _url(value: str, schemes: tuple[str, ...], *, host: bool = True) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and (not host or bool(parts.hostname)) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        # Of the value nothing but a scheme is shown: without one, its beginning may be a key.
        found = re.match(r"([a-z][a-z0-9+.-]{0,15})://", value)
        raise ValueError(
            f"expected a URL with scheme {' or '.join(schemes)}, "
            + (f"found one with {found[1]!r} that cannot be used" if found else "found something else")
        )
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
WsUrl = Annotated[str, AfterValidator(_ws_url)]
FeedUrl = Annotated[str, AfterValidator(_feed_url)]
PgUrl = Annotated[str, AfterValidator(_pg_url)]
Network = Annotated[str, AfterValidator(_network)]
# Of a variable's text, several URLs are separated by commas.
HttpUrls = Annotated[tuple[HttpUrl, ...], BeforeValidator(several)]
WsUrls = Annotated[tuple[WsUrl, ...], BeforeValidator(several)]
