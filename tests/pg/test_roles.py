"""Database roles as docs/runbook.md sets them up: a migrating owner who is no superuser, one log-in per process."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from accounts import tokens
from core.errors import BadConfig
from core.store.dsn import local_url, parse
from core.store.embedded import EmbeddedPostgres
from core.store.migrate import migrate, require_migrated
from core.store.pool import open_pool
from core.store.schema import THROW_AWAY, scratch_folder
from daemon.schema import MIGRATIONS

PASSWORD = "correct-horse"
SQL_LOGINS = """
    create role indexer_login login password 'correct-horse' in role chainworkd_indexer;
    create role api_login login password 'correct-horse' in role chainworkd_api;
    create role stranger login password 'correct-horse';
"""


class Cluster:
    """A server of the test's own, as roles belong to the whole cluster."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server

    def url(self, user: str) -> str:
        folder = Path(parse(self.server.url()).host)
        return local_url(folder, user=user, password=PASSWORD, database="house")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    with scratch_folder() as folder:
        async with EmbeddedPostgres(folder / "data", settings=THROW_AWAY) as server:
            admin = await asyncpg.connect(server.url("postgres"))
            await admin.execute("create role chainworkd_owner login createrole password 'correct-horse'")
            await admin.execute("create database house owner chainworkd_owner")
            house = Cluster(server)
            await migrate(house.url("chainworkd_owner"), MIGRATIONS)
            await admin.execute(SQL_LOGINS)
            await admin.close()
            yield house


async def test_an_owner_who_is_no_superuser_can_migrate_and_each_role_does_its_own_work(cluster: Cluster) -> None:
    async with open_pool(cluster.url("chainworkd_owner")) as owner:
        key = await tokens.issue(owner, "dashboard")
    await require_migrated(cluster.url("indexer_login"), MIGRATIONS)
    async with open_pool(cluster.url("indexer_login"), role="chainworkd_indexer") as indexer:
        assert await indexer.fetchval("select chain.ensure_partitions(0, 1)") > 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await indexer.fetch("select * from accounts.api_token")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await indexer.fetch("select * from accounts.signing_key")
    await require_migrated(cluster.url("api_login"), MIGRATIONS)
    async with open_pool(cluster.url("api_login"), role="chainworkd_api") as api:
        assert await tokens.authenticate(api, key) is not None
        assert await api.fetchval("select count(*) from chain.block") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute("delete from chain.cursor")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute("set role chainworkd_indexer")


# What a process that faces the network must not be able to do to people, whatever it is talked into.
NEVER = [
    "update accounts.audit set actor = 'x'", "delete from accounts.audit", "delete from accounts.person",
    "update accounts.person set email = 'x'", "update accounts.person set user_id = 'x'", "truncate accounts.session",
    "update accounts.session set user_id = 'x'", "update accounts.session set expires_at = now()",
    "update accounts.refresh_token set session_id = gen_random_uuid()", "update accounts.signing_key set secret = ''",
    "update accounts.api_token set user_id = 'x'", "delete from accounts.api_token", "drop table accounts.audit",
]  # fmt: skip


async def test_the_api_may_do_to_people_what_its_routes_do_and_no_more(cluster: Cluster) -> None:
    async with open_pool(cluster.url("api_login"), role="chainworkd_api") as api:
        assert await api.fetchval("select count(*) from accounts.signing_key") == 0
        for statement in NEVER:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await api.execute(statement)


async def test_a_log_in_without_its_role_is_told_what_it_lacks(cluster: Cluster) -> None:
    with pytest.raises(BadConfig, match=r"permission denied.*runbook"):
        await require_migrated(cluster.url("stranger"), MIGRATIONS)
    with pytest.raises(BadConfig, match=r"permission denied.*runbook"):
        async with open_pool(cluster.url("stranger"), role="chainworkd_api"):
            pass
