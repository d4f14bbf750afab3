"""The sender against a real node: what it sends, what it repairs, and when it does nothing."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from builders.call import Call
from builders.erc20 import transfer
from core.errors import BadConfig, StoreUnavailable
from core.hex import to_hex
from core.store.pool import open_pool
from tests.make import address
from tests.wallet.bench import CHAIN, FRIEND, SUPPLY, Bench
from wallet import activation, records
from wallet.node import Node
from wallet.outbox import Overtaken, leased
from wallet.sender import Sender
from wallet.types import NATIVE, Outcome, State, Unsigned


async def test_an_intent_is_sent_mined_applied_and_settled(bench: Bench) -> None:
    await bench.activated()
    before = await bench.ether()
    intent = await bench.queue(7)
    await bench.step()
    pending = await bench.status(intent)
    assert (pending.state, pending.nonce, bench.rpc.sends) == (State.PENDING, 0, 1)
    await bench.mine()
    await bench.step()
    mined = await bench.status(intent)
    assert (mined.state, mined.outcome) == (State.MINED, Outcome.DONE)
    await bench.mine(3)
    await bench.step()
    settled = await bench.status(intent)
    assert (settled.state, await bench.balance()) == (State.SETTLED, 7)
    assert settled.fee == before - await bench.ether()
    assert await records.moved(bench.pool, intent.id) == {NATIVE: -settled.fee, bench.token: -7}
    assert bench.rpc.sends == 1
    assert ("ended", "settled", settled.fee) in bench.meter.seen
    assert await records.awaited(bench.pool, intent.id, bench.clock) == settled


async def test_one_id_queued_twice_is_one_intent(bench: Bench) -> None:
    intent = await bench.queue()
    async with bench.pool.acquire() as conn:
        assert not await records.queue(conn, intent)


async def test_dry_run_stores_what_it_would_do_and_a_node_that_counts_sees_nothing(bench: Bench) -> None:
    await bench.activated()
    intent = await bench.queue()
    dry = bench.sender(live=False)
    for _ in range(5):
        await bench.step(dry)
        await bench.mine()
    found = await bench.status(intent)
    assert found.state is State.REHEARSED
    assert "would be sent with nonce 0" in found.note
    assert await records.tried(bench.pool, intent.id) == ()
    assert (bench.rpc.sends, await bench.nonce("pending")) == (0, 0)


async def test_live_without_an_activation_signs_nothing(bench: Bench) -> None:
    intent = await bench.queue()
    await bench.step(times=3)
    found = await bench.status(intent)
    assert (found.state, "not activated" in found.note) == (State.QUEUED, True)
    assert await records.tried(bench.pool, intent.id) == ()
    assert bench.rpc.sends == 0
    await bench.activated()
    await bench.step()
    assert (await bench.status(intent)).state is State.PENDING


async def test_an_activation_is_bound_to_the_code_that_was_looked_at(bench: Bench) -> None:
    await bench.activated()
    intent = await bench.queue()
    await bench.rpc.call("anvil_setCode", to_hex(bench.token), "0x6001600055")
    await bench.step()
    assert "has changed since the activation" in (await bench.status(intent)).note
    more = replace(bench.rules, routers=frozenset({address("router")}))
    await bench.activated()
    await bench.step(bench.sender(rules=more))
    assert "was not part of the activation" in (await bench.status(intent)).note
    assert bench.rpc.sends == 0


async def test_a_revoked_activation_stops_rebroadcasts_and_replacements_too(bench: Bench) -> None:
    await bench.activated()
    await bench.queue()
    await bench.step()
    assert await activation.revoke(bench.pool, CHAIN, bench.wallet, bench.clock.now(), by="ann")
    await bench.rpc.call("anvil_dropAllTransactions")
    for _ in range(5):
        await bench.step()
        await bench.mine()
    assert (bench.rpc.sends, await bench.nonce()) == (1, 0)


@pytest.mark.parametrize("switch", ["row", "file"])
async def test_the_kill_switch_holds_before_every_broadcast(bench: Bench, tmp_path: Path, switch: str) -> None:
    await bench.activated()
    file = tmp_path / "stop"
    sender = bench.sender(limits=replace(bench.limits, kill_file=file))
    first, second = await bench.queue(1), await bench.queue(2)
    await bench.step(sender)
    await bench.rpc.call("anvil_dropAllTransactions")
    if switch == "row":
        await activation.halt(bench.pool, bench.clock.now(), by="ann", because="look into it")
    else:
        file.touch()
    for _ in range(5):
        await bench.step(sender)
        await bench.mine()
    assert (bench.rpc.sends, (await bench.status(first)).note[:7]) == (1, "halted:")
    file.unlink(missing_ok=True)
    assert await activation.resume(bench.pool, bench.clock.now(), by="ann") == (1 if switch == "row" else 0)
    for _ in range(6):
        await bench.step(sender)
        await bench.mine()
    assert [(await bench.status(each)).state for each in (first, second)] == [State.SETTLED, State.SETTLED]


async def test_a_finality_alarm_stops_it(bench: Bench) -> None:
    await bench.activated()
    await bench.pool.execute("insert into chain.alarm values ($1, now(), 5, false, 4, 6, $2, 'test')", CHAIN, bytes(32))
    intent = await bench.queue()
    await bench.step()
    assert (bench.rpc.sends, "finalized" in (await bench.status(intent)).note) == (0, True)


async def test_what_the_policy_denies_is_dropped_and_said(bench: Bench) -> None:
    await bench.activated()
    intent = await bench.queue(call=transfer(bench.token, address("stranger"), 1))
    large = await bench.queue(1_001)
    await bench.step()
    assert (await bench.status(intent)).note.startswith("policy: recipient of transfer")
    assert "more than the 1000" in (await bench.status(large)).note
    assert bench.rpc.sends == 0


async def test_what_would_revert_is_dropped_without_a_nonce(bench: Bench) -> None:
    await bench.activated()
    for _ in range(10):
        await bench.queue(1_000, kind="fill")
    poor = replace(bench.rules, tokens={bench.token: replace(bench.rules.tokens[bench.token], day=10**9)})
    for _ in range(10):
        await bench.step(bench.sender(rules=poor))
        await bench.mine()
    intent = await bench.queue(1)
    await bench.step(bench.sender(rules=poor), times=2)
    found = await bench.status(intent)
    assert (found.state, found.nonce, await bench.balance()) == (State.DROPPED, None, SUPPLY)
    assert "would revert" in found.note


async def test_a_wallet_that_is_short_of_wei_waits_until_it_has_some(bench: Bench) -> None:
    await bench.activated()
    intent = await bench.queue(call=Call(FRIEND, b"", 1_000))
    await bench.rpc.call("anvil_setBalance", to_hex(bench.wallet), hex(999))
    await bench.step(times=2)
    found = await bench.status(intent)
    assert (found.state, "short of wei" in found.note, bench.rpc.sends) == (State.QUEUED, True, 0)
    await bench.rpc.call("anvil_setBalance", to_hex(bench.wallet), hex(10**18))
    await bench.step()
    assert (await bench.status(intent)).state is State.PENDING


async def test_nothing_is_asked_of_the_node_while_there_is_nothing_to_do(bench: Bench) -> None:
    bench.rpc.url = "http://127.0.0.1:1"
    await bench.step()
    assert bench.meter.seen == [("waiting", 0, 0, 0)]


async def test_a_day_has_a_cap_and_the_next_day_goes_on(bench: Bench) -> None:
    await bench.activated()
    rules = replace(bench.rules, tokens={bench.token: replace(bench.rules.tokens[bench.token], day=1_500)})
    first, second = await bench.queue(1_000), await bench.queue(501, deadline=bench.clock.now() + timedelta(days=2))
    await bench.step(bench.sender(rules=rules))
    await bench.mine()
    await bench.step(bench.sender(rules=rules))
    assert ((await bench.status(first)).state, (await bench.status(second)).state) == (State.MINED, State.QUEUED)
    assert "within 24 hours" in (await bench.status(second)).note
    bench.clock.at += timedelta(hours=25)
    await bench.step(bench.sender(rules=rules))
    assert (await bench.status(second)).state is State.PENDING


async def test_fees_above_the_cap_defer(bench: Bench) -> None:
    await bench.activated()
    intent = await bench.queue()
    await bench.step(bench.sender(limits=replace(bench.limits, max_fee=1)))
    found = await bench.status(intent)
    assert (found.state, "the cap is 1" in found.note, bench.rpc.sends) == (State.QUEUED, True, 0)


async def test_an_intent_may_be_less_generous_than_its_wallet_and_not_more(bench: Bench) -> None:
    await bench.activated()
    dear = await bench.queue(max_fee=1)
    await bench.step()
    found = await bench.status(dear)
    assert (found.state, "the cap is 1" in found.note, bench.rpc.sends) == (State.QUEUED, True, 0)
    assert found.intent.max_fee == 1
    await records.cancel(bench.pool, dear.id, bench.clock.now(), by="ann", because="test")
    bound = await bench.queue(max_fee=3 * 10**9)
    wide = await bench.queue(max_fee=10**30)
    await bench.step()
    await bench.mine()
    await bench.step()
    caps = [(await records.tried(bench.pool, each.id))[0].fee_cap for each in (bound, wide)]
    assert caps[0] <= 3 * 10**9 and caps[1] <= bench.limits.max_fee
    # What waits is not bumped beyond it either; its cancellation has the wallet's own limit.
    assert bench.sender()._most(bound) == 3 * 10**9


async def test_a_stuck_one_is_replaced_and_whichever_is_mined_counts_once(bench: Bench) -> None:
    await bench.activated()
    intent = await bench.queue(7)
    await bench.step()
    await bench.rpc.call("anvil_dropAllTransactions")
    (first,) = await records.tried(bench.pool, intent.id)
    bench.rpc.lost = True
    for _ in range(4):
        await bench.mine()
        await bench.step()
    tried = await records.tried(bench.pool, intent.id)
    assert len(tried) == 2
    assert tried[1].fee_cap * 8 >= first.fee_cap * 9
    assert tried[1].tip_cap * 8 >= first.tip_cap * 9
    assert tried[1].gas == first.gas
    assert "the pool is full" in tried[1].note
    bench.rpc.lost = False
    raw = await bench.pool.fetchval("select raw from wallet.attempt where tx_hash = $1", first.tx_hash)
    await bench.rpc.call("eth_sendRawTransaction", to_hex(raw))
    await bench.mine()
    await bench.step()
    found = await bench.status(intent)
    assert (found.state, found.tx_hash, await bench.balance()) == (State.MINED, first.tx_hash, 7)


async def test_one_whose_deadline_passes_is_cancelled_by_a_transfer_to_itself(bench: Bench) -> None:
    await bench.activated()
    intent = await bench.queue(7)
    await bench.step()
    await bench.rpc.call("anvil_dropAllTransactions")
    bench.clock.at += timedelta(minutes=6)
    await bench.step()
    await bench.mine()
    await bench.step()
    await bench.mine(3)
    await bench.step()
    found = await bench.status(intent)
    assert (found.state, found.outcome) == (State.SETTLED, Outcome.CANCELLED)
    assert (await bench.balance(), await bench.nonce()) == (0, 1)
    assert await records.moved(bench.pool, intent.id) == {NATIVE: -(found.fee or 0)}


async def test_somebody_may_cancel_in_the_queue_and_while_it_is_pending(bench: Bench) -> None:
    await bench.activated()
    pending, queued = await bench.queue(1), await bench.queue(2)
    await bench.step()
    for each in (pending, queued):
        assert await records.cancel(bench.pool, each.id, bench.clock.now(), by="ann", because="wrong")
    await bench.step()
    assert (await bench.status(queued)).state is State.DROPPED
    assert [each.kind for each in await records.tried(bench.pool, pending.id)] == ["send", "cancel"]
    await bench.mine()
    await bench.step()
    found = await bench.status(pending)
    assert (found.outcome, await bench.balance()) == (Outcome.CANCELLED, 0)
    assert not await records.cancel(bench.pool, pending.id, bench.clock.now(), by="ann", because="again")


async def test_one_cancelled_while_it_is_being_signed_is_not_sent(bench: Bench) -> None:
    await bench.activated()
    intent = await bench.queue()
    sign = bench.signer.sign

    class Slow:
        address = bench.wallet

        async def sign(self, unsigned: Unsigned) -> bytes:
            assert await records.cancel(bench.pool, intent.id, bench.clock.now(), by="ann", because="wrong")
            return await sign(unsigned)

    sender = Sender(
        "test", bench.pool, Node(bench.rpc, bench.wallet), bench.rules, bench.limits, chain_id=CHAIN,
        clock=bench.clock, meter=bench.meter, signer=Slow(),
    )  # fmt: skip
    await bench.step(sender, times=2)
    assert ((await bench.status(intent)).state, bench.rpc.sends) == (State.DROPPED, 0)


async def test_a_reorg_that_drops_it_is_undone_and_it_is_sent_again(bench: Bench) -> None:
    await bench.activated()
    first, second = await bench.queue(1), await bench.queue(2)
    for _ in range(2):
        await bench.step()
        await bench.mine()
    await bench.step()
    assert [(await bench.status(each)).state for each in (first, second)] == [State.MINED, State.MINED]
    await bench.reorg(2)
    await bench.step()
    assert [(await bench.status(each)).state for each in (first, second)] == [State.PENDING, State.PENDING]
    assert await records.moved(bench.pool, first.id) == {}
    for _ in range(6):
        await bench.step()
        await bench.mine()
    await bench.step()
    found = [await bench.status(each) for each in (first, second)]
    assert [(each.state, each.reopened) for each in found] == [(State.SETTLED, 1), (State.SETTLED, 1)]
    assert (await bench.balance(), await bench.nonce()) == (3, 2)


async def test_a_nonce_that_somebody_else_uses_is_lost_at_depth_and_the_next_goes_on(bench: Bench) -> None:
    await bench.activated()
    intent = await bench.queue(1)
    await bench.step()
    await bench.rpc.call("anvil_dropAllTransactions")
    await bench.rpc.call("anvil_setNonce", to_hex(bench.wallet), "0x1")
    await bench.mine(2)
    await bench.step()
    assert (await bench.status(intent)).state is State.PENDING
    await bench.mine(3)
    await bench.step()
    assert (await bench.status(intent)).state is State.LOST
    after = await bench.queue(2)
    await bench.step()
    await bench.mine()
    await bench.step()
    found = await bench.status(after)
    assert (found.state, found.nonce, await bench.balance()) == (State.MINED, 1, 2)


async def test_a_second_process_waits_until_the_first_is_gone(bench: Bench, database_url: str) -> None:
    async with open_pool(database_url, role="chainworkd_sender", size=1) as other:
        async with bench.outbox():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    async with leased(other, CHAIN, bench.wallet, bench.clock):
                        pass
        async with asyncio.timeout(5), leased(other, CHAIN, bench.wallet, bench.clock) as outbox:
            assert await outbox.opened() == ()


async def test_who_lost_the_lease_hands_out_no_nonce(bench: Bench) -> None:
    await bench.activated()
    intent = await bench.queue()
    async with bench.outbox() as outbox:
        await bench.pool.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
        )
        with pytest.raises(StoreUnavailable):
            await bench.sender().step(outbox)
    assert (await bench.status(intent)).state is State.QUEUED
    assert bench.rpc.sends == 0


async def test_two_who_write_all_the_same_cannot_both_take_an_intent(bench: Bench) -> None:
    intent = await bench.queue()
    async with bench.outbox() as outbox:
        await bench.pool.execute(
            "update wallet.intent set state = 'pending', nonce = 0 where intent_id = $1", intent.id
        )
        with pytest.raises(Overtaken):
            await outbox.end(intent, State.DROPPED, "too late")


def test_a_key_of_another_account_is_refused(bench: Bench) -> None:
    with pytest.raises(BadConfig, match="the key is that of"):
        bench.sender(rules=replace(bench.rules, wallet=FRIEND, recipients=frozenset()))
