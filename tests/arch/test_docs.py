"""What is written beside the code says what the code says."""

import argparse
import json
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import pytest
from prometheus_client import Counter, Gauge, Histogram
from pydantic import BaseModel

from core.metrics import Metrics
from core.settings import SHORTCUTS, ChainDefaults, Settings
from daemon.cli import parser
from tests.arch.house import ROOT, files

DOCS = ROOT / "docs"
ADRS = sorted((DOCS / "adr").glob("*.md"))
METRIC = re.compile(r"\bchainworkd_[a-z_]+\b(\{[^}]*\})?")


def exported() -> dict[str, tuple[str, ...]]:
    """Metric -> its labels, under the name that Prometheus shows in its list."""
    found = {}
    for metric in Metrics().registry._collector_to_names:
        if isinstance(metric, Counter | Gauge | Histogram):
            suffix = "_total" if isinstance(metric, Counter) else ""
            found[metric._name + suffix] = tuple(metric._labelnames)
    return found


def series() -> set[str]:
    """Every name a query may use: those of a histogram's parts too."""
    names = set()
    for metric in Metrics().registry._collector_to_names:
        if isinstance(metric, Histogram):
            names |= {metric._name + part for part in ("_bucket", "_sum", "_count")}
    return names | set(exported())


def rows(file: str) -> dict[str, list[str]]:
    """The tables of a page: first cell without its back-ticks -> the other cells."""
    cells = (
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in (DOCS / file).read_text().splitlines()
        if line.startswith("| `")
    )
    return {name.strip("`| "): [cell.strip(" |") for cell in rest] for name, *rest in cells}


def test_every_metric_is_documented_with_its_labels_and_nothing_else_is() -> None:
    documented = {
        name: tuple(filter(None, cells[1].split(", ")))
        for name, cells in rows("metrics.md").items()
        if name.startswith("chainworkd")
    }
    assert len(documented) > 10
    assert documented == exported()


def expressions() -> Iterator[tuple[str, str]]:
    """Every query of the alert rules and of the dashboard, with where it is."""
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    for rule in re.split(r"^ +- alert: ", text, flags=re.M)[1:]:
        match = re.search(r"^ +expr: (.*?)\n +(?:for|labels):", rule, re.M | re.S)
        assert match is not None, rule
        yield rule.split()[0], match[1]
    board = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    yield from ((v["name"], v["query"]) for v in board["templating"]["list"] if v["type"] == "query")


@pytest.mark.parametrize(("where", "query"), list(expressions()))
def test_alerts_and_dashboard_ask_for_what_is_exported(where: str, query: str) -> None:
    names = {match[0].split("{")[0] for match in METRIC.finditer(query)}
    assert names <= series(), where
    assert names or "up{" in query
    labels = exported()
    for match in METRIC.finditer(query):
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", match[1] or ""))
        base = re.sub(r"_(?:bucket|sum|count)$", "", match[0].split("{")[0])
        assert asked <= {*labels[base], "le"}, where


def test_the_alerts_cover_what_can_go_wrong() -> None:
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    names = re.findall(r"- alert: (\w+)", text)
    assert len(names) == len(set(names))
    wanted = {"Down", "Silent", "Behind", "NoCommits", "DeepReorg", "FinalityBroken", "Restarts"}
    assert {f"Chainworkd{name}" for name in wanted} <= set(names)
    runbook = (DOCS / "runbook.md").read_text()
    assert all(f"Chainworkd{name}" in runbook for name in wanted - {"Down"})


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = _bare(field.annotation)
        if get_origin(kind) is dict:
            yield from settings(get_args(kind)[1], f"{prefix}{name}.<name>.")
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind is not ChainDefaults:  # [defaults] has what a chain has; said once
                yield from settings(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return None if isinstance(annotation, types.UnionType) else annotation


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    documented = {name for name in rows("configuration.md") if not name.startswith("CHAINWORKD_")}
    assert documented == set(settings(Settings))
    assert set(settings(ChainDefaults, "chains.<name>.")) <= documented


def test_the_documented_defaults_are_the_defaults() -> None:
    wrong = {}
    for name, (shown, *_) in rows("configuration.md").items():
        if name.startswith("CHAINWORKD_"):
            continue
        model: Any = Settings
        for part in name.replace(".<name>", "").split("."):
            field = model.model_fields[part]
            kind = _bare(field.annotation)
            model = get_args(kind)[1] if get_origin(kind) is dict else kind
        found = field.default if not isinstance(field.default, tuple) else list(field.default)
        if shown.strip("`") not in (str(found), json.dumps(found)):
            wrong[name] = (shown, found)
    assert wrong == {}


def test_every_shortcut_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text()
    assert [name for name in SHORTCUTS if f"CHAINWORKD_{name}" not in text] == []


def test_every_command_and_option_is_documented() -> None:
    text = (DOCS / "cli.md").read_text()
    assert [word for word in _words(parser()) if word not in text] == []


def _words(grammar: argparse.ArgumentParser, path: str = "chainworkd") -> Iterator[str]:
    for action in grammar._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                if name != "child":
                    yield from _words(inner, f"{path} {name}")
        elif action.option_strings and action.dest != "help":
            yield action.option_strings[-1]
        elif action.choices:
            yield from (f"run {choice}" for choice in action.choices)
    if not any(isinstance(action, argparse._SubParsersAction) for action in grammar._actions):
        yield path


def test_the_changelog_has_a_place_for_what_comes() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0].strip("[]") == "Unreleased"


@pytest.mark.parametrize("file", ADRS, ids=[file.stem for file in ADRS])
def test_a_decision_names_its_reason_and_what_lost(file: Any) -> None:
    text = file.read_text()
    assert re.search(r"^(?:## )?Status\b", text, re.M)
    assert re.findall(r"^## (Context|Decision|Alternatives)", text, re.M) == ["Context", "Decision", "Alternatives"]


PAGES = [file for file in files() if file.suffix == ".md"]


@pytest.mark.parametrize("page", PAGES, ids=[str(page) for page in PAGES])
def test_links_between_pages_lead_somewhere(page: Any) -> None:
    text = (ROOT / page).read_text()
    targets = [t for t in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in t]
    assert [t for t in targets if not (ROOT / page.parent / t).exists()] == []
