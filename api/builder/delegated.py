"""Requests of delegated (gasless) mode, which is off: what they must look like is checked all the same. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from api.builder.fields import Faults
from api.builder.refusals import invalid
from api.errors import KeyRequired

DELEGATED_OFF: Final = "delegated mode is off"
MODES: Final = ("cancel", "reset")

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


def signed_message(body: Any) -> None:
    """Check the body of verify-cancel and verify-revoke. Raises Invalid."""
    faults = Faults()
    _texts(body, {"message": "Message", "signature": "Signature"}, faults)
    if faults:
        raise invalid(faults)


def mode_request(body: Any) -> None:
    """Check the body of the legacy verify route. Raises Invalid."""
    faults = Faults()
    wanted = {"mode": "Mode", "nonce": "Nonce", "expiresAt": "Expiry", "signature": "Signature"}
    found = _texts(body, wanted, faults)
    if "mode" in found and found["mode"] not in MODES:
        faults.add("mode", f"Mode must be one of {', '.join(MODES)}", found["mode"])
    if "expiresAt" in found and not _is_moment(found["expiresAt"]):
        faults.add("expiresAt", "Expiry must be a time with a zone, like 2026-04-01T00:00:00Z", found["expiresAt"])
    if faults:
        raise invalid(faults)


def require_key(key: str | None) -> None:
    """Raise KeyRequired without an API key."""
    if not key:
        raise KeyRequired("X-API-Key: expected an API key, found none")


def _texts(body: Any, wanted: Mapping[str, str], faults: Faults) -> dict[str, str]:
    """Return the fields that are text; note a fault for each other one."""
    if not isinstance(body, Mapping):
        faults.add("body", "The request must be a JSON object", body)
        return {}
    found = {name: body[name] for name in wanted if isinstance(body.get(name), str)}
    for name, label in wanted.items():
        if name not in body:
            faults.add(name, f"{label} is required")
        elif name not in found:
            faults.add(name, f"{label} must be a string", body[name])
    return found


def _is_moment(text: str) -> bool:
    try:
        msgspec.convert(text, _Moment)
    except msgspec.ValidationError:
        return False
    return True
