"""The command: options of a benchmark's own, one JSON line at the end."""

from __future__ import annotations

import argparse
import json
import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.__main__ import NAMES, main
from tests.conftest import ROOT


def test_a_benchmark_takes_its_own_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def run(quick: bool, model: str) -> dict[str, Any]:
        seen.append((quick, model))
        return {"ratio": 1.5, "none": math.nan, "spreads": {"ratio": [1.4, 1.6]}}

    def options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--model", default="a", choices=("a", "b"))

    monkeypatch.setitem(sys.modules, "benchmarks.serve", SimpleNamespace(run=run, options=options))
    assert main(["serve", "--quick", "--json", "--model", "b"]) == 0
    assert seen == [(True, "b")]
    last = capsys.readouterr().out.splitlines()[-1]
    found = json.loads(last)
    assert found.pop("environment")["cores"] > 0
    assert found == {"ratio": 1.5, "none": None, "spreads": {"ratio": [1.4, 1.6]}, "quick": True}
    assert "NaN" not in last


def test_without_options_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "benchmarks.export", SimpleNamespace(run=lambda quick: {"ratio": 1.5}))
    assert main(["export"]) == 0
    assert "quick  False" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["export", "--model", "b"])
    assert "unrecognized arguments: --model b" in capsys.readouterr().err


def test_an_interrupted_benchmark_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(quick: bool) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "benchmarks.faults", SimpleNamespace(run=run))
    assert main(["faults", "--json"]) == 130
    said = capsys.readouterr()
    assert "everything that was started is stopped" in said.err
    assert not said.out


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_an_example_that_is_one(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    example = " ".join(capsys.readouterr().out.split()).partition("example: python -m benchmarks ")[2].split()
    assert example[0] == name
    given: list[dict[str, Any]] = []

    def run(quick: bool, **own: Any) -> dict[str, Any]:
        given.append({"quick": quick, **own})
        return {}

    monkeypatch.setattr(f"benchmarks.{name}.run", run)
    assert main(example) == 0
    assert given[0]["quick"]


def test_make_bench_runs_them_all() -> None:
    (line,) = (line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("BENCHMARKS ?="))
    assert sorted(line.partition("?=")[2].split()) == sorted(NAMES)
