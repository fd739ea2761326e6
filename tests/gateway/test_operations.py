"""docs/operations.md says of every bound what the code does."""

from __future__ import annotations

import importlib
import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs/operations.md").read_text()
ROW = re.compile(r"^\| .* \| ([\d,]+) \| [^|]+ \| `([\w/]+)\.py: (\w+)` \|$", re.M)
ROWS = [(where.replace("/", "."), name, int(number.replace(",", ""))) for number, where, name in ROW.findall(PAGE)]


@pytest.mark.parametrize(("module", "name", "number"), ROWS, ids=[f"{module}.{name}" for module, name, _ in ROWS])
def test_a_bound_is_what_the_page_says(module: str, name: str, number: int) -> None:
    assert getattr(importlib.import_module(module), name) == number


def test_every_row_of_the_table_is_compared() -> None:
    section = PAGE.partition("## What bounds what")[2]
    assert len(ROWS) == len([line for line in section.splitlines() if line.startswith("| ")]) - 1 > 20
