"""Times as answers show them. Pure."""

from datetime import UTC, datetime

import msgspec


def iso(at: datetime) -> str:
    """Return a time as 2026-04-30T12:00:12Z; parts of a second are cut off."""
    # The database's times are of UTC already. isoformat takes seven times as long.
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    text: str = msgspec.to_builtins(utc.replace(microsecond=0) if utc.microsecond else utc)
    return text


def precise(at: datetime) -> str:
    """Return a time as people's side of the API has it: 2026-05-01T09:00:00.000Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
