"""The page of a benchmark opens by itself and shows what was measured."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.page import Section


def test_a_page_is_self_contained(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = {"cpu": "C", "cores": 2, "versions": {"numpy": "9.9"}}
    monkeypatch.setattr(page, "environment", lambda: machine)
    picture = page.curves(
        {"a <b>": [(1.0, 2.0), (2.0, 30.0)], "none": [], "silent": [(1.0, math.nan)]}, "x", "y", log=True
    )
    bars = page.bars({"atelier": 3.0, "other": 1.0}, "a second")
    sections = [
        Section("Curve", "a & b", picture),
        Section("Bars", "", bars),
        Section("Rows", "", rows=[("n", "v"), ("q", 1)]),
    ]
    path = page.write(
        "x",
        {
            "ratio": 1.5,
            "absent": None,
            "spreads": {},
        },
        sections,
    )
    text = path.read_text()
    assert path == Path("artifacts/reports/benchmarks/x.html")
    assert text.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "a &amp; b" in text
    assert "<td>ratio</td><td>1.5</td>" in text
    assert "<td>absent</td><td>not measured</td>" in text
    assert "cpu C" in text
    assert "<td>numpy</td><td>9.9</td>" in text
