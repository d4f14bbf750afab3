"""Scripts of pages, run by a shell as printed, against a server on a port."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from api.server import HttpServer, listen, url_of

DOCS = Path(__file__).resolve().parents[2] / "docs"


def script(page: str, url: str) -> str:
    """The page's first script, with another address, and an empty line after each answer."""
    found = re.search(r"```sh\n(.*?)```", (DOCS / page).read_text(), re.S)
    assert found is not None
    told = re.sub(r"^API=.*$", f"API={url}", found[1], count=1, flags=re.M)
    return re.sub(r"^(curl .*)$", r"\1; echo", told, flags=re.M)


async def answers(page: str, app: Starlette, folder: Path) -> list[Any]:
    """What the script of a page is answered."""
    bound = listen("127.0.0.1", 0, "test")
    serving = asyncio.create_task(HttpServer(app, bound, name="test").run())
    try:
        shell = await asyncio.create_subprocess_exec(
            "sh", "-euc", script(page, url_of(bound)), cwd=folder, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(shell.communicate(), 60)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        bound.close()
    return [json.loads(line) for line in out.decode().splitlines() if line]
