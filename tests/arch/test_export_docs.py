"""docs/export.md names the columns that exports have, in their order, with their kinds."""

import re

import pytest

from core.store.export import TABLES
from tests.arch.house import ROOT

PAGE = (ROOT / "docs/export.md").read_text()


@pytest.mark.parametrize("name", TABLES)
def test_every_exported_column_is_documented(name: str) -> None:
    section = re.split(r"^## ", PAGE.split(f"\n## {name}\n")[1], maxsplit=1, flags=re.M)[0]
    shown = re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.M)
    assert shown == list(TABLES[name].columns.items())
