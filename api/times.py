"""Times as answers show them. Pure."""

from datetime import UTC, datetime


def iso(at: datetime) -> str:
    """Return a time as 2026-04-30T12:00:12Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
