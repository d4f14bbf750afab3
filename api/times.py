"""Times as answers show them. Pure."""

from datetime import UTC, datetime


def iso(at: datetime) -> str:
    """Return a time as 2026-04-30T12:00:12Z."""
    # The database's times are of UTC already, and strftime takes five times as long.
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="seconds")[:19] + "Z"


def precise(at: datetime) -> str:
    """Return a time as people's side of the API has it: 2026-05-01T09:00:00.000Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
