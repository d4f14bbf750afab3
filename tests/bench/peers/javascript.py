"""What peers in JavaScript share: a project of ours, copied beside its packages, and a database to fill."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from core.store.dsn import parse
from tests.bench.database import Server
from tests.bench.expected import Sums
from tests.bench.fixture.build import tokens_of
from tests.bench.peers.peer import Work, clean_environment, installed
from tests.bench.places import ROOT

PROJECTS = ROOT / "tests" / "bench" / "peers"


async def npm_project(home: Path, project: str) -> None:
    """Copy our project to `home` and install what its package.json pins."""
    source = PROJECTS / project
    shutil.copytree(source, home, dirs_exist_ok=True)
    stamp = (source / "package.json").read_text()
    await installed(home, stamp, ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"])


def environment(work: Work, **more: str) -> dict[str, str]:
    """Return what both projects read of the work."""
    tokens = ",".join("0x" + token.hex() for token in tokens_of(work.meta))
    return clean_environment(
        work.folder, NODE_URL=work.node.url, FIRST_BLOCK=str(work.span.first), LAST_BLOCK=str(work.span.last),
        CHAIN_ID=str(work.meta.chain_id), TOKENS=tokens, **more,
    )  # fmt: skip


def login(server: Server) -> Mapping[str, str]:
    """Return the parts of a server's URL: host (the folder of its socket), port, database, user, password."""
    dsn = parse(server.url)
    return {
        "host": dsn.host, "port": str(dsn.port), "database": dsn.database, "user": dsn.user, "password": dsn.password,
    }  # fmt: skip


async def command(server: Server, sql: str) -> None:
    """Run statements in the peer's database."""
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def sums(server: Server, schema: str) -> Sums:
    """Return what a peer's tables `block` and `transfer` hold."""
    connection = await asyncpg.connect(server.url, server_settings={"search_path": schema})
    try:
        row = await connection.fetchrow(
            "select (select count(*) from block) as blocks, count(*) as erc20, coalesce(sum(amount), 0) as amount"
            " from transfer"
        )
    finally:
        await connection.close()
    assert row is not None, "an aggregate has a row"
    return Sums(**{name: int(value) for name, value in row.items()})
