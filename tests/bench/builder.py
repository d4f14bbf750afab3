"""How fast the builder answers: `make bench-builder` prints one JSON object.

The server is a process of its own on one core, with the API's application, validation included. The load is raw
asyncio protocols on another core: requests are bytes made beforehand and answers are cut by their length, so that the
client takes a fraction of what the server does; `client_cpu_share` says how large a fraction.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import aiohttp
import uvloop
from typing_extensions import override

from api.access import Gate, Scope, anybody
from api.app import application
from api.server import HttpServer, listen, url_of
from core.metrics import Metrics
from core.settings import load
from daemon.builder import builder_of

CONNECTIONS = 32
SECONDS = float(os.environ.get("BENCH_SECONDS", "8"))
TRADER = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"
BODY = {
    "open": {"a": 0, "b": True, "t": "market", "p": "42500.00", "s": "100", "l": "10", "tp": "45000", "sl": "40000.00"},
    "bd": {"b": "0x742d35Cc6634c0532925A3b844BC9e7595F5bE21", "f": 0.1},
    "sp": 0.25,
}


async def serve() -> None:
    """Serve until killed; prints the URL."""
    metrics = Metrics()
    settings = load(environ={"CHAINWORKD_BUILDER__RATE_LIMIT_WHITELIST": '["127.0.0.1"]'})
    async with builder_of(settings, metrics) as built:
        bound = listen("127.0.0.1", 0, "bench")
        print(url_of(bound), flush=True)
        gate = Gate({Scope.BUILDER: anybody})
        app = application(built.groups, metrics, gate=gate, groups=built.groups)
        await HttpServer(app, bound, name="api", sockets=True).run()


@dataclass
class Load:
    """One request, sent again as soon as it is answered, until `until`."""

    request: bytes
    until: float
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0


class Connection(asyncio.Protocol):
    """One connection of the load."""

    def __init__(self, load_: Load, done: Callable[[], None]) -> None:
        self._load = load_
        self._done = done
        self._buffer = b""
        self._sent = 0.0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the face, not the class
        self._send()

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.lower().find(b"content-length:", 0, head)
        length = int(self._buffer[at + 15 : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) < head + 4 + length:
            return
        self._load.seconds.append(time.perf_counter() - self._sent)
        self._load.wrong += not self._buffer.startswith(b"HTTP/1.1 200") or b"0x1365e4e4" not in self._buffer
        self._buffer = b""
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        if self._sent >= self._load.until:
            self._transport.close()
            self._done()
        else:
            self._transport.write(self._load.request)


async def over_http(host: str, port: int, server: int) -> dict[str, float]:
    """Return requests a second and their times at CONNECTIONS connections."""
    body = json.dumps(BODY).encode()
    request = (
        f"POST /v1/exchange/open HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        f"x-trader-address: {TRADER}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body
    await _run(host, port, Load(request, time.perf_counter() + 1.0))  # warm
    load_ = Load(request, time.perf_counter() + SECONDS)
    cpu, spent, started = time.process_time(), cpu_of(server), time.perf_counter()
    await _run(host, port, load_)
    spent = cpu_of(server) - spent
    took = time.perf_counter() - started
    times = sorted(load_.seconds)
    return {
        "requests_per_s": round(len(times) / took),
        "p50_ms": round(times[len(times) // 2] * 1000, 2),
        "p99_ms": round(times[int(len(times) * 0.99)] * 1000, 2),
        "max_ms": round(times[-1] * 1000, 2),
        "requests": len(times),
        "wrong": load_.wrong,
        # What the server itself needs, however many others share its core.
        "server_cpu_us_per_request": round(spent / len(times) * 1e6),
        "client_cpu_share": round((time.process_time() - cpu) / took, 2),
    }


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _run(host: str, port: int, load_: Load) -> None:
    loop = asyncio.get_running_loop()
    ended = [loop.create_future() for _ in range(CONNECTIONS)]
    async with asyncio.timeout(SECONDS + 30):
        for each in ended:
            await loop.create_connection(partial(Connection, load_, partial(each.set_result, None)), host, port)
        await asyncio.gather(*ended)


async def over_ws(url: str, rounds: int = 3_000) -> dict[str, float]:
    """Return the times of round trips on one WebSocket."""
    message = json.dumps({"id": 1, "action": "open", "headers": {"X-Trader-Address": TRADER}, "payload": BODY})
    times = []
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/v1/exchange/ws", compress=0) as socket:
        for _ in range(rounds):
            started = time.perf_counter()
            await socket.send_str(message)
            reply = await socket.receive_str(timeout=10)
            times.append(time.perf_counter() - started)
            assert '"ok":true' in reply
    times.sort()
    return {"p50_ms": round(times[rounds // 2] * 1000, 3), "p99_ms": round(times[int(rounds * 0.99)] * 1000, 3)}


async def measure(url: str, server: int) -> dict[str, object]:
    """Return everything."""
    host, port = url.removeprefix("http://").split(":")
    http = await over_http(host, int(port), server)
    return {"connections": CONNECTIONS, "http_open": http, "ws_open": await over_ws(url)}


def main() -> None:
    """Start the server on one core, measure from another, print JSON."""
    if sys.argv[1:] == ["serve"]:
        uvloop.run(serve())
        return
    cores = sorted(os.sched_getaffinity(0))
    server = subprocess.Popen([sys.executable, "-m", "tests.bench.builder", "serve"], stdout=subprocess.PIPE, text=True)
    try:
        os.sched_setaffinity(server.pid, {cores[0]})
        os.sched_setaffinity(0, {cores[-1]})
        assert server.stdout is not None
        found = uvloop.run(measure(server.stdout.readline().strip(), server.pid))
    finally:
        server.kill()
        server.wait()
    print(json.dumps({"server_cores": 1, "load_average": round(os.getloadavg()[0], 1), **found}, indent=2))


if __name__ == "__main__":
    main()
