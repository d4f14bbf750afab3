"""What the rules look at: the files that git tracks, or would track, and their syntax trees."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "accounts", "api", "builders", "contracts", "core", "daemon", "devnet", "droids", "indexer", "prices", "simulator",
    "wallet",
)  # fmt: skip


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project, relative to its root; without git, everything that is no product of a build."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        made = {".git", ".venv", "node_modules", "build", "var", "dist", "__pycache__"}
        found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        return tuple(sorted(path for path in found if not made & set(path.parts)))
    return tuple(sorted(Path(name) for name in listed if (ROOT / name).is_file()))


@cache
def product() -> tuple[Path, ...]:
    """The Python files of the product."""
    return tuple(file for file in files() if file.suffix == ".py" and file.parts[0] in PACKAGES)


@cache
def source(file: Path) -> str:
    """The text of a file; empty for what is not text."""
    try:
        return (ROOT / file).read_text()
    except UnicodeDecodeError:
        return ""


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(source(file), str(file))


def imported(file: Path) -> set[str]:
    """The modules a file imports, with all their parents: {"core", "core.settings"}."""
    names = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)}
