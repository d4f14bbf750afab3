import asyncio

import pytest

from tests.unit.conftest import NoSockets


async def test_unit_tests_cannot_open_sockets() -> None:
    with pytest.raises(NoSockets):
        await asyncio.open_connection("127.0.0.1", 9)
