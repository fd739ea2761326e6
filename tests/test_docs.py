"""The documents agree with the code: commands parse, tables are the schemas', files exist, lines are short."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import tyro

from export.graphs import latent_image, step_text
from export.graphs.text_schema import params_of
from export.parameter_tables import TableError, main, renewed, tables
from handlers.params import ParamSpec, check_all
from handlers.proxy.control import PUBLIC
from handlers.refusals import STATUSES
from tests.conftest import ROOT
from tests.support.documents import DOCUMENTS, bodies, commands, table, targets, text_of
from tests.test_layering import ROOMS

API = ROOT / "docs/api.md"
SCRIPTS = [ROOT / "Makefile", ROOT / "demo.sh", *sorted((ROOT / "requirements").iterdir())]
MAX_WIDTH = 120
# What there might be, and what there must not be.
EXAMPLES = ("training/vae.py", "training/models/vae.py", "tests/training/test_vae.py", "utils.py")
PACKAGES = {"training", "export", "export.parameter_tables", "serving", "gateway", "benchmarks"}
# The models that the documents speak of, and what requests to them may hold.
SCHEMAS: dict[str, Sequence[ParamSpec]] = {
    "faces": latent_image.PARAMS,
    "dcgan": latent_image.PARAMS,
    "poems": step_text.PARAMS,
    "news": params_of(False, 64),
    "chat": params_of(True, 64),
}


class Parsed(BaseException):
    """A command's parser took its arguments; nothing of the command has run."""


@pytest.fixture
def only_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands end with `Parsed` where their own parser, argparse's or tyro's, is done."""
    parse_args, cli = argparse.ArgumentParser.parse_args, tyro.cli

    def parsed_args(self: argparse.ArgumentParser, *args: Any, **options: Any) -> NoReturn:
        parse_args(self, *args, **options)
        raise Parsed

    def parsed_cli(*args: Any, **options: Any) -> NoReturn:
        cli(*args, **options)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed_args)
    monkeypatch.setattr(tyro, "cli", parsed_cli)


def shown(find: Any) -> list[Any]:
    """(document, what `find` finds in it) for every document and the demo."""
    return [
        pytest.param(found, id=f"{path.stem}: {' '.join(found)}")
        for path in [*DOCUMENTS, ROOT / "demo.sh"]
        for found in find(text_of(path))
    ]


@pytest.mark.usefixtures("only_parse")
@pytest.mark.parametrize("command", shown(commands))
def test_commands_are_taken_by_their_parsers(command: list[str]) -> None:
    package, *arguments = command
    arguments = [re.sub(r"[\[\]]", "", argument) for argument in arguments]
    assert package in PACKAGES, f"python -m {package} is no command"
    module = importlib.import_module(package if "." in package else f"{package}.__main__")
    with pytest.raises(Parsed):
        module.main(arguments)


def test_commands_of_every_package_are_shown() -> None:
    assert {command[0] for path in DOCUMENTS for command in commands(text_of(path))} == PACKAGES


@pytest.mark.usefixtures("only_parse")
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("training dcgan --name faces --prseet demo", "--prseet"),
        ("training dcgan --name faces --image-size wide", "--image-size"),
        ("serving up --dve", "unrecognized arguments: --dve"),
        ("export build --quick", "the following arguments are required: name"),
        ("benchmarks export --json 1", "unrecognized arguments: 1"),
    ],
)
def test_a_command_that_is_none_would_be_found(command: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    package, *arguments = command.split()
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module(f"{package}.__main__").main(arguments)
    assert told in "".join(capsys.readouterr())


@pytest.mark.parametrize("words", shown(targets))
def test_make_knows_what_is_made(words: list[str]) -> None:
    result = subprocess.run(
        ["make", "--dry-run", "--always-make", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_requests_fit_the_schemas() -> None:
    found = [(name, body) for path in DOCUMENTS for name, body in bodies(text_of(path))]
    assert len(found) > 3
    for name, body in found:
        assert check_all(json.loads(body), SCHEMAS[name])


def test_parameter_tables_are_the_schemas() -> None:
    assert renewed(API.read_text()) == API.read_text(), "run: python -m export.parameter_tables --write docs/api.md"


def test_parameter_tables_say_type_bounds_default_and_meaning() -> None:
    made = tables()
    assert made.keys() == {"latent_audio", "latent_image", "step_audio", "step_text", "seq2seq", "windowed_audio"}
    assert "| `n` | integer | 1 to 16 | 1 | number of images; image i uses seed + i |\n" in made["latent_image"]
    assert "| `format` | string | png, jpeg, webp | png | file format of the images |\n" in made["latent_image"]
    assert (
        '| `text` | string | max_audio_seconds | none | digits that are said one after the other: "4 2 0 7"'
        in made["latent_audio"]
    )
    assert "| `prompt` | string | 1024 bytes | empty | how the text begins" in made["step_text"]
    assert "| `beams` | integer | 1 to 8 | 1 | " in made["seq2seq"]
    assert "| `stop` | strings | 4 of 64 characters | none | " in made["seq2seq"]
    assert "| `max_tokens` | integer | 1 to the model's most | the model's most | " in made["seq2seq"]
    for spec in (*params_of(False, 64), *params_of(True, 64)):
        assert f"| `{spec.name}` | {spec.type} | " in made["seq2seq"]


def test_tables_are_renewed_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "api.md"
    file.write_text(API.read_text().replace("| `n` | integer | 1 to 16 | 1 |", "| `n` | integer | 1 to 4 | 2 |"))
    assert main(["--write", str(file)]) == 0
    assert file.read_text() == API.read_text()
    file.write_text("no marker\n")
    assert main(["--write", str(file)]) == 1
    assert (
        "marks the tables none, wanted each of latent_audio, latent_image, step_audio, windowed_audio, step_text, "
        "seq2seq once" in capsys.readouterr().err
    )
    assert file.read_text() == "no marker\n"
    assert main([]) == 0
    assert tables()["step_text"] in capsys.readouterr().out
    twice = API.read_text() + "<!-- parameters: step_text -->\n<!-- end -->\n"
    with pytest.raises(TableError, match="seq2seq, step_text, wanted each of"):
        renewed(twice)


def test_errors_are_those_of_the_table_of_refusals() -> None:
    rows = [row for row in table(API.read_text(), "## Errors") if row[0]]
    told = {int(status): (kind, reason) for status, kind, reason, _ in rows}
    assert told == {status: (known.type, known.reason) for status, known in STATUSES.items()}
    assert all(when for *_, when in table(API.read_text(), "## Errors"))


def test_reasons_of_rejections_are_explained() -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    told = set(re.findall(r"^\| `([a-z_]+)` \| [^|]+ \|$", text, re.MULTILINE))
    assert told == {status.reason for status in STATUSES.values()} | {"warm_up"}


def test_public_control_words_are_explained() -> None:
    told = re.findall(r"^\| `X-Atelier: (\w+)`", API.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(PUBLIC.split(", "))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(path: Path) -> None:
    """A name in backquotes is a path from the root, or the end of one; capitals (KIND, NAME) stand for any."""
    packages = ("benchmarks", "export", "gateway", "handlers", "serving", "tests", "training")
    there = [f"/{file.relative_to(ROOT)}" for package in packages for file in (ROOT / package).rglob("*.py")]
    named = set(re.findall(r"`([\w/.-]+\.py)`", path.read_text()))
    names = {name for name in named if not re.search(r"[A-Z]{4,}", name) and name not in EXAMPLES}
    missing = {name for name in names if not any(file.endswith(f"/{name}") for file in there)}
    assert not missing, f"{path.name} names {', '.join(sorted(missing))}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / link).exists(), f"{path.name} links to {link}"


def test_every_document_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{path.name})" in readme, f"the README does not lead to {path.name}"


@pytest.mark.parametrize("path", [*DOCUMENTS, *SCRIPTS], ids=lambda path: path.name)
def test_lines_are_short(path: Path) -> None:
    long = [number for number, line in enumerate(path.read_text().splitlines(), 1) if len(line) > MAX_WIDTH]
    assert not long, f"{path.name} has lines over {MAX_WIDTH} characters: {long}"


def test_rooms_may_import_what_the_architecture_says() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    for room, (others, _) in ROOMS.items():
        (told,) = re.findall(rf"^\| `{room}/` \| ([^|]*) \|", text, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", told)) == others, room


def test_the_structure_page_stays_a_page() -> None:
    assert len((ROOT / "docs/structure.md").read_text().splitlines()) <= 60
