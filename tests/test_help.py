"""`--help` of every command shows an example, and the example is one that the command takes."""

from __future__ import annotations

import importlib
import re

import pytest

from benchmarks.__main__ import NAMES
from tests.test_docs import PACKAGES, Parsed, only_parse  # noqa: F401 (a fixture)
from training.recipes import RECIPES

EXAMPLE = re.compile(r"^ *examples?:\s+(python -m [\w.]+.*?) *$", re.MULTILINE)


def helped(package: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints for --help."""
    name = package if package == "export.parameter_tables" else f"{package}.__main__"
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(name).main([*arguments, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def subcommands(package: str, shown: str) -> list[str]:
    """The names of a package's commands, from its own help."""
    if package == "training":
        return list(RECIPES)
    found = re.search(r"\{([\w,]+)\}", shown)
    return found[1].split(",") if found else []


@pytest.mark.usefixtures("only_parse")
@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_help_shows_an_example_that_parses(
    package: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    names = subcommands(package, helped(package, [], capsys))
    least = {"export.parameter_tables": 0, "benchmarks": len(NAMES), "training": 5, "gateway": 2}
    assert len(names) >= least.get(package, 4)
    for given in ([], *([name] for name in names)):
        shown = helped(package, given, capsys)
        found = EXAMPLE.search(shown)
        assert found, f"python -m {package} {' '.join(given)} --help shows no example:\n{shown}"
        words = found[1].split()
        assert words[2] == package
        assert words[3 : 3 + len(given)] == given, "an example of another command"
        name = package if package == "export.parameter_tables" else f"{package}.__main__"
        with pytest.raises(Parsed):
            importlib.import_module(name).main(words[3:])
