"""What the recorded node can give: blocks with receipts, in batches, to a client that only reads."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from tests.bench.measure import Fixture
from tests.bench.node import Served, recorded_node
from tests.bench.processes import TICKS, cpu_s
from tests.bench.report import MB, Report

BATCH = 10
CLIENTS = 2
LENGTH = re.compile(rb"content-length: (\d+)")
ROOM = 1 << 22


async def ceiling(fixture: Fixture, report: Report, rounds: int = 2) -> float:
    """Read the whole fixture; above these blocks a second nothing is measured but the node and the kernel."""
    numbers = range(fixture.meta.blocks)
    async with recorded_node(fixture.folder) as node:
        await asyncio.to_thread(_read, node, numbers)  # warms the page cache
        idle, started = cpu_s(node.pid), time.monotonic()
        shares = [numbers[n::CLIENTS] for n in range(CLIENTS)] * rounds
        sizes = await asyncio.gather(*(asyncio.to_thread(_read, node, share) for share in shares))
        seconds, node_cpu_s = time.monotonic() - started, cpu_s(node.pid) - idle
    blocks, txs = (rounds * count / seconds for count in (fixture.meta.blocks, fixture.meta.txs))
    a_cpu_second = rounds * fixture.meta.txs / max(node_cpu_s, 1 / TICKS)  # a short chain takes less than a tick
    report.line(
        "node", blocks_per_s=blocks, txs_per_s=txs, mb_per_s=sum(sizes) / seconds / MB, node_cpu_s=node_cpu_s,
        txs_per_node_cpu_s=a_cpu_second, clients=CLIENTS * rounds, batch=BATCH,
    )  # fmt: skip
    report.row(
        "recorded node, to a reader",
        f"{blocks:,.0f} blocks/s, {txs:,.0f} tx/s, {sum(sizes) / seconds / MB:,.0f} MB/s;"
        f" {a_cpu_second:,.0f} tx a second of the node's CPU",
    )
    return blocks


def _read(node: Served, numbers: Sequence[int]) -> int:
    """Ask for blocks and receipts by batch, throw the answers away and return how many bytes they were."""
    where, room, total = urlsplit(node.url), bytearray(ROOM), 0
    with socket.create_connection((where.hostname or "", where.port or 0)) as opened:
        for start in range(0, len(numbers), BATCH):
            opened.sendall(_request(numbers[start : start + BATCH]))
            total += _answer(opened, room)
    return total


def _request(numbers: Sequence[int]) -> bytes:
    asked = [("eth_getBlockByNumber", [hex(n), True]) for n in numbers] + [
        ("eth_getBlockReceipts", [hex(n)]) for n in numbers
    ]
    calls = [{"jsonrpc": "2.0", "id": i, "method": method, "params": p} for i, (method, p) in enumerate(asked)]
    body = json.dumps(calls).encode()
    return b"POST / HTTP/1.1\r\nhost: node\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _answer(opened: socket.socket, room: bytearray) -> int:
    first = opened.recv_into(room)
    head = room.index(b"\r\n\r\n", 0, first) + 4
    found = LENGTH.search(room, 0, head)
    assert found is not None, f"no length: {bytes(room[:head])!r}"
    size = int(found[1])  # now: what follows overwrites it
    left = size - (first - head)
    while left > 0:
        got = opened.recv_into(room, min(left, ROOM))
        assert got, "the node hung up"
        left -= got
    return size
