"""What can happen on the devnet: each kind of event as the transactions that cause it. Pure, given the chance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from builders import erc20, signed_vault, uniswap_v3
from builders.call import Call, create, invoke
from devnet.deploy import CALL_GAS, FOREVER, ITEM_IDS, POOLS, TOKENS, UNIT
from devnet.node import Draft

WITHDRAWAL = "vault_withdraw"
TRANSFER_GAS = 21_000
ACCESS_LIST_GAS = 2_400 + 1_900  # EIP-2930: one address and one key, which is what devnet.node lists
EMPTY = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Who acts, on what. `tiny` is the creation code of the smallest contract; `resolver` receives vault deposits."""

    contracts: Mapping[str, bytes]
    actors: Sequence[bytes]
    chain_id: int
    resolver: bytes
    tiny: bytes
    chance: Random

    def pair(self) -> tuple[bytes, bytes]:
        """Return two different actors."""
        one, other = self.chance.sample(self.actors, 2)
        return one, other

    def stranger(self) -> bytes:
        """Return an address that has never been seen."""
        return self.chance.randbytes(20)

    def amount(self, decimals: int) -> int:
        """Return a positive amount of a few tokens, in base units, with all its digits used."""
        return self.chance.randint(1, 500 * 10**decimals)

    def nonce(self) -> int:
        """Return a vault nonce: mostly like a time stamp, now and then a uint256 that no 64-bit column holds."""
        return self.chance.getrandbits(256) if self.chance.random() < 0.25 else self.chance.getrandbits(40)


# Sender, call and gas limit of each transaction, in the order in which they must be mined.
Acts = list[tuple[bytes, Call, int]]
Kind = Callable[[Scene], Acts]


def _eth_transfer(scene: Scene) -> Acts:
    one, other = scene.pair()
    to = other if scene.chance.random() < 0.7 else scene.stranger()
    return [(one, Call(to, EMPTY, scene.chance.randint(1, UNIT // 10)), TRANSFER_GAS)]


def _self_transfer(scene: Scene) -> Acts:
    one, _ = scene.pair()
    return [(one, Call(one, EMPTY, scene.chance.randint(1, UNIT)), TRANSFER_GAS)]


def _empty_call(scene: Scene) -> Acts:
    one, other = scene.pair()
    return [(one, Call(other), TRANSFER_GAS)]


def _message(scene: Scene) -> Acts:
    one, other = scene.pair()
    return [(one, Call(other, b"a note to an account that has no code"), 2 * TRANSFER_GAS)]


def _erc20_transfer(scene: Scene) -> Acts:
    one, other = scene.pair()
    token = scene.chance.choice(list(TOKENS))
    return [(one, erc20.transfer(scene.contracts[token], other, scene.amount(TOKENS[token][2])), CALL_GAS)]


def _erc20_nothing(scene: Scene) -> Acts:
    one, other = scene.pair()
    return [(one, erc20.transfer(scene.contracts["usdc"], other, 0), CALL_GAS)]


def _erc20_approve(scene: Scene) -> Acts:
    one, other = scene.pair()
    token = scene.chance.choice(list(TOKENS))
    return [(one, erc20.approve(scene.contracts[token], other, scene.amount(TOKENS[token][2])), CALL_GAS)]


def _bytes32_transfer(scene: Scene) -> Acts:
    one, other = scene.pair()
    return [(one, erc20.transfer(scene.contracts["bytes32_token"], other, scene.amount(18)), CALL_GAS)]


def _swap(scene: Scene, *, forward: bool) -> Acts:
    """Sell up to a thousandth of what the pool was opened with, so that a price moves without running away."""
    one, _ = scene.pair()
    pool = scene.chance.choice(POOLS)
    sold, bought, most = pool.one, pool.other, pool.one_amount // 1000
    if not forward:
        sold, bought, most = pool.other, pool.one, pool.other_amount // 1000
    path = (scene.contracts[sold], pool.fee, scene.contracts[bought])
    amount = scene.chance.randint(most // 100, most)
    router = scene.contracts["uniswap_v3_swap_router"]
    return [(one, uniswap_v3.swap(router, path, amount, recipient=one, deadline=FOREVER), CALL_GAS)]


def _swap_forward(scene: Scene) -> Acts:
    return _swap(scene, forward=True)


def _swap_back(scene: Scene) -> Acts:
    return _swap(scene, forward=False)


def _swap_too_dear(scene: Scene) -> Acts:
    """Ask for more than the pool gives: the router reverts, as most failed swaps on a real chain do."""
    one, _ = scene.pair()
    path = (scene.contracts["usdc"], 500, scene.contracts["weth"])
    router = scene.contracts["uniswap_v3_swap_router"]
    call = uniswap_v3.swap(router, path, 1000 * 10**6, recipient=one, deadline=FOREVER, least_out=UNIT)
    return [(one, call, CALL_GAS)]


def _nft_mint(scene: Scene) -> Acts:
    one, _ = scene.pair()
    token_id = scene.chance.getrandbits(64)
    return [(one, invoke(scene.contracts["nft"], "mint(address,uint256)", one, token_id), CALL_GAS)]


def _nft_transfer(scene: Scene) -> Acts:
    """Mint and pass on: who owns what is not kept, so this works after any restart."""
    one, other = scene.pair()
    nft, token_id = scene.contracts["nft"], scene.chance.getrandbits(256)
    mint = invoke(nft, "mint(address,uint256)", one, token_id)
    move = invoke(nft, "transferFrom(address,address,uint256)", one, other, token_id)
    return [(one, mint, CALL_GAS), (one, move, CALL_GAS)]


def _items_single(scene: Scene) -> Acts:
    one, other = scene.pair()
    function = "safeTransferFrom(address,address,uint256,uint256,bytes)"
    order = (one, other, scene.chance.choice(ITEM_IDS), scene.chance.randint(1, 3), EMPTY)
    return [(one, invoke(scene.contracts["items"], function, *order), CALL_GAS)]


def _items_batch(scene: Scene) -> Acts:
    one, other = scene.pair()
    ids = sorted(scene.chance.sample(ITEM_IDS, scene.chance.randint(2, len(ITEM_IDS))))
    function = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"
    order = (one, other, ids, [scene.chance.randint(1, 3) for _ in ids], EMPTY)
    return [(one, invoke(scene.contracts["items"], function, *order), CALL_GAS)]


def _items_mint(scene: Scene) -> Acts:
    one, _ = scene.pair()
    order = (one, scene.chance.choice(ITEM_IDS), scene.chance.randint(1, 9))
    return [(one, invoke(scene.contracts["items"], "mint(address,uint256,uint256)", *order), CALL_GAS)]


def _weth_deposit(scene: Scene) -> Acts:
    one, _ = scene.pair()
    value = scene.chance.randint(1, UNIT)
    # Both ways to wrap: by name, and by plainly sending ether.
    weth = scene.contracts["weth"]
    return [(one, invoke(weth, "deposit()", value=value) if value % 2 else Call(weth, EMPTY, value), CALL_GAS)]


def _weth_withdraw(scene: Scene) -> Acts:
    one, _ = scene.pair()
    return [(one, invoke(scene.contracts["weth"], "withdraw(uint256)", scene.chance.randint(1, UNIT)), CALL_GAS)]


def _creation(scene: Scene) -> Acts:
    one, _ = scene.pair()
    return [(one, create(scene.tiny, ("bool",), (scene.chance.random() < 0.5,)), CALL_GAS)]


def _failed_creation(scene: Scene) -> Acts:
    one, _ = scene.pair()
    return [(one, Call(None, bytes.fromhex("60006000fd")), 2 * CALL_GAS)]  # PUSH1 0 PUSH1 0 REVERT


def _revert(scene: Scene) -> Acts:
    one, _ = scene.pair()
    reverter = scene.contracts["reverter"]
    ways = [invoke(reverter, way) for way in ("withReason()", "withPanic()", "withoutData()", "unknown()")]
    ways.append(invoke(reverter, "withError(uint256)", scene.chance.getrandbits(16)))
    return [(one, scene.chance.choice(ways), CALL_GAS)]


def _out_of_gas(scene: Scene) -> Acts:
    one, other = scene.pair()
    # Enough to be accepted (the intrinsic cost), too little for the two storage writes of a transfer.
    return [(one, erc20.transfer(scene.contracts["dai"], other, 1), 27_000)]


def _airdrop(scene: Scene) -> Acts:
    one, _ = scene.pair()
    to = [scene.stranger() for _ in range(scene.chance.randint(5, 40))]
    order = (scene.contracts["lusd"], to, scene.amount(18))
    return [(one, invoke(scene.contracts["airdrop"], "drop(address,address[],uint256)", *order), 3_000_000)]


def _vault_deposit(scene: Scene) -> Acts:
    one, _ = scene.pair()
    value = scene.chance.randint(1, UNIT // 10)
    return [(one, signed_vault.deposit_eth(scene.contracts["vault"], scene.resolver, scene.nonce(), value), CALL_GAS)]


def _vault_token(scene: Scene) -> Acts:
    one, _ = scene.pair()
    order = (scene.contracts["usdc"], scene.amount(6), scene.resolver, scene.nonce())
    return [(one, signed_vault.deposit(scene.contracts["vault"], *order), CALL_GAS)]


def _vault_zeros(scene: Scene) -> Acts:
    """Announce one key three times, with nothing, nothing and something; then try again, which reverts."""
    one, _ = scene.pair()
    key = (scene.contracts["vault"], scene.resolver, scene.nonce())
    return [(one, signed_vault.deposit_eth(*key, paid), CALL_GAS) for paid in (0, 0, 5, 7)]


def _vault_same_nonce(scene: Scene) -> Acts:
    """Two people use one nonce with one resolver: both deposits stand."""
    key = (scene.contracts["vault"], scene.resolver, scene.nonce())
    return [(who, signed_vault.deposit_eth(*key, 10**15), CALL_GAS) for who in scene.pair()]


def _vault_before_resolvers(scene: Scene) -> Acts:
    one, _ = scene.pair()
    function = "depositETHBeforeResolvers(uint256)"
    return [(one, invoke(scene.contracts["vault"], function, scene.nonce(), value=10**15), CALL_GAS)]


def _vault_before_nonces(scene: Scene) -> Acts:
    one, _ = scene.pair()
    return [(one, invoke(scene.contracts["vault"], "depositETHBeforeNonces()", value=10**15), CALL_GAS)]


def _vault_cancel(scene: Scene) -> Acts:
    return [(scene.resolver, signed_vault.cancel(scene.contracts["vault"], scene.nonce()), CALL_GAS)]


def withdrawal(scene: Scene) -> signed_vault.Withdrawal:
    """Return what the resolver is to sign for a "vault_withdraw", which is not in FREQUENCY because of that."""
    one, _ = scene.pair()
    return signed_vault.Withdrawal(
        user=one,
        token=signed_vault.ETHER,
        amount=scene.chance.randint(1, 10**12),
        resolver=scene.resolver,
        nonce=scene.nonce(),
        deadline=FOREVER,
    )


# How often each comes in one round of the deck, after the mix of an ordinary chain: mostly money, a few of all else.
FREQUENCY: Mapping[str, tuple[Kind, int]] = {
    "eth_transfer": (_eth_transfer, 14),
    "self_transfer": (_self_transfer, 1),
    "empty_call": (_empty_call, 1),
    "message": (_message, 1),
    "erc20_transfer": (_erc20_transfer, 16),
    "erc20_nothing": (_erc20_nothing, 1),
    "erc20_approve": (_erc20_approve, 3),
    "bytes32_transfer": (_bytes32_transfer, 1),
    "swap_forward": (_swap_forward, 5),
    "swap_back": (_swap_back, 5),
    "swap_too_dear": (_swap_too_dear, 1),
    "nft_mint": (_nft_mint, 1),
    "nft_transfer": (_nft_transfer, 1),
    "items_single": (_items_single, 1),
    "items_batch": (_items_batch, 1),
    "items_mint": (_items_mint, 1),
    "weth_deposit": (_weth_deposit, 2),
    "weth_withdraw": (_weth_withdraw, 2),
    "creation": (_creation, 1),
    "failed_creation": (_failed_creation, 1),
    "revert": (_revert, 1),
    "out_of_gas": (_out_of_gas, 1),
    "airdrop": (_airdrop, 1),
    "vault_deposit": (_vault_deposit, 1),
    "vault_token": (_vault_token, 1),
    "vault_zeros": (_vault_zeros, 1),
    "vault_same_nonce": (_vault_same_nonce, 1),
    "vault_before_resolvers": (_vault_before_resolvers, 1),
    "vault_before_nonces": (_vault_before_nonces, 1),
    "vault_cancel": (_vault_cancel, 1),
}

# A quarter of the transactions on Ethereum are still legacy; access lists are rare.
ENVELOPES = (0, 1, 2)
ENVELOPE_WEIGHTS = (25, 10, 65)


def shuffled_deck(chance: Random) -> list[str]:
    """Return every kind as often as FREQUENCY says, in random order: a round leaves nothing out."""
    deck = [name for name, (_, often) in FREQUENCY.items() for _ in range(often)]
    deck.append(WITHDRAWAL)
    chance.shuffle(deck)
    return deck


def drafts(name: str, scene: Scene) -> list[Draft]:
    """Return the transactions of one kind in FREQUENCY."""
    kind, _ = FREQUENCY[name]
    return [draft(name, scene, *act) for act in kind(scene)]


def draft(name: str, scene: Scene, sender: bytes, call: Call, gas: int) -> Draft:
    """Return one transaction, in a random envelope."""
    envelope = scene.chance.choices(ENVELOPES, ENVELOPE_WEIGHTS)[0]
    # anvil takes a transaction whose gas does not cover its access list, and drops it in silence when it mines.
    extra = ACCESS_LIST_GAS if envelope == 1 else 0
    return Draft(kind=name, sender=sender, call=call, gas=gas + extra, envelope=envelope)
