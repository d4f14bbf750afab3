"""What people may do: PENDING < OPERATOR < ADMIN. Pure."""

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """How much somebody may do; each role may do what those before it may."""

    PENDING = "PENDING"
    OPERATOR = "OPERATOR"
    ADMIN = "ADMIN"

    def reaches(self, wanted: "Role") -> bool:
        """Whether this role may do what `wanted` may."""
        return _ORDER.index(self) >= _ORDER.index(wanted)


class Status(StrEnum):
    """Whether somebody is let in at all: not yet, yes, not any more."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


_ORDER: Final = tuple(Role)


def may_sign_in(role: Role, status: Status) -> bool:
    """Whether somebody may have a session: approved, with a role above PENDING."""
    return status is Status.ACTIVE and role.reaches(Role.OPERATOR)
