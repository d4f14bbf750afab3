"""Compiled functions without the compiler: what is compiled, where it is kept, and how it is loaded and called.

numba compiles (build.py), in a process of its own that ends; what it makes is machine code that needs nothing of numba,
and is kept as object files. This module loads them by llvmlite and calls them by ctypes: a tenth of a second, and no
compiler in memory (docs/adr/0016-object-files.md).

How a compiled function is called is numba's convention, of the version that is pinned (numba/core/callconv.py,
CPUCallConv): a status is returned; the first arguments are where the result goes, and where the address of an exception
goes; then come the arguments, arrays and tuples taken apart (numba/core/datamodel/models.py, ArrayModel): two addresses
that are not used here, number of items, bytes of an item, address, lengths and strides of the axes.
"""

import ctypes
import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, ParamSpec, TypeVar

import llvmlite
import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

HERE: Final = Path(__file__).parent
INDEX: Final = "entries.json"  # written last: with it all is there

OK, RAISED = 0, 1  # of numba's states of return, the ones that code without a bug ends with


class NotCompiled(RuntimeError):
    """There is no compiled code for this text and this processor: `python -m indexer.warm` makes it."""


class Array(NamedTuple):
    """An array in C order: its type of item, and how many axes it has."""

    item: type[np.generic]
    axes: int


class Group(NamedTuple):
    """A tuple of these parts, or a NamedTuple of the class `made`."""

    parts: tuple["Kind", ...]
    made: type | None = None


Kind = Array | Group | type[int]

BYTES: Final = Array(np.uint8, 1)
ROWS_OF_BYTES: Final = Array(np.uint8, 2)
FLAGS: Final = Array(np.bool_, 1)
INTS: Final = Array(np.int32, 1)
TABLE: Final = Array(np.int32, 2)
SPANS: Final = Array(np.int32, 3)  # rows, fields, (start, end)
LONGS: Final = Array(np.int64, 1)
WORDS: Final = Array(np.uint64, 1)


class _Raised(ctypes.Structure):
    """An exception with constant arguments (numba/core/callconv.py, excinfo_t): where its pickled text lies."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_int32), ("rest", ctypes.c_void_p * 3))


class Entry(Generic[P, R]):
    """A compiled function that Python calls. It runs without the interpreter's lock, and checks no index.

    Raises NotCompiled before `load`, TypeError for an argument of another kind than was compiled for.
    """

    def __init__(self, function: Callable[P, R], kinds: tuple[Kind, ...]) -> None:
        self.function = function
        self.kinds = kinds
        self.name = f"{function.__module__}.{function.__name__}"
        self._native: Callable[..., int] | None = None
        ENTRIES[self.name] = self

    def _bind(self) -> Callable[..., int]:
        address = _addresses.get(self.name)
        if address is None:
            raise NotCompiled(f"{self.name}: compiled code is not loaded")
        words = 2 + sum(map(_words, self.kinds))
        return ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_int64] * words)(address)

    def __call__(self, *args: P.args, **_: P.kwargs) -> R:
        """Call it. Raises what the function raises."""
        if self._native is None:
            self._native = self._bind()
        words: list[int] = []
        for kind, arg in zip(self.kinds, args, strict=True):
            _take_apart(kind, arg, words)
        result, raised = ctypes.c_int64(), ctypes.c_void_p()
        status = self._native(ctypes.addressof(result), ctypes.addressof(raised), *words)
        if status != OK:
            raise _exception(status, raised)
        return result.value  # type: ignore[return-value]  # an int, or what nobody looks at


ENTRIES: Final[dict[str, Entry[..., Any]]] = {}
INNER: Final[list[Callable[..., Any]]] = []


def compiled(function: F) -> F:
    """Mark a function that other compiled ones call. Called from Python it is plain Python."""
    INNER.append(function)
    return function


def entry(*kinds: Kind) -> Callable[[Callable[P, R]], Entry[P, R]]:
    """Mark a compiled function that Python calls, with arguments of these kinds; it returns an int or nothing."""
    return lambda function: Entry(function, kinds)


def _words(kind: Kind) -> int:
    """Return how many arguments of the machine code an argument of `kind` is."""
    if isinstance(kind, Array):
        return 5 + 2 * kind.axes
    return sum(map(_words, kind.parts)) if isinstance(kind, Group) else 1


def _take_apart(kind: Kind, value: Any, words: list[int]) -> None:
    if isinstance(kind, Array):
        words += _array_words(kind, value)
    elif isinstance(kind, Group):
        for part, each in zip(kind.parts, value, strict=True):
            _take_apart(part, each, words)
    else:
        words.append(int(value))


def _array_words(kind: Array, value: npt.NDArray[Any]) -> Iterator[int]:
    if value.dtype != kind.item or value.ndim != kind.axes or not value.flags.c_contiguous:
        raise TypeError(
            f"expected {kind.item.__name__} with {kind.axes} axes in C order, "
            f"found {value.dtype} with {value.ndim} axes, strides {value.strides}"
        )
    address = value.__array_interface__["data"][0]
    return iter((0, 0, value.size, value.itemsize, address, *value.shape, *value.strides))


def _exception(status: int, raised: ctypes.c_void_p) -> Exception:
    if status != RAISED or not raised.value:
        return RuntimeError(f"compiled code ended with status {status}")
    found = _Raised.from_address(raised.value)
    kind, args, _ = pickle.loads(ctypes.string_at(found.data, found.size))  # noqa: S301 - our own constants
    return kind(*args)  # type: ignore[no-any-return]


# -- where it is kept --------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Return where compiled code is kept: systemd's CacheDirectory, or the user's cache.

    It is named after the text it was compiled from, LLVM, and the processor, whose every feature is used.
    """
    base = os.environ.get("CACHE_DIRECTORY") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "chainworkd" / f"compiled-{_made_of()}"


@cache
def _made_of() -> str:
    digest = hashlib.sha256()
    features = llvm.get_host_cpu_features().flatten()
    for fact in (llvmlite.__version__, llvm.get_host_cpu_name(), features):
        digest.update(fact.encode() + b"\0")
    for file in sorted(HERE.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def can_keep(path: Path) -> bool:
    """Whether compiled code may be kept there; the folder is made. What lies there is run: it must be ours alone."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except (OSError, RuntimeError):
        return False
    return os.access(path, os.W_OK | os.X_OK) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def keep(path: Path, made: dict[str, tuple[str, bytes]]) -> None:
    """Write the symbol and the object file of each entry to `path`."""
    for name, (_, code) in made.items():
        _write(path / f"{name}.o", code)
    _write(path / INDEX, json.dumps({name: symbol for name, (symbol, _) in made.items()}).encode())


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, even while another process does the same."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)


# -- loading -----------------------------------------------------------------------------------------------------------

_loaded: Final[list[object]] = []  # the engine, which owns the machine code
_addresses: Final[dict[str, int]] = {}


def is_kept() -> bool:
    """Whether there is compiled code that is ours."""
    path = folder()
    return (path / INDEX).exists() and can_keep(path)


def load(path: Path | None = None) -> None:
    """Load compiled code from `path`, once in a process. Raises NotCompiled where there is none."""
    if _loaded:
        return
    if path is None:
        path = folder()
        if not is_kept():
            raise NotCompiled(f"no compiled code in {path}: run `python -m indexer.warm`")
    symbols: dict[str, str] = json.loads((path / INDEX).read_bytes())
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    for name in symbols:
        engine.add_object_file(llvm.ObjectFileRef.from_data((path / f"{name}.o").read_bytes()))
    engine.finalize_object()
    for name, symbol in symbols.items():
        _addresses[name] = engine.get_function_address(symbol)
    _loaded.append(engine)
