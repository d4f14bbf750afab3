"""Every SQL statement is valid against the migrations, and none uses what does not scale out."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from core.store.schema import SCHEMA, migrated_schema
from daemon.schema import MIGRATIONS

REPOSITORY = Path(__file__).parents[2]
SOURCES = (
    "core/store/*.py",
    "accounts/*.py",
    "wallet/*.py",
    "droids/*.py",
    "api/**/*.py",
    "daemon/*.py",
    "indexer/*.py",
)
FORBIDDEN = {
    "triggers": r"\bcreate\s+(or\s+replace\s+)?(constraint\s+)?trigger\b",
    "foreign keys": r"\breferences\b|\bforeign\s+key\b",
    "identity and serial keys": r"\bgenerated\s+(always|by\s+default)\s+as\s+identity\b|\b(big|small)?serial\b",
    "merge": r"\bmerge\s+into\b",
    "generated columns": r"\bgenerated\s+always\s+as\s*\(",
    "skip locked": r"\bskip\s+locked\b",
    "lateral": r"\blateral\b",
    "foreign cascades": r"\bon\s+delete\s+cascade\b",
}


def modules() -> Iterator[str]:
    for pattern in SOURCES:
        for file in sorted(REPOSITORY.glob(pattern)):
            if file.name not in ("__init__.py", "__main__.py"):
                yield ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)


def statements() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in modules():
        if "SQL_" in (REPOSITORY / (name.replace(".", "/") + ".py")).read_text():
            constants = vars(importlib.import_module(name)).items()
            found |= {f"{name}.{key}": value for key, value in constants if re.match(r"_?SQL_", key)}
    return found


def without_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*|comment on [^;]*;", "", sql).lower()


STATEMENTS = statements()
TEXTS = {**STATEMENTS, **{f.name: f.read_text() for folder in MIGRATIONS for f in sorted(folder.glob("*.sql"))}}


def test_the_statements_are_found() -> None:
    assert len(STATEMENTS) >= 40
    assert all(isinstance(sql, str) for sql in STATEMENTS.values())


@pytest.mark.parametrize("name", [name for name in STATEMENTS if not name.endswith("migrate._SQL_APPLIED")])
async def test_every_statement_is_valid_against_the_migrated_database(shared_connection_url: str, name: str) -> None:
    connection = await asyncpg.connect(shared_connection_url, timeout=10)
    try:
        await connection.prepare(STATEMENTS[name])
    finally:
        await connection.close(timeout=10)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_that_does_not_scale_out(what: str) -> None:
    found = [name for name, text in TEXTS.items() if re.search(FORBIDDEN[what], without_comments(text))]
    assert found == []


def test_facts_are_keyed_by_chain_and_block() -> None:
    text = "\n".join(text for name, text in TEXTS.items() if name.endswith(".sql"))
    for body in re.findall(r"create table chain\.\w+ \((.*?)\n\)", text, re.S):
        key = re.search(r"primary key \((\w+)|(\w+) bigint primary key|constraint coverage_disjoint", body)
        assert key is not None, body
        assert key[0].startswith("constraint") or (key[1] or key[2]) == "chain_id", body


@pytest.mark.parametrize("name", list(modules()))
def test_no_statement_is_put_together_from_strings(name: str) -> None:
    """Values and names go in as parameters; f-strings, %, + and format() never make SQL."""
    file = REPOSITORY / (name.replace(".", "/") + ".py")
    verbs = re.compile(r"^\s*(select|insert into|update \w|delete from|create|drop|alter)\b", re.I)
    for node in ast.walk(ast.parse(file.read_text())):
        joined: ast.expr | None = None
        if isinstance(node, ast.JoinedStr):
            joined = node.values[0] if node.values else None
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
            joined = node.left
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            joined = node.func.value
        if isinstance(joined, ast.Constant) and isinstance(joined.value, str):
            assert not verbs.match(joined.value), f"{file}:{joined.lineno}"


async def test_schema_sql_equals_the_migrations() -> None:
    assert SCHEMA.read_text() == await migrated_schema(MIGRATIONS)
