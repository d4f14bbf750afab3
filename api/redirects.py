"""Where a browser may be sent back to: a path of this site and nothing else. Pure."""

import re
from typing import Final
from urllib.parse import unquote

from api.errors import BadRequest

LONGEST: Final = 1_024
# Printable ASCII without the backslash, which browsers read as a slash (URL Standard, 4.4).
_PLAIN: Final = re.compile(r"/[!-\[\]-~]*")
_HARMFUL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|//")


def local_path(text: str) -> str:
    """Return `text` if it is a path (and query) of this site. Raises BadRequest.

    What percent signs hide in the path, at any depth, is judged as if it stood there in the open: something between us
    and the browser may decode it. Paths under /api are refused: a redirect to ourselves would never end.
    """
    if len(text) > LONGEST or not _PLAIN.fullmatch(text) or not _local(re.split(r"[?#]", text, maxsplit=1)[0]):
        raise BadRequest(f"callbackUrl: expected a path of this site such as /markets, found {text[:60]!r}")
    return text


def _local(path: str) -> bool:
    """Judge a path and what it decodes to, until there is nothing left to decode."""
    steps = path.split("/")
    if _HARMFUL.search(path) or {".", ".."} & set(steps) or steps[1].lower() == "api":
        return False
    try:
        decoded = unquote(path, errors="strict")
    except UnicodeDecodeError:
        return False
    return decoded == path or _local(decoded)
