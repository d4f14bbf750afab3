from pathlib import Path

import pytest

from api.addresses import checksum
from contracts import deployments
from core.errors import BadConfig
from core.settings import BlockSpan, Settings, load

NODE = "https://node.example/v3/secretkey1"


def settings(tmp_path: Path, text: str = "", profile: str | None = None, **env: str) -> Settings:
    file = tmp_path / "own.toml"
    file.write_text(text)
    return load(config=file, profile=profile, environ={f"CHAINWORKD_{name}": value for name, value in env.items()})


def fault(tmp_path: Path, text: str = "", **env: str) -> str:
    with pytest.raises(BadConfig) as caught:
        settings(tmp_path, text, **env)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_variable_makes_one_chain(tmp_path: Path) -> None:
    found = settings(tmp_path, RPC_URL=NODE, WS_URL="wss://node.example", BACKFILL="0..9,20..")
    assert list(found.chains) == ["node"]
    assert found.chains["node"].http == (NODE,)
    assert found.chains["node"].backfill == (BlockSpan(first=0, last=9), BlockSpan(first=20))
    assert found.explorer_chain == "node"


def test_the_variable_gives_a_profiles_chain_its_node(tmp_path: Path) -> None:
    found = settings(tmp_path, profile="mainnet", RPC_URL=NODE)
    assert (found.chains["mainnet"].http, found.chains["mainnet"].chain_id) == ((NODE,), 1)


def test_the_variable_cannot_mean_two_chains(tmp_path: Path) -> None:
    assert "one chain" in fault(tmp_path, "[chains.a]\n[chains.b]\n", RPC_URL=NODE)


def test_sources_overrule_one_another_from_base_to_environment(tmp_path: Path) -> None:
    text = '[api]\nport = 1111\nhost = "::1"\n[ops]\nready_lag_s = 5\n'
    found = settings(tmp_path, text, profile="mainnet", API__PORT="2222")
    assert (found.api.port, found.api.host) == (2222, "::1")
    assert found.ops.ready_lag_s == 5.0
    assert found.chains["mainnet"].poll_s == 2.0
    assert found.ops.indexer_port == 9464
    assert load(profile="mainnet", environ={}).ops.ready_lag_s == 90.0


def test_credentials_stand_between_files_and_environment(tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "chainworkd_database__url").write_text("postgresql:///kept\n")
    (folder / "somebody_elses").write_text("x")
    text = '[database]\nurl = "postgresql:///file"\n'
    env = {"CREDENTIALS_DIRECTORY": str(folder)}
    (tmp_path / "own.toml").write_text(text)
    assert load(config=tmp_path / "own.toml", environ=env).database.url == "postgresql:///kept"
    env["CHAINWORKD_DATABASE__URL"] = "postgresql:///env"
    assert load(config=tmp_path / "own.toml", environ=env).database.url == "postgresql:///env"


def test_streams_may_not_take_every_connection(tmp_path: Path) -> None:
    assert settings(tmp_path, API__MAX_CONNECTIONS="400").api.streams == 200
    assert settings(tmp_path, API__MAX_CONNECTIONS="400", API__MAX_STREAMS="7").api.streams == 7


def test_the_node_may_be_a_credential(tmp_path: Path) -> None:
    (tmp_path / "chainworkd_rpc_url").write_text(NODE)
    found = load(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found.chains["node"].http == (NODE,)


def test_an_unknown_credential_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chainworkd_databse__url").write_text("postgresql:///x")
    with pytest.raises(BadConfig, match="databse"):
        load(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_credential_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chainworkd_database__url").mkdir()
    with pytest.raises(BadConfig, match="credential"):
        load(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_chains_inherit_defaults_also_from_the_environment(tmp_path: Path) -> None:
    text = "[defaults]\nmax_blocks = 7\n[chains.a]\nbatch_blocks = 3\n"
    found = settings(tmp_path, text, DEFAULTS__POLL_S="9", CHAINS__B__HTTP="http://b", RPC_URL="")
    a, b = found.chains["a"], found.chains["b"]
    assert (a.max_blocks, a.batch_blocks, a.poll_s) == (7, 3, 9.0)
    assert (b.max_blocks, b.batch_blocks, b.poll_s, b.http) == (7, 10, 9.0, ("http://b",))


def test_lists_may_come_from_the_environment(tmp_path: Path) -> None:
    found = settings(tmp_path, CHAINS__A__BACKFILL='["0..5"]')
    assert found.chains["a"].backfill == (BlockSpan(first=0, last=5),)


def test_every_fault_is_told_in_one_line(tmp_path: Path) -> None:
    text = '[api]\nport = 70000\n[log]\nlevel = "loud"\n[chains.a]\nbackfill = ["9..1"]\nhtpp = "x"\n'
    told = fault(tmp_path, text, NONSENSE="1", DATABASE__URL="mysql://x", DATABSE__URL="x")
    for part in ("api.port", "log.level", "ends before it starts", "htpp", "CHAINWORKD_NONSENSE: no such setting",
                 "database.url", "CHAINWORKD_DATABSE__URL: no such setting"):  # fmt: skip
        assert part in told


def test_an_unknown_variable_alone_is_refused(tmp_path: Path) -> None:
    assert "CHAINWORKD_APPI__PORT" in fault(tmp_path, APPI__PORT="1")
    assert "pport" in fault(tmp_path, API__PPORT="1")


def test_contradictions_are_refused(tmp_path: Path) -> None:
    text = 'default_chain = "c"\n[chains.a]\nchain_id = 1\n[chains.b]\nchain_id = 1\n'
    told = fault(tmp_path, text, API__PORT="9464")
    assert "'c'" in told
    assert "chain id 1 is configured twice" in told
    assert "9464 is used twice" in told


@pytest.mark.parametrize("url", ["node.example/v3/secretkey1", "secretkey1", "user:secretkey1@node", "htp://h/secretkey1",
                                 "https://:0/secretkey1", "https://[secretkey1"])  # fmt: skip
def test_a_wrong_url_is_not_shown(tmp_path: Path, url: str) -> None:
    assert "secretkey1" not in fault(tmp_path, RPC_URL=url)


def test_missing_files_and_profiles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"absent\.toml"):
        load(config=tmp_path / "absent.toml", environ={})
    with pytest.raises(BadConfig, match="absent"):
        load(environ={"CHAINWORKD_CONFIG": str(tmp_path / "absent.toml")})
    with pytest.raises(BadConfig, match=r"does not exist; there are .*mainnet"):
        load(profile="nowhere", environ={})


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    assert "own.toml" in fault(tmp_path, "[api\n")


@pytest.mark.parametrize("text", ["1..0", "..5", "a..b", "5", "-1..3", "1...3"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"range|expected"):
        BlockSpan.model_validate(text)


def test_settings_cannot_change(tmp_path: Path) -> None:
    found = settings(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        setattr(found.api, "port", 1)  # noqa: B010


def test_deposits_are_not_pruned() -> None:
    vault = '["0x' + "11" * 20 + '"]'
    env = {"CHAINWORKD_RPC_URL": "http://n", "CHAINWORKD_CHAINS__NODE__VAULTS": vault}
    assert load(environ=env).chains["node"].vaults
    with pytest.raises(BadConfig, match=r"chains\.node: retain_blocks and vaults exclude each other"):
        load(environ=env | {"CHAINWORKD_CHAINS__NODE__RETAIN_BLOCKS": "1000"})


SECOND = "https://second.example/v2/secretkey2"


def test_a_chain_may_have_several_nodes_in_every_form(tmp_path: Path) -> None:
    expected = (NODE, SECOND, "http://third.example")
    text = f'[chains.node]\nhttp = "{NODE}"\nfallback_http = ["{SECOND}", "http://third.example"]\n'
    assert settings(tmp_path, text).chains["node"].endpoints == expected
    assert settings(tmp_path, RPC_URL=", ".join(expected)).chains["node"].endpoints == expected
    listed = f"{SECOND},http://third.example"
    assert settings(tmp_path, RPC_URL=NODE, CHAINS__NODE__FALLBACK_HTTP=listed).chains["node"].endpoints == expected
    json = f'["{SECOND}","http://third.example"]'
    assert settings(tmp_path, RPC_URL=NODE, CHAINS__NODE__FALLBACK_HTTP=json).chains["node"].endpoints == expected


def test_further_nodes_may_be_credentials(tmp_path: Path) -> None:
    (tmp_path / "chainworkd_rpc_url").write_text(NODE)
    (tmp_path / "chainworkd_chains__node__fallback_http").write_text(f"{SECOND}\n")
    found = load(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found.chains["node"].endpoints == (NODE, SECOND)


def test_a_comma_within_a_url_does_not_split_it(tmp_path: Path) -> None:
    found = settings(tmp_path, RPC_URL="https://node.example/a,b")
    assert found.chains["node"].endpoints == ("https://node.example/a,b",)


def test_a_node_that_is_named_twice_is_asked_once(tmp_path: Path) -> None:
    assert settings(tmp_path, RPC_URL=f"{NODE},{NODE}").chains["node"].endpoints == (NODE,)


@pytest.mark.parametrize("wrong", ["secretkey2", f"{SECOND},ftp://secretkey3.example", '["secretkey2"', "[7]"])
def test_a_wrong_fallback_is_named_without_its_keys(tmp_path: Path, wrong: str) -> None:
    found = fault(tmp_path, RPC_URL=NODE, CHAINS__NODE__FALLBACK_HTTP=wrong)
    assert "chains.node.fallback_http" in found
    assert "secretkey" not in found


def test_prices_need_what_they_are_reckoned_through(tmp_path: Path) -> None:
    one, other = "0x" + "11" * 20, "0x" + "22" * 20
    without = f'[chains.a.prices]\nfactory = "{one}"\n'
    assert "chains.a.prices: factory needs wrapper" in fault(tmp_path, without)
    assert "chains.a.prices: factory needs" in fault(tmp_path, without + f'wrapper = "{other}"\n')
    assert "different addresses" in fault(tmp_path, without + f'wrapper = "{other}"\nstables = ["{other}"]\n')
    assert "prices.fees" in fault(tmp_path, without + f'wrapper = "{other}"\nstables = ["{one}"]\nfees = []\n')


@pytest.mark.parametrize("profile", ["mainnet", "arbitrum"])
def test_the_venues_of_profiles_are_the_known_contracts(tmp_path: Path, profile: str) -> None:
    chain = settings(tmp_path, profile=profile).chains[profile]
    known = deployments(chain.chain_id)
    prices = chain.prices
    assert bytes.fromhex(prices.factory[2:]) == known["uniswap_v3_factory"]
    assert bytes.fromhex(prices.wrapper[2:]) == known["weth"]
    assert len(prices.stables) == 3
    assert all(checksum(bytes.fromhex(address[2:])) == address for address in prices.stables)
