"""The house's own rules for code (docs/style.md where it exists; the reason is beside each exception here)."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.arch.house import PACKAGES, files, imported, product, source, tree

LONGEST_FUNCTION = 60
LONGEST_FILE = 500
VAGUE = frozenset({"config", "utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"})

# What has neither I/O nor a clock nor chance, so that its results depend on its arguments alone.
PURE = (
    "indexer/plan.py", "indexer/link.py", "indexer/verify.py", "indexer/decode/*.py", "core/rpc/wire.py",
    "core/rpc/encode.py", "core/rpc/refusals.py", "core/rpc/limits.py", "core/rpc/hedge.py", "core/hex.py",
    "core/keccak.py", "core/types.py", "core/store/bulk.py", "indexer/compiled/[ac-mo-z]*.py",
    "indexer/compiled/blocks.py", "api/amounts.py",
    "api/addresses.py", "builders/*.py", "builders/*/*.py", "api/builder/fields.py", "api/builder/bodies.py",
    "api/builder/delegated.py", "prices/routes.py", "prices/judge.py",
    "wallet/types.py", "wallet/judge.py", "wallet/fees.py", "wallet/policy.py", "wallet/ledger.py",
    "droids/droid.py", "droids/market.py", "droids/trend.py", "droids/ladder.py", "droids/decide.py",
    "droids/course.py", "droids/book.py", "droids/plan.py", "droids/guards.py", "droids/effects.py",
    "droids/worth.py", "droids/bots.py", "droids/strategies.py", "droids/backtest.py",
)  # fmt: skip
IMPURE = frozenset({"asyncio", "aiohttp", "asyncpg", "os", "time", "random", "socket", "secrets", "core.settings"})

# file::function -> why it may catch everything.
BROAD: dict[str, str] = {
    "simulator/run.py::simulated": "whatever ends a seed is what it found, and is reported",
    "core/projection.py::Projector._carried_out": "a defect of what is derived must not end the process of the head",
}
# file::function -> why a float is no danger to money there.
FLOATS = {
    "api/routes/operations.py::_block_line": "a share of gas, shown as a percentage",
    "daemon/cli.py::_seconds": "seconds of a command-line option",
    "daemon/plot.py::_number": "a point of a picture",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(node: ast.AST, inside: str = "") -> Iterator[tuple[str, Function]]:
    """Every function with its dotted name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                yield name, child
            yield from functions(child, name)
        else:
            yield from functions(child, inside)


def owner(file: Path, line: int) -> str:
    """file::function of the innermost function around `line`."""
    around = [(f.lineno, name) for name, f in functions(tree(file)) if f.lineno <= line <= (f.end_lineno or f.lineno)]
    return f"{file}::{max(around)[1] if around else ''}"


def test_the_rules_look_at_something() -> None:
    assert {file.parts[0] for file in product()} == set(PACKAGES)


def test_no_function_is_longer_than_a_page() -> None:
    long = {
        f"{file}::{name}": length
        for file in files()
        if file.suffix == ".py"
        for name, function in functions(tree(file))
        if (length := (function.end_lineno or 0) - function.lineno + 1) > LONGEST_FUNCTION
    }
    assert long == {}


def test_no_file_is_too_long() -> None:
    assert {str(f): n for f in product() if (n := source(f).count("\n")) > LONGEST_FILE} == {}


def test_everything_is_annotated() -> None:
    bare = [
        f"{file}::{name}"
        for file in product()
        for name, function in functions(tree(file))
        if function.returns is None or any(a.annotation is None for a in _arguments(name, function))
    ]
    assert bare == []


def _arguments(name: str, function: Function) -> list[ast.arg]:
    spec = function.args
    named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    return [a for a in named if not ("." in name and a.arg in ("self", "cls"))]


def test_nothing_catches_everything_without_a_reason() -> None:
    found = {
        owner(file, node.lineno)
        for file in product()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node) and not _passes_on(node)
    }
    assert found == set(BROAD)


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or getattr(kind, "id", "") in ("Exception", "BaseException") for kind in kinds)


def _passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether it only cleans up: its last statement is a bare `raise`."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_modules_are_named_after_what_they_hold() -> None:
    assert [str(f) for f in product() if VAGUE & {f.stem, *f.parts[:-1]}] == []


def test_imports_are_absolute() -> None:
    relative = [
        f"{file}:{node.lineno}"
        for file in files()
        if file.suffix == ".py"
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_pure_modules_stay_pure() -> None:
    pure = [file for file in product() if any(file.match(pattern) for pattern in PURE)]
    assert len(pure) > 10
    assert {str(file): bad for file in pure if (bad := imported(file) & IMPURE)} == {}


def test_money_is_never_a_float() -> None:
    found = {
        owner(file, node.lineno)
        for file in product()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "float"
    }
    assert found == set(FLOATS)


def test_everything_public_is_documented() -> None:
    missing = [f"{file}" for file in product() if file.name != "__init__.py" and not ast.get_docstring(tree(file))]
    for file in product():
        missing += [f"{file}::{name}" for name, node in _public(tree(file)) if not ast.get_docstring(node)]
    assert missing == []


def _public(node: ast.AST, inside: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Functions, classes and methods that others may call; overrides say it at what they override."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            if not any(getattr(mark, "id", "") in ("override", "overload") for mark in child.decorator_list):
                yield f"{inside}.{child.name}".lstrip("."), child
            if isinstance(child, ast.ClassDef):
                yield from _public(child, child.name)
