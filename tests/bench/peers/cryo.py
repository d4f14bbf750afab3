"""cryo: blocks, transactions, logs and ERC-20 transfers as Parquet files; no database, no reorgs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.expected import Sums
from tests.bench.peers.peer import Cost, Work, python_environment, step

DATASETS = ("blocks", "transactions", "logs", "erc20_transfers")
# Its Python package has no command of its own; its last block is not included.
SCRIPT = """
import sys, cryo
url, first, end, out, *datasets = sys.argv[1:]
cryo.freeze(datasets, start_block=int(first), end_block=int(end), rpc=url, output_dir=out, verbose=False)
"""


class Cryo:
    """The Rust program behind its Python package."""

    name = "cryo"
    version = "0.3.2"
    job = "full"

    async def install(self, home: Path) -> None:
        """Install from PyPI."""
        await python_environment(home, self.version, [f"cryo=={self.version}"])

    async def run(self, home: Path, work: Work) -> tuple[Cost, Sums]:
        """Collect all data sets at once."""
        span = (str(work.span.first), str(work.span.last + 1))
        command: list[str | Path] = [
            home / "bin" / "python",
            "-c",
            SCRIPT,
            work.node.url,
            *span,
            str(work.folder),
            *DATASETS,
        ]
        cost = await step(command, work.folder)
        return cost, _sums(work.folder)


def _sums(folder: Path) -> Sums:
    txs = list(_rows(folder, "transactions", ["value_string", "nonce", "gas_used", "success"]))
    amounts = [int(row["value_string"]) for row in _rows(folder, "erc20_transfers", ["value_string"])]
    return Sums(
        blocks=sum(1 for _ in _rows(folder, "blocks", ["block_number"])),
        txs=len(txs),
        value=sum(int(row["value_string"]) for row in txs),
        nonce=sum(row["nonce"] for row in txs),
        gas_used=sum(row["gas_used"] for row in txs),
        failed=sum(not row["success"] for row in txs),
        logs=sum(1 for _ in _rows(folder, "logs", ["log_index"])),
        erc20=len(amounts),
        amount=sum(amounts),
    )


def _rows(folder: Path, dataset: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    for file in sorted(folder.glob(f"*__{dataset}__*.parquet")):
        yield from parquet.read_table(file, columns=columns).to_pylist()
