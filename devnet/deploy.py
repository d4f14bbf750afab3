"""Puts contracts on a fresh devnet: all habits of tokens, Uniswap v3 pools, Multicall3, a vault, Ostium doubles."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from eth_abi.abi import decode

from builders import erc20, signed_vault, uniswap_v3
from builders.call import Call, create, invoke
from contracts import deployments
from core.errors import BadConfig
from devnet import ostium
from devnet.artifacts import Artifacts
from devnet.node import Draft, Node, Receipt

log = logging.getLogger(__name__)

# The node's test accounts: the first deploys, provides liquidity and resolves the vault; the others make the traffic.
OWNER = 0
CREATE_GAS = 7_000_000  # the largest, the position manager, takes 5.1 million
CALL_GAS = 500_000
POOL_GAS = 6_000_000
FOREVER = 2**40  # a deadline that never comes
ALL = 2**256 - 1
UNIT = 10**18

# Name, symbol, decimals.
TOKENS: Mapping[str, tuple[str, str, int]] = {
    "usdc": ("Demo USD Coin", "USDC", 6),
    "usdt": ("Demo Tether USD", "USDT", 6),
    "wbtc": ("Demo Wrapped Bitcoin", "WBTC", 8),
    "dai": ("Demo Dai Stablecoin", "DAI", 18),
    "lusd": ("Demo Liquity USD", "LUSD", 18),
}
GIFT_UNITS = 100_000_000  # whole tokens for each account
GIFT_WETH = 500 * UNIT
OWNER_WETH = 4_000 * UNIT
ITEM_IDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool to open: each of two positions takes at most these amounts, worth the same at the first price."""

    name: str
    one: str
    one_amount: int
    other: str
    other_amount: int
    fee: int  # millionths
    spacing: int
    narrow: int  # half width of the second position, in spacings


# Prices to start with: 3,200 USD for an ether, 30 ether for a bitcoin, one dollar for a dollar.
POOLS = (
    Pool("pool_weth_usdc_500", "weth", 500 * UNIT, "usdc", 1_600_000 * 10**6, 500, 10, 200),
    Pool("pool_weth_usdc_3000", "weth", 500 * UNIT, "usdc", 1_600_000 * 10**6, 3000, 60, 40),
    Pool("pool_wbtc_weth_3000", "wbtc", 20 * 10**8, "weth", 600 * UNIT, 3000, 60, 40),
    Pool("pool_dai_usdc_100", "dai", 1_000_000 * UNIT, "usdc", 1_000_000 * 10**6, 100, 1, 50),
    Pool("pool_usdt_usdc_100", "usdt", 1_000_000 * 10**6, "usdc", 1_000_000 * 10**6, 100, 1, 50),
    Pool("pool_lusd_dai_500", "lusd", 1_000_000 * UNIT, "dai", 1_000_000 * UNIT, 500, 10, 20),
)


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """devnet.json: what was deployed where, so that a restart with the chain's state finds it again."""

    chain_id: int
    build: str  # of npm/build: contracts that have changed since are deployed anew
    contracts: dict[str, str]


async def deploy(node: Node, artifacts: Artifacts, *, chain_id: int, record: Path | None = None) -> dict[str, bytes]:
    """Return the devnet's contracts by name, deploying them unless `record` names contracts that are there.

    Raises BadConfig if something is not installed or a deployment fails.
    """
    build = artifacts.stamp()
    if record is not None and (known := await _recorded(node, _read(record, chain_id, build))):
        return known
    contracts = await _Deployment(node, artifacts, await node.accounts()).run()
    if record is not None:
        _write(record, chain_id, build, contracts)
    log.info("devnet deployed", extra={"contracts": len(contracts), "height": await node.height()})
    return contracts


async def _recorded(node: Node, contracts: dict[str, bytes]) -> dict[str, bytes]:
    """Return the contracts if they are all that is expected and the chain has code at every one, else nothing."""
    # A chain that went back to an older state lacks at least the airdrop, which is always deployed last.
    if not {"airdrop", "ostium_trading", *TOKENS, *(pool.name for pool in POOLS)} <= contracts.keys():
        return {}
    return contracts if all(await node.code(list(contracts.values()))) else {}


def _read(record: Path, chain_id: int, build: str) -> dict[str, bytes]:
    try:
        read = msgspec.json.decode(record.read_bytes(), type=Record)
        contracts = {name: bytes.fromhex(address[2:]) for name, address in read.contracts.items()}
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, ValueError) as error:
        log.warning("devnet record unreadable", extra={"file": record.name, "error": str(error)})
        return {}
    return contracts if (read.chain_id, read.build) == (chain_id, build) else {}


def _write(record: Path, chain_id: int, build: str, contracts: Mapping[str, bytes]) -> None:
    written = Record(chain_id, build, {name: "0x" + address.hex() for name, address in contracts.items()})
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_bytes(msgspec.json.format(msgspec.json.encode(written)) + b"\n")


class _Deployment:
    def __init__(self, node: Node, artifacts: Artifacts, accounts: Sequence[bytes]) -> None:
        self._node = node
        self._artifacts = artifacts
        self._owner = accounts[OWNER]
        self._accounts = accounts
        self._at: dict[str, bytes] = {}

    async def run(self) -> dict[str, bytes]:
        await self._create(self._independent())
        await self._create(self._dependent())
        await self._create(self._proxies())
        await self._place_multicall3()
        await self._send(self._funding())
        await self._send(self._pools())
        await self._find_pools()
        await self._send([draft for pool in POOLS for draft in await self._positions(pool)])
        # Last: its code says that all before it was done, see _recorded.
        await self._create({"airdrop": self._new("Airdrop")})
        return self._at

    def _new(self, contract: str, types: Sequence[str] = (), arguments: Sequence[object] = ()) -> Call:
        return create(self._artifacts.bytecode(contract), types, arguments)

    def _independent(self) -> dict[str, Call]:
        tokens = {key: self._new("DemoToken", ("string", "string", "uint8"), facts) for key, facts in TOKENS.items()}
        words = (b"Demo Maker".ljust(32, b"\0"), b"DMKR".ljust(32, b"\0"))
        return tokens | {
            "weth": self._new("WETH9"),
            "bytes32_token": self._new("Bytes32Token", ("bytes32", "bytes32"), words),
            "nft": self._new("DemoNft"),
            "items": self._new("DemoItems"),
            "reverter": self._new("Reverter"),
            "vault": self._new("TestVault"),
            "multicall3": self._new("Multicall3"),
            "position_descriptor": self._new("PositionDescriptor"),
            "uniswap_v3_factory": self._new("UniswapV3Factory"),
            "ostium_registry": self._new("OstiumRegistry"),
            "ostium_pairs": self._new("OstiumPairs"),
        }

    def _dependent(self) -> dict[str, Call]:
        pair = (self._at["uniswap_v3_factory"], self._at["weth"])
        manager = (*pair, self._at["position_descriptor"])
        return {
            "uniswap_v3_swap_router": self._new("SwapRouter", ("address", "address"), pair),
            "uniswap_v3_position_manager": self._new("NonfungiblePositionManager", ("address",) * 3, manager),
            "ostium_storage": self._new("OstiumStorage", ("address",), (self._at["usdc"],)),
            "ostium_implementation": self._new("OstiumTrading", ("address",), (self._at["ostium_registry"],)),
        }

    def _proxies(self) -> dict[str, Call]:
        return {"ostium_trading": self._new("OstiumProxy", ("address",), (self._at["ostium_implementation"],))}

    async def _place_multicall3(self) -> None:
        """Copy Multicall3 to the one address that clients look for it."""
        canonical = deployments(1)["multicall3"]
        (code,) = await self._node.code([self._at["multicall3"]])
        await self._node.put_code(canonical, code)
        self._at["multicall3"] = canonical

    def _funding(self) -> list[Draft]:
        manager, at = self._at["uniswap_v3_position_manager"], self._at
        calls = [invoke(at["weth"], "deposit()", value=OWNER_WETH)]
        calls += [erc20.approve(at[token], manager, ALL) for token in (*TOKENS, "weth")]
        calls += [uniswap_v3.enable_fee(at["uniswap_v3_factory"], 100, 1)]
        calls += [self._gift(token, self._owner) for token in TOKENS]
        # The resolver's own deposit covers the first withdrawal, whenever it comes.
        calls += [signed_vault.deposit_eth(at["vault"], self._owner, 1, UNIT)]
        calls += ostium.wiring(at)
        drafts = [self._draft("funding", self._owner, call) for call in calls]
        return drafts + [
            self._draft("funding", account, call) for account in self._accounts[1:] for call in self._purse(account)
        ]

    def _purse(self, account: bytes) -> list[Call]:
        """Return what a trader sends first: take tokens, and let the router and the vault have them."""
        at, router = self._at, self._at["uniswap_v3_swap_router"]
        stock = [10_000] * len(ITEM_IDS)
        return [
            *(self._gift(token, account) for token in TOKENS),
            invoke(at["weth"], "deposit()", value=GIFT_WETH),
            invoke(at["bytes32_token"], "mint(address,uint256)", account, GIFT_UNITS * UNIT),
            invoke(at["items"], "mintBatch(address,uint256[],uint256[])", account, ITEM_IDS, stock),
            *(erc20.approve(at[token], router, ALL) for token in (*TOKENS, "weth")),
            erc20.approve(at["usdc"], at["vault"], ALL),
        ]

    def _gift(self, token: str, account: bytes) -> Call:
        amount = GIFT_UNITS * 10 ** TOKENS[token][2]
        return invoke(self._at[token], "mint(address,uint256)", account, amount)

    def _sorted(self, pool: Pool) -> tuple[bytes, int, bytes, int]:
        """Return token0, its amount, token1, its amount: a pool orders its tokens by address."""
        sides = sorted([(self._at[pool.one], pool.one_amount), (self._at[pool.other], pool.other_amount)])
        return *sides[0], *sides[1]

    def _pools(self) -> list[Draft]:
        manager = self._at["uniswap_v3_position_manager"]
        drafts = []
        for pool in POOLS:
            token0, amount0, token1, amount1 = self._sorted(pool)
            price = uniswap_v3.sqrt_price_x96(amount0, amount1)
            call = uniswap_v3.create_pool(manager, token0, token1, pool.fee, price)
            drafts.append(self._draft(pool.name, self._owner, call, gas=POOL_GAS))
        return drafts

    async def _find_pools(self) -> None:
        for pool in POOLS:
            pair = (self._at[pool.one], self._at[pool.other], pool.fee)
            asked = invoke(self._at["uniswap_v3_factory"], "getPool(address,address,uint24)", *pair)
            self._at[pool.name] = (await self._node.read(asked))[-20:]

    async def _positions(self, pool: Pool) -> list[Draft]:
        """Return two mints: over the full range, and around the price."""
        token0, amount0, token1, amount1 = self._sorted(pool)
        answer = await self._node.read(invoke(self._at[pool.name], "slot0()"))
        _, tick = decode(["uint160", "int24"], answer)
        middle = tick // pool.spacing * pool.spacing
        reach = pool.narrow * pool.spacing
        ranges = (uniswap_v3.full_range(pool.spacing), (middle - reach, middle + reach))
        manager = self._at["uniswap_v3_position_manager"]
        calls = [
            uniswap_v3.mint(
                manager,
                uniswap_v3.Range(token0=token0, token1=token1, fee=pool.fee, tick_lower=lower, tick_upper=upper),
                amount0,
                amount1,
                recipient=self._owner,
                deadline=FOREVER,
            )
            for lower, upper in ranges
        ]
        return [self._draft(f"position in {pool.name}", self._owner, call, gas=2 * CALL_GAS) for call in calls]

    def _draft(self, kind: str, sender: bytes, call: Call, gas: int = CALL_GAS) -> Draft:
        return Draft(kind=kind, sender=sender, call=call, gas=gas)

    async def _create(self, contracts: Mapping[str, Call]) -> None:
        drafts = [self._draft(name, self._owner, call, gas=CREATE_GAS) for name, call in contracts.items()]
        for draft, receipt in zip(drafts, await self._send(drafts), strict=True):
            if receipt.contract is None:
                raise BadConfig(f"devnet: {draft.kind} was not created in block {receipt.block}")
            self._at[draft.kind] = receipt.contract

    async def _send(self, drafts: Sequence[Draft]) -> list[Receipt]:
        receipts = await self._node.settle(drafts)
        for draft, receipt in zip(drafts, receipts, strict=True):
            if receipt.status != 1:
                raise BadConfig(
                    f"devnet: {draft.kind} failed in block {receipt.block}; npm/build may be stale, run `make setup`"
                )
        return receipts
