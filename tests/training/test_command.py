"""The command line of training: examples in its help that parse, several `--data`, encodings by their name."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from training import recipes
from training.__main__ import _joined, _parse, main
from training.data import Fields
from training.data.pairs import open_pairs

NAME = ["--name", "m", "--preset", "tiny"]


def test_the_help_shows_an_example_of_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    told = capsys.readouterr().out
    for recipe in recipes.RECIPES.values():
        assert f"python -m training {recipe.name} {recipe.example}" in told


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_an_example_is_shown_with_the_recipe_and_parses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipes.find(name)
    run, config = _parse(recipe, shlex.split(recipe.example))
    assert config.data in recipe.example
    assert run.recipe == name
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"example: python -m training {name} {recipe.example}" in told


def test_several_data_are_one_set(workspace: Path) -> None:
    assert _joined(["--data", "a.csv", "--name", "m", "--data=b,c.csv"]) == ["--name", "m", "--data", "a.csv,b,c.csv"]
    assert _joined(["--name", "m"]) == ["--name", "m"]
    for name, numbers in (("a", range(4)), ("b, c", range(4, 8))):
        lines = [json.dumps({"prompt": f"question {n}", "reply": f"answer {n}"}) for n in numbers]
        Path(f"{name}.jsonl").write_text("\n".join(lines))
    arguments = [*NAME, "--data", "a.jsonl", "--data", "b, c.jsonl"]
    _, config = _parse(recipes.find("dialogue"), arguments)
    data = open_pairs(config.data, 0, Fields(config.source_field, config.target_field))
    assert (len(data.pairs) + len(data.held_out), data.source) == (8, "a.jsonl, b, c.jsonl")


@pytest.mark.parametrize("recipe", ["charlm", "dialogue"])
@pytest.mark.parametrize("encoding", ["cp1253x", "base64"])
def test_an_encoding_of_no_texts_is_refused(
    workspace: Path, capsys: pytest.CaptureFixture[str], recipe: str, encoding: str
) -> None:
    try:
        code = main([recipe, *NAME, "--data", "x", "--encoding", encoding])
    except SystemExit as stop:  # tyro's own way of refusing
        code = int(str(stop.code))
    assert code == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"--encoding is '{encoding}', wanted the name of an encoding: cp1252, utf-16" in said


@pytest.mark.slow
def test_an_encoding_is_part_of_the_config_and_old_checkpoints_go_on(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my.txt").write_bytes("\n".join(f"caf\u00e9 number {number}" for number in range(30)).encode("cp1252"))
    command = ["charlm", *NAME, "--data", "my.txt"]
    assert main([*command, "--encoding", "cp1252"]) == 0
    assert main([*command]) == 1
    assert "encoding was 'cp1252', now None" in capsys.readouterr().err
    Path("my.txt").write_text("\n".join(f"number {number}" for number in range(30)))
    assert main([*command, "--restart"]) == 0
    file = Path("artifacts/checkpoints/m/checkpoint.json")
    raw = json.loads(file.read_text())
    del raw["config"]["encoding"]
    file.write_text(json.dumps(raw))
    assert main([*command, "--steps", "7"]) == 0
    assert "step 6 of 7 (resumed)" in capsys.readouterr().out
