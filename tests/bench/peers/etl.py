"""ethereum-etl: blocks, transactions, receipts, logs and token transfers as CSV files; no database, no reorgs."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from tests.bench.expected import Sums
from tests.bench.peers.peer import Cost, Work, python_environment, step, together

WORKERS = ("-w", "5", "-b", "100")


class EthereumEtl:
    """What its documentation tells a user to run, one command after the other."""

    name = "ethereum-etl"
    version = "2.4.2"
    job = "full"

    async def install(self, home: Path) -> None:
        """Install from PyPI. Its eth-abi asks for a parsimonious that does not work on Python 3.11."""
        await python_environment(home, self.version, [f"ethereum-etl=={self.version}"], ["parsimonious>=0.10"])

    async def run(self, home: Path, work: Work) -> tuple[Cost, Sums]:
        """Export blocks with transactions, receipts with logs, and the transfers among the logs."""
        etl, node = home / "bin" / "ethereumetl", ("--provider-uri", work.node.url)
        span = ("--start-block", str(work.span.first), "--end-block", str(work.span.last))
        commands: dict[str, list[str | Path]] = {
            "blocks": [etl, "export_blocks_and_transactions", *span, *node, *WORKERS,
                       "--blocks-output", "blocks.csv", "--transactions-output", "txs.csv"],
            "hashes": [etl, "extract_csv_column", "--input", "txs.csv", "--column", "hash", "--output", "hashes.txt"],
            "receipts": [etl, "export_receipts_and_logs", "--transaction-hashes", "hashes.txt", *node, *WORKERS,
                         "--receipts-output", "receipts.csv", "--logs-output", "logs.csv"],
            "transfers": [etl, "extract_token_transfers", "--logs", "logs.csv", "--output", "transfers.csv", *WORKERS,
                          "--values-as-strings"],
        }  # fmt: skip
        costs = {name: await step(command, work.folder) for name, command in commands.items()}
        return together(costs), _sums(work)


def _sums(work: Work) -> Sums:
    facts = work.meta.facts
    fungible = {*facts["plain_tokens"], *facts["word_tokens"], facts["weth"]}
    txs, more = itertools.tee(_rows(work.folder / "txs.csv"))
    receipts = list(_rows(work.folder / "receipts.csv"))
    transfers = list(_rows(work.folder / "transfers.csv"))
    erc20 = [row for row in transfers if row["token_address"] in fungible]
    return Sums(
        blocks=sum(1 for _ in _rows(work.folder / "blocks.csv")),
        txs=len(receipts),
        value=sum(int(row["value"]) for row in txs),
        nonce=sum(int(row["nonce"]) for row in more),
        gas_used=sum(int(row["gas_used"]) for row in receipts),
        failed=sum(row["status"] == "0" for row in receipts),
        created=sum(bool(row["contract_address"]) for row in receipts),
        logs=sum(1 for _ in _rows(work.folder / "logs.csv")),
        announced=len(transfers),
        erc20=len(erc20),
        amount=sum(int(row["value"]) for row in erc20),
    )


def _rows(file: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(1 << 30)
    with file.open(newline="") as opened:
        yield from csv.DictReader(opened)
