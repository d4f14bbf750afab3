"""Compiles by numba what the other modules of this package mark: needed once for each version and each processor."""

from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

import numba
import numpy as np
from numba import types

from indexer.compiled import blocks, events, verify
from indexer.compiled.native import ENTRIES, INNER, Array, Entry, Group, Kind

MODULES: Final = (blocks, events, verify)  # with what they import they are all there is

# Without `_nrt` no array is made in compiled code, and none is counted: counting took half of the time. The wrappers
# are how numba itself would call a function; without them machine code names nothing of numba and nothing of Python.
OPTIONS: Final[dict[str, Any]] = {
    "nogil": True, "error_model": "numpy", "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
}  # fmt: skip


ARRAYS: Final[dict[type[Any], "types.Array[Any]"]] = {
    np.uint8: types.Array(types.uint8, 1, "C"),
    np.int32: types.Array(types.int32, 1, "C"),
    np.int64: types.Array(types.int64, 1, "C"),
    np.uint64: types.Array(types.uint64, 1, "C"),
    np.bool_: types.Array(types.boolean, 1, "C"),
}


def dispatchers(**more: Any) -> dict[str, Any]:
    """Return all marked functions as numba's, by module and name, each calling numba's others. `more`: options."""
    places: dict[str, dict[str, Any]] = {}
    made: dict[int, Any] = {}
    functions = [*INNER, *(entry.function for entry in ENTRIES.values())]
    for function in functions:
        # A copy whose global names are looked up where the compiled others will stand.
        names = places.setdefault(function.__module__, dict(function.__globals__))
        made[id(function)] = numba.njit(**OPTIONS | more)(_copy(function, names))
    for names in places.values():
        for name, value in names.items():
            plain = value.function if isinstance(value, Entry) else value
            names[name] = made.get(id(plain), value)
    return {f"{function.__module__}.{function.__name__}": made[id(function)] for function in functions}


def compile_all() -> dict[str, tuple[str, bytes]]:
    """Return the symbol and the object file of each entry."""
    made = {}
    found = dispatchers()
    for name, entry in ENTRIES.items():
        signature = tuple(map(_numba_type, entry.kinds))
        found[name].compile(signature)
        result = found[name].overloads[signature]
        _, _, (code, _) = result.library.serialize_using_object_code()
        made[name] = (result.fndesc.llvm_func_name, code)
    return made


def _copy(function: Callable[..., Any], names: dict[str, Any]) -> Callable[..., Any]:
    assert isinstance(function, FunctionType)
    copied = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copied.__module__ = function.__module__
    return copied


def _numba_type(kind: Kind) -> types.Type:
    if isinstance(kind, Array):
        return ARRAYS[kind.item].copy(ndim=kind.axes)
    if isinstance(kind, Group):
        parts = [_numba_type(part) for part in kind.parts]
        untyped: Any = types
        found: types.Type = untyped.NamedTuple(parts, kind.made) if kind.made else untyped.Tuple(parts)
        return found
    return types.int64
