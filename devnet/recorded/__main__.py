"""`python -m devnet.recorded FOLDER`: serve a recorded chain on loopback until SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import uvloop

from core.errors import BadConfig
from devnet.recorded.answers import FINALIZED_BLOCKS
from devnet.recorded.folder import Recording
from devnet.recorded.node import Behaviour, RecordedNode, serving


def _arguments() -> argparse.Namespace:
    grammar = argparse.ArgumentParser(prog="python -m devnet.recorded", description=__doc__)
    grammar.add_argument("folder", type=Path, help="folder of a recorded chain")
    grammar.add_argument("--port", type=int, default=0, help="loopback port; 0, the default, takes a free one")
    grammar.add_argument("--head", type=int, help="newest block shown at the start; the last one if not given")
    grammar.add_argument("--finalized", type=int, default=FINALIZED_BLOCKS, metavar="DEPTH", help="below the head")
    grammar.add_argument("--pace", type=float, default=0.0, metavar="BLOCKS_PER_S", help="how fast the head advances")
    grammar.add_argument("--latency-ms", type=float, default=0.0, help="what passes before each answer")
    grammar.add_argument("--limit-rps", type=float, default=0.0, help="HTTP requests a second before 429; 0: no limit")
    return grammar.parse_args()


async def _serve(asked: argparse.Namespace) -> None:
    recording = Recording(asked.folder)
    behaviour = Behaviour(
        head=asked.head,
        finalized=asked.finalized,
        pace=asked.pace,
        latency_s=asked.latency_ms / 1000,
        limit_rps=asked.limit_rps,
    )
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with serving(RecordedNode(recording, behaviour), port=asked.port) as port:
        where = f"127.0.0.1:{port}"
        meta = recording.meta
        print(
            json.dumps({
                "url": f"http://{where}", "ws": f"ws://{where}", "pid": os.getpid(), "chain_id": meta.chain_id,
                "blocks": meta.blocks, "txs": meta.txs, "logs": meta.logs, "sha256": meta.sha256,
            }),
            flush=True,
        )  # fmt: skip
        await stop.wait()


def main() -> int:
    """Serve; 78 for a folder that is none, 1 for a port that is taken."""
    asked = _arguments()
    try:
        uvloop.run(_serve(asked))
    except (BadConfig, ValueError) as error:
        print(error, file=sys.stderr)
        return BadConfig.exit_code
    except OSError as error:
        print(f"127.0.0.1:{asked.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
