"""Settings: base.toml, a profile, a file of the operator's, then CHAINWORKD_* variables. Read once, passed as parts.

Sources, weakest first: `config/base.toml`; `config/<profile>.toml` (option --profile or CHAINWORKD_PROFILE); the file
named by --config or CHAINWORKD_CONFIG; files in $CREDENTIALS_DIRECTORY (systemd LoadCredential), named like the
variables in lower case; the environment, nested names joined by two underscores (CHAINWORKD_DATABASE__URL).
CHAINWORKD_RPC_URL (and CHAINWORKD_WS_URL) alone make one chain; several URLs are separated by commas. Every fault is
reported, in one line.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from typing_extensions import override

from core.droid_places import place_faults
from core.droid_settings import DroidSettings
from core.errors import BadConfig
from core.fields import (
    FeedUrl,
    HexAddress,
    HttpUrl,
    HttpUrls,
    Name,
    Network,
    OptionalAddress,
    Part,
    PgUrl,
    Port,
    Rate,
    Seconds,
    WsUrls,
    several,
)
from core.price_settings import PriceSettings
from core.sending import SenderSettings, WalletSettings, wallet_faults

PREFIX: Final = "CHAINWORKD_"
# Variables that choose the sources, or stand for several settings; everything else must name a setting.
SHORTCUTS: Final = frozenset({"CONFIG", "PROFILE", "RPC_URL", "WS_URL", "CHAIN_ID", "BACKFILL"})
RPC_CHAIN: Final = "node"  # what the chain of CHAINWORKD_RPC_URL is called when no profile names one

MIN_RETAINED: Final = 256  # blocks; four times what Ethereum needs to finalise one, and no reorg was ever as deep


def _retained(value: int) -> int:
    if 0 < value < MIN_RETAINED:
        raise ValueError(f"expected 0 (keep all) or at least {MIN_RETAINED}, found {value}")
    return value


class DatabaseSettings(Part):
    """Where rows live. No URL means the embedded server."""

    url: PgUrl = ""
    api_connections: Annotated[int, Field(ge=1, le=200)] = 8
    indexer_connections: Annotated[int, Field(ge=2, le=200)] = 6
    statement_timeout_s: Seconds = 10.0
    min_free_gb: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0


class ApiSettings(Part):
    """Where the API listens. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Port = 8080
    public_url: HttpUrl = ""
    rate_limit: Rate = "600/minute"
    max_streams: Annotated[int, Field(ge=1, le=100_000)] = 500
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    max_connections: Annotated[int, Field(ge=2, le=100_000)] = 2_000

    @property
    def streams(self) -> int:
        """How many streams may be open: half of all connections at most, as those over SSE do not end by themselves."""
        return min(self.max_streams, self.max_connections // 2)


class BuilderSettings(Part):
    """The Ostium builder: which contracts, which node if any, which prices, how much anybody may ask.

    Empty addresses are those of the deployment that is known for `chain_id`; an empty `rpc_url` is the node of the
    configured chain with that id. Names of the limit are the Builder Service's own.
    """

    enabled: bool = True
    chain_id: Annotated[int, Field(gt=0, lt=2**63)] = 42_161
    trading: OptionalAddress = ""
    trading_storage: OptionalAddress = ""
    usdc: OptionalAddress = ""
    abi: Literal["auto", "v3", "v2", "v1"] = "auto"
    rpc_url: HttpUrl = ""
    deadline_s: Seconds = 5.0
    feed_url: FeedUrl = ""
    feed_subscribe: str = ""
    feed_poll_s: Seconds = 1.0
    feed_silence_s: Seconds = 60.0
    rate_limit_enabled: bool = True
    rate_limit_max_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    rate_limit_window_ms: Annotated[int, Field(ge=1_000, le=86_400_000, multiple_of=1_000)] = 60_000
    rate_limit_whitelist: tuple[Network, ...] = ()


class AuthSettings(Part):
    """How long sessions and people's tokens last, and how often somebody may try to sign in."""

    access_minutes: Annotated[int, Field(ge=1, le=60)] = 10
    refresh_days: Annotated[int, Field(ge=1, le=365)] = 14
    session_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    refresh_grace_s: Annotated[float, Field(ge=0, le=60)] = 10.0
    user_token_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    client_rate: Rate = "30/minute"
    account_rate: Rate = "10/minute"
    register_rate: Rate = "20/hour"


class OpsSettings(Part):
    """Where each process answers /livez, /readyz and /metrics, and what counts as ready."""

    host: str = "127.0.0.1"
    indexer_port: Port = 9464
    backfill_port: Port = 9465
    api_port: Port = 9466
    sender_port: Port = 9467
    worker_port: Port = 9468
    ready_lag_s: Seconds = 60.0
    head_silence_s: Seconds = 120.0
    hang_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0


class LogSettings(Part):
    """How much is logged, and for whom."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    style: Literal["auto", "json", "text"] = "auto"


class BlockSpan(Part):
    """A range of history to fill, both ends included; no `last` means up to the head."""

    first: Annotated[int, Field(ge=0)]
    last: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"\s*(\d{1,18})\s*\.\.\s*(\d{1,18})?\s*", value)
        if found is None:
            raise ValueError(f'expected "first..last" or "first..", found {value!r}')
        return {"first": int(found[1]), "last": int(found[2]) if found[2] else None}

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.last is not None and self.last < self.first:
            raise ValueError(f"range ends before it starts: {self.first}..{self.last}")
        return self


class TokenOverride(Part):
    """What an operator knows better about a token than its contract."""

    symbol: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    decimals: Annotated[int, Field(ge=0, le=77)] | None = None


CheckName = Literal[
    "counts", "log_index", "gas", "receipt_bloom", "header_bloom", "receipts_root", "transactions_root", "block_hash",
    "tx_hash", "derived", "withdrawals_root",
]  # fmt: skip


class VerifySettings(Part):
    """How blocks are verified: by all checks that hold on the chain but `without`, or not at all."""

    mode: Literal["auto", "off"] = "auto"
    without: tuple[CheckName, ...] = ()
    recheck_blocks_per_hour: Annotated[int, Field(ge=0, le=1_000_000)] = 600


class ChainDefaults(Part):
    """What a chain has unless it says otherwise."""

    native_symbol: Annotated[str, Field(min_length=1, max_length=12)] = "ETH"
    poll_s: Seconds = 1.0
    deadline_s: Seconds = 20.0
    agree_s: Annotated[float, Field(ge=0, le=60)] = 0.5
    batch_blocks: Annotated[int, Field(ge=1, le=1_000)] = 10
    max_blocks: Annotated[int, Field(ge=1, le=10_000)] = 20
    jump_blocks: Annotated[int, Field(ge=1)] = 1_000
    chunk_blocks: Annotated[int, Field(ge=1, le=10_000)] = 50
    safe_depth: Annotated[int, Field(ge=0)] = 32
    finalized_depth: Annotated[int, Field(ge=0)] = 96
    backfill: tuple[BlockSpan, ...] = ()
    mode: Literal["full", "watch", "events"] = "full"
    logs: Literal["none", "watched", "all"] = "none"
    token_refresh_days: Annotated[int, Field(ge=1, le=3_650)] = 7
    retain_blocks: Annotated[int, Field(ge=0), AfterValidator(_retained)] = 0
    retain_facts_days: Annotated[int, Field(ge=1, le=3_650)] = 7
    verify: VerifySettings = VerifySettings()


class ChainSettings(ChainDefaults):
    """One chain to follow. `chain_id` 0 means whatever the node says at the first start."""

    chain_id: Annotated[int, Field(ge=0, lt=2**63)] = 0
    http: HttpUrls = ()
    fallback_http: HttpUrls = ()
    ws: WsUrls = ()
    watched: tuple[HexAddress, ...] = ()
    vaults: tuple[HexAddress, ...] = ()
    token_overrides: str = ""
    prices: PriceSettings = PriceSettings()

    @property
    def primaries(self) -> tuple[str, ...]:
        """The URLs of the nodes that share the load, each once."""
        return tuple(dict.fromkeys(filter(None, self.http)))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The URLs of all nodes, primaries first."""
        return tuple(dict.fromkeys((*self.primaries, *filter(None, self.fallback_http))))


class Settings(BaseSettings):
    """All settings of the program."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    default_chain: str = ""
    data_dir: str = ""
    database: DatabaseSettings = DatabaseSettings()
    api: ApiSettings = ApiSettings()
    auth: AuthSettings = AuthSettings()
    builder: BuilderSettings = BuilderSettings()
    ops: OpsSettings = OpsSettings()
    log: LogSettings = LogSettings()
    defaults: ChainDefaults = ChainDefaults()
    chains: dict[Name, ChainSettings] = {}
    sender: SenderSettings = SenderSettings()
    wallets: dict[Name, WalletSettings] = {}
    droids: DroidSettings = DroidSettings()

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values only from `load`, which merges the sources: chains inherit from defaults after merging."""
        return (init_settings,)

    @property
    def data_path(self) -> Path:
        """The folder of the embedded server and of local state."""
        if self.data_dir:
            return Path(self.data_dir).expanduser().absolute()
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        return Path(base).expanduser() / "chainworkd"

    @property
    def explorer_chain(self) -> str:
        """The name of the chain that the explorer serves when asked for none."""
        return self.default_chain or next(iter(self.chains), "")


def load(
    *, profile: str | None = None, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read all sources. Raises BadConfig naming every fault, or the file that is missing."""
    env = os.environ if environ is None else environ
    config = config or (Path(env[PREFIX + "CONFIG"]) if env.get(PREFIX + "CONFIG") else None)
    merged = _toml(config_folder() / "base.toml")
    for name in filter(None, (profile or env.get(PREFIX + "PROFILE", "")).split(",")):
        merged = deep_merge(merged, _toml(_profile_file(name)))
    if config is not None:
        merged = deep_merge(merged, _toml(config))
    credentials = _credentials(env)
    short = {PREFIX + name.upper(): credentials.pop(name) for name in list(credentials) if name.upper() in SHORTCUTS}
    merged = deep_merge(merged, credentials)
    merged = deep_merge(merged, _shortcuts({**short, **env}, merged))
    return _validated(merged, env)


def config_folder() -> Path:
    """Return the folder of base.toml and the profiles: beside the packages in a checkout, inside `core` in a wheel."""
    here = Path(__file__).resolve().parent
    inside = here / "config_files"
    return inside if inside.is_dir() else here.parent / "config"


def profiles() -> tuple[str, ...]:
    """Return the names of the profiles that come with the program."""
    return tuple(sorted(file.stem for file in config_folder().glob("*.toml") if file.stem != "base"))


def deep_merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` overlaid with `above`, table by table."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = deep_merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def token_overrides(file: str) -> dict[bytes, TokenOverride]:
    """Read a chain's file of token overrides: a table per contract address. "" means none. Raises BadConfig."""
    if not file:
        return {}
    known = TypeAdapter(dict[HexAddress, TokenOverride])
    try:
        found = known.validate_python(_toml(Path(file).expanduser()))
    except ValidationError as error:
        faults = "; ".join(_fault(detail) for detail in error.errors(include_url=False, include_context=False))
        raise BadConfig(f"{file}: {faults}") from None
    return {bytes.fromhex(address[2:]): override for address, override in found.items()}


def _profile_file(name: str) -> Path:
    if name not in profiles():
        raise BadConfig(f"profile {name!r} does not exist; there are {', '.join(profiles())}")
    return config_folder() / f"{name}.toml"


def _toml(file: Path) -> dict[str, Any]:
    # A missing file is an error here: settings that were meant and silently skipped are worse than none.
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise BadConfig(f"{file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file}: {error}") from error


def _credentials(env: Mapping[str, str]) -> dict[str, Any]:
    """Read files such as $CREDENTIALS_DIRECTORY/chainworkd_database__url; others there belong to somebody else."""
    folder = env.get("CREDENTIALS_DIRECTORY")
    result: dict[str, Any] = {}
    if not folder:
        return result
    for file in sorted(Path(folder).glob(f"{PREFIX.lower()}*")):
        keys = file.name.removeprefix(PREFIX.lower()).split("__")
        value: Any = _secret(file)
        for key in reversed(keys):
            value = {key: value}
        result = deep_merge(result, value)
    return result


def _secret(file: Path) -> str:
    try:
        value = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"credential {file.name}: not readable as text ({type(error).__name__})") from None
    if not value:
        # An empty database URL would silently mean the embedded server.
        raise BadConfig(f"credential {file.name}: the file is empty")
    return value


def _shortcuts(env: Mapping[str, str], merged: Mapping[str, Any]) -> dict[str, Any]:
    """Turn CHAINWORKD_RPC_URL and its companions into the chain they describe."""
    wanted = {"http": env.get(PREFIX + "RPC_URL"), "ws": env.get(PREFIX + "WS_URL")}
    if env.get(PREFIX + "CHAIN_ID"):
        wanted["chain_id"] = env[PREFIX + "CHAIN_ID"]
    found: dict[str, Any] = {key: value for key, value in wanted.items() if value}
    if found.get("http"):
        found["http"], *further = several(found["http"])
        if further:  # one URL alone leaves the fallbacks that another source names
            found["fallback_http"] = further
    if env.get(PREFIX + "BACKFILL"):
        found["backfill"] = [part for part in env[PREFIX + "BACKFILL"].split(",") if part.strip()]
    if not found:
        return {}
    names = list(merged.get("chains", {}))
    if len(names) > 1:
        raise BadConfig(f"{PREFIX}RPC_URL stands for one chain, but {', '.join(names)} are configured")
    return {"chains": {names[0] if names else RPC_CHAIN: found}}


def _validated(merged: dict[str, Any], env: Mapping[str, str]) -> Settings:
    faults = _unknown_variables(env)
    try:
        merged = _with_defaults(deep_merge(merged, _Environment(env)()))
        settings = Settings(**merged)
    except ValidationError as error:
        faults += [_fault(detail) for detail in error.errors(include_url=False, include_context=False)]
        raise BadConfig("settings: " + "; ".join(faults)) from None
    except SettingsError as error:
        raise BadConfig("settings: " + "; ".join([*faults, str(error)])) from None
    faults += _contradictions(settings)
    if faults:
        raise BadConfig("settings: " + "; ".join(faults))
    return settings


def _with_defaults(merged: dict[str, Any]) -> dict[str, Any]:
    defaults, chains = merged.get("defaults"), merged.get("chains")
    if not isinstance(defaults, Mapping) or not isinstance(chains, Mapping):
        return merged
    filled = {name: deep_merge(defaults, c) if isinstance(c, Mapping) else c for name, c in chains.items()}
    return {**merged, "chains": filled}


class _Environment(EnvSettingsSource):
    """The CHAINWORKD_* variables of a given environment, as nested values."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = {name.lower(): value for name, value in env.items()}
        super().__init__(Settings)

    @override
    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._env

    @override
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Read JSON; what is none is left to the setting's own check, which names the setting in its fault."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def _unknown_variables(env: Mapping[str, str]) -> list[str]:
    # pydantic-settings ignores a variable whose first segment it does not know, even with extra="forbid".
    known = {name.upper() for name in Settings.model_fields}
    faults = []
    for name in sorted(env):
        first = name.removeprefix(PREFIX).split("__")[0]
        if name.startswith(PREFIX) and first.upper() not in known and first not in SHORTCUTS:
            faults.append(f"{name}: no such setting")
    return faults


def _fault(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    # The value is not shown: it may be a URL with a key in it.
    return f"{where}: {detail['msg'].removeprefix('Value error, ')}"


def _contradictions(settings: Settings) -> list[str]:
    faults = []
    if settings.default_chain and settings.default_chain not in settings.chains:
        names = ", ".join(settings.chains) or "none"
        faults.append(f"default_chain: {settings.default_chain!r} is not among the configured chains ({names})")
    ids = [chain.chain_id for chain in settings.chains.values() if chain.chain_id]
    faults += [
        f"chains: chain id {double} is configured twice" for double in sorted({i for i in ids if ids.count(i) > 1})
    ]
    faults += [
        f"chains.{name}.watched: expected at least one address, since mode is {chain.mode}"
        for name, chain in settings.chains.items()
        if chain.mode != "full" and not chain.watched
    ]
    # Deposits are business records: pruning would delete them without the archive that a reorg leaves.
    faults += [
        f"chains.{name}: retain_blocks and vaults exclude each other: pruning would take deposits away"
        for name, chain in settings.chains.items()
        if chain.retain_blocks and chain.vaults
    ]
    ops = settings.ops
    own = (ops.indexer_port, ops.backfill_port, ops.api_port, ops.sender_port, ops.worker_port, settings.api.port)
    ports = [port for port in own if port]
    faults += [f"ops, api: port {double} is used twice" for double in _doubles(ports)]
    chains = {name: chain.chain_id for name, chain in settings.chains.items()}
    faults += wallet_faults(settings.wallets, chains)
    return [*faults, *place_faults(settings.droids.pools, settings.droids.accounts, chains, settings.wallets)]


def _doubles(numbers: list[int]) -> list[int]:
    return sorted({number for number in numbers if numbers.count(number) > 1})
