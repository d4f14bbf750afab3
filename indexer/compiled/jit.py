"""How a function is compiled, and where the result is kept.

numba notices a change of the file that holds a function, but not of what it calls in another file, and keeps apart what
was compiled in another place. So the folder of compiled code is named after the text and the place of this package.
"""

import gc
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import numba
from numba.core.registry import cpu_target

F = TypeVar("F", bound=Callable[..., Any])

HERE: Final = Path(__file__).parent


def folder() -> Path:
    """Return where compiled code is kept: systemd's CacheDirectory, or the user's cache."""
    base = os.environ.get("CACHE_DIRECTORY") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "chainworkd" / f"compiled-{_text_hash()}"


def _text_hash() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {HERE}".encode())
    for file in sorted(HERE.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _writable(path: Path) -> bool:
    try:
        # What lies there is run as it is: nobody else may write it.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return False
    return os.access(path, os.W_OK | os.X_OK) and path.stat().st_uid == os.geteuid()


KEPT: Final = _writable(folder())
if KEPT:
    numba.config.CACHE_DIR = str(folder())  # type: ignore[attr-defined]
# Without `_nrt` no array is made in compiled code, and none is counted: counting took half of the time.
OPTIONS: Final[dict[str, Any]] = {"nogil": True, "cache": KEPT, "error_model": "numpy", "_nrt": False}


def compiled(function: F) -> F:
    """Compile `function` at its first call. It runs without the interpreter's lock, and checks no index."""
    return numba.njit(**OPTIONS)(function)  # type: ignore[no-any-return]


@contextmanager
def loading() -> Iterator[None]:
    """Load compiled code without what numba needs to compile, which is a third of the time and 40 MB.

    numba registers all that it can compile before it loads anything (`refresh`), and what is loaded needs none of it.
    It does so again before it compiles, since nothing of this is left then. Garbage is not looked for meanwhile.
    """
    target: Any = cpu_target.target_context
    gc.disable()
    target.refresh = lambda: None
    try:
        yield
    finally:
        del target.refresh
        gc.freeze()
        gc.enable()
