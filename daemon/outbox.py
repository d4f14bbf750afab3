"""`chainworkd outbox` and `chainworkd activate`: what is sent and what it cost, stopping it, and going live."""

import argparse
import sys
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from api.addresses import checksum
from core.errors import BadConfig, WrongChain
from core.hex import to_hex
from core.metrics import Metrics
from core.rpc.source import chain_id
from core.sending import WalletSettings
from core.settings import Settings
from daemon.chains import endpoints
from daemon.database import open_database
from daemon.sender import rules_of
from daemon.terminal import say
from wallet import activation, records
from wallet.node import Node
from wallet.records import Status, Tried
from wallet.types import OPEN, State

EVERY: Final = tuple(State)


async def listed(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """List intents, the newest first: those that are open, or all of them."""
    states = EVERY if arguments.all else tuple(OPEN)
    async with open_database(settings) as pool:
        found = await records.listed(pool, states, arguments.limit)
    if arguments.json:
        say(msgspec.json.encode([_summary(each) for each in found]).decode())
        return None
    for each in found:
        cost = "" if each.fee is None else f"  fee {each.fee} wei"
        said = f"{each.state}/{each.outcome}" if each.outcome else each.state
        why = f"  ({each.note})" if each.note else ""
        say(f"{each.intent.id}  {each.queued_at:%Y-%m-%dT%H:%M:%SZ}  {each.intent.kind}  {said}{cost}{why}")
    if not found:
        say("no intents" if arguments.all else "no intents are open; --all shows those that are final")
    return None


async def show(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Show one intent: its call, everything that was signed for it, and what it moved; exit 1 if there is none."""
    async with open_database(settings) as pool:
        found = await records.status(pool, arguments.id)
        if found is None:
            return _none(arguments.id)
        tried = await records.tried(pool, arguments.id)
        moved = await records.moved(pool, arguments.id)
    whole = {
        **_summary(found), "wallet": checksum(found.intent.wallet), "chain_id": found.intent.chain_id,
        "to": checksum(found.intent.call.to or b""), "value": str(found.intent.call.value),
        "data": to_hex(found.intent.call.data), "priority": found.intent.priority,
        "deadline": found.intent.deadline, "reopened": found.reopened,
        "block": None if found.block is None else found.block.number,
        "attempts": [_attempt(each) for each in tried],
        "moved": {checksum(asset) if asset else "wei": str(amount) for asset, amount in moved.items()},
    }  # fmt: skip
    say(msgspec.json.format(msgspec.json.encode(whole)).decode())
    return None


async def cancel(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Ask that an intent not happen; exit 1 if it is too late for that."""
    _required(arguments, "by", "because")
    async with open_database(settings) as pool:
        if await records.status(pool, arguments.id) is None:
            return _none(arguments.id)
        done = await records.cancel(
            pool, arguments.id, datetime.now(UTC), by=arguments.by.strip(), because=arguments.because.strip()
        )
    if done:
        say(f"{arguments.id}: the sender drops it, or replaces it if it was signed; the chain says which was first")
        return None
    sys.stderr.write(f"{arguments.id}: it is mined, final, or was cancelled before\n")
    return 1


async def halt(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Stop signing and broadcasting for every wallet."""
    _required(arguments, "by", "because")
    async with open_database(settings) as pool:
        await activation.halt(pool, datetime.now(UTC), by=arguments.by.strip(), because=arguments.because.strip())
    say("halted: nothing is signed or broadcast until `chainworkd outbox resume`")
    return None


async def resume(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Lift all halts; exit 1 if there was none."""
    _required(arguments, "by")
    async with open_database(settings) as pool:
        count = await activation.resume(pool, datetime.now(UTC), by=arguments.by.strip())
    say(f"lifted {count}")
    return None if count else 1


async def activate(settings: Settings, arguments: argparse.Namespace) -> int | None:
    """Let a wallet go live, bound to the code of all it may call; or take that back."""
    of = settings.wallets.get(arguments.wallet)
    if of is None:
        names = ", ".join(settings.wallets) or "none, no wallets.<name> is configured"
        raise BadConfig(f"--wallet: expected one of {names}, found {arguments.wallet!r}")
    _required(arguments, "by", "because")
    rules, now = rules_of(of), datetime.now(UTC)
    chain = settings.chains[of.chain].chain_id
    async with open_database(settings) as pool:
        if arguments.revoke:
            done = await activation.revoke(pool, chain, rules.wallet, now, by=arguments.by.strip())
            say(f"{arguments.wallet}: {'revoked' if done else 'it was not activated'}")
            return None if done else 1
        hashes = await _code(settings, of, rules.wallet, rules.contracts)
        await activation.activate(
            pool, chain, rules.wallet, hashes, now, by=arguments.by.strip(), because=arguments.because.strip()
        )
    say(f"{arguments.wallet}: {checksum(rules.wallet)} on chain {chain} is activated for")
    for contract, found in hashes.items():
        say(f"  {checksum(contract)} with code {to_hex(found)}")
    if not of.live:
        say(f"it stays in dry-run until wallets.{arguments.wallet}.live is true")
    return None


async def _code(
    settings: Settings, of: WalletSettings, wallet: bytes, contracts: frozenset[bytes]
) -> dict[bytes, bytes]:
    """Return the hash of each contract's code. Raises BadConfig for an address without code."""
    chain = settings.chains[of.chain]
    async with endpoints(of.chain, chain, Metrics()) as client:
        found = await chain_id(client)
        if found != chain.chain_id:
            raise WrongChain(f"chains.{of.chain}: the node serves chain {found}, configured {chain.chain_id}")
        node = Node(client, wallet)
        head = await node.head()
        hashes = await node.code_hashes(contracts, head)
        empty = await node.without_code(contracts, head)
    if empty:
        raise BadConfig(f"wallets: {checksum(empty[0])} has no code on chain {found}: nothing there to be bound to")
    return hashes


def _required(arguments: argparse.Namespace, *options: str) -> None:
    for option in options:
        if not getattr(arguments, option).strip():
            raise BadConfig(f"--{option}: expected a text, found none")


def _none(id_: UUID) -> int:
    sys.stderr.write(f"{id_}: there is no such intent\n")
    return 1


def _summary(found: Status) -> dict[str, Any]:
    return {
        "id": str(found.intent.id), "owner": found.intent.owner, "kind": found.intent.kind, "state": found.state,
        "outcome": found.outcome, "why": found.note, "nonce": found.nonce, "queued_at": found.queued_at,
        "changed_at": found.changed_at, "cancel": found.cancel,
        "fee_wei": None if found.fee is None else str(found.fee),
        "tx": None if found.tx_hash is None else to_hex(found.tx_hash),
    }  # fmt: skip


def _attempt(each: Tried) -> dict[str, Any]:
    return {
        "tx": to_hex(each.tx_hash), "kind": each.kind, "max_fee_wei": str(each.fee_cap), "tip_wei": str(each.tip_cap),
        "gas": each.gas, "signed_at_block": each.head, "signed_at": each.signed_at, "answer": each.note,
    }  # fmt: skip
