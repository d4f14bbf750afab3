"""A client of the API, which knows nothing of the program but its URLs."""

import json
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.e2e.waiting import until


class Client:
    """Asks with a token; JSON numbers with a point become Decimals, so that nothing is rounded on the way."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Patient: connections queue in the sockets while a killed process is replaced.
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=60))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and decoded body; 0 and the error's name when there is no answer."""
        assert self._session is not None, "use as a context manager"
        try:
            async with self._session.get(path if path.startswith("http") else self.url + path) as response:
                text = await response.text()
                if "json" in response.content_type:
                    return response.status, json.loads(text, parse_float=Decimal)
                return response.status, text
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return 0, type(error).__name__

    async def ok(self, path: str) -> Any:
        """The body of an answer that has to be a success."""
        status, body = await self.get(path)
        assert status == 200, f"{path}: {status} {body}"
        return body

    async def block(self, number: int | str) -> Any:
        return await self.ok(f"/api/v1/blocks/{number}")

    async def serves(self, number: int, block_hash: str, *, within_s: float = 60.0) -> Any:
        """The block as soon as the API has it with this hash."""

        async def asked() -> Any:
            status, body = await self.get(f"/api/v1/blocks/{number}")
            return body if status == 200 and body["block_hash"] == block_hash else None

        return await until(asked, within_s=within_s)

    async def status(self, path: str, wanted: int, *, within_s: float = 60.0) -> Any:
        """The body of the first answer with this status."""

        async def asked() -> tuple[Any] | None:
            status, body = await self.get(path)
            return (body,) if status == wanted else None

        return (await until(asked, within_s=within_s))[0]
