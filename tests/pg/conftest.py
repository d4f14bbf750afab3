"""What several tests of the store begin with."""

from collections.abc import AsyncIterator

import pytest

from core.store.pool import Pool, open_pool


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Pool]:
    """A few connections with the indexer's rights."""
    async with open_pool(database_url, role="chainworkd_indexer", size=3) as pool:
        yield pool
