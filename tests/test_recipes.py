"""Every row of the registry goes all the way: tiny train -> export -> certificate -> archive -> serve -> decode."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import typing
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.archive import archive
from export.build import build
from export.options import Options
from export.report import report
from handlers import bundle as bundles
from handlers.engine.choice import open_model
from handlers.generator import Request
from handlers.media import sound_picture
from tests.support.frontend import front_end
from training import recipes
from training.__main__ import main as train
from training.config import RecipeConfig
from training.models.cells import CELLS
from training.recipes import RECIPES, RecipeError, RecipeModule, find, replace_nested
from training.run import Schedule


def test_the_registry_is_not_empty() -> None:
    assert len(RECIPES) >= 5
    assert all(row.name == name and row.about for name, row in RECIPES.items())


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_module_keeps_the_contract(name: str) -> None:
    """mypy checks the types (see `training/recipes.py`); here it is looked at as it is when it runs."""
    module = find(name).load()
    for function in ("train", "load_generator"):
        wanted = list(inspect.signature(getattr(RecipeModule, function)).parameters)[1:]  # without self
        assert list(inspect.signature(getattr(module, function)).parameters) == wanted
    assert all(isinstance(config, RecipeConfig) for config in module.PRESETS.values())
    assert all(isinstance(schedule, Schedule) for schedule in module.SCHEDULES.values())
    hints = typing.get_type_hints(module.train)
    assert type(find(name).config("tiny")) is hints["config"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_row_goes_all_the_way(workspace: Path, name: str) -> None:
    assert train([name, "--name", f"my-{name}", "--preset", "tiny"]) == 0
    build(
        f"my-{name}",
        Options(variants=("fp32", "int8_static"), runtimes=("onnxruntime",), quick=True),
        say=lambda _: None,
    )
    path = archive(f"my-{name}")
    with zipfile.ZipFile(path) as file:
        file.extractall("unpacked")
    bundle = bundles.read(Path("unpacked/bundle"))
    assert bundle.manifest.recipe == name
    assert bundle.certificate.devices
    with front_end(bundle) as front:
        reply = front.ask(bundle.manifest.example)
    assert reply.status == 200, reply.body
    assert reply.content_type in bundle.manifest.content_types
    decode(reply.body, reply.content_type, bundle.manifest.kind)


def decode(body: bytes, content_type: str, kind: str) -> None:
    """Open an answer as its caller would."""
    if content_type.startswith("image/"):
        picture = Image.open(io.BytesIO(body))
        picture.load()
        assert picture.width >= 16
        return
    if content_type.startswith("audio/"):
        wave, rate = sound_picture.read(body, content_type)
        assert len(wave) > 0.01 * rate
        assert np.isfinite(wave).all()
        return
    assert content_type == "application/json", f"no decoder for {content_type}: add one here"
    document = json.loads(body)
    (choice,) = document["choices"]
    assert choice["finish_reason"] in ("stop", "length")
    if document["object"] == "chat.completion":
        assert (kind, choice["message"]["role"]) == ("seq2seq", "assistant")
        text = choice["message"]["content"]
    else:
        assert (kind in ("step_text", "seq2seq"), document["object"]) == (True, "text_completion")
        text = choice["text"]
    tokens = document["usage"]["completion_tokens"]
    if kind == "step_text":
        assert 0 < len(text) <= tokens
    else:  # untrained, the likeliest token may be the end
        assert tokens <= 16
        assert bool(text) is (tokens > 0)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_of_charlm_goes_all_the_way(workspace: Path, cell: str) -> None:
    assert train(["charlm", "--name", cell, "--preset", "tiny", "--cell", cell]) == 0
    variants = ("fp32", "int8_rowwise", "int8_dynamic")
    bundle = build(cell, Options(variants=variants, runtimes=("onnxruntime",), quick=True), say=lambda _: None)
    (device,) = bundle.certificate.devices.values()
    candidates = device.candidates
    assert candidates.keys() == {f"{variant}-onnxruntime" for variant in variants}
    assert all(entry.verdict != "failed" for entry in candidates.values())
    rowwise = candidates["int8_rowwise-onnxruntime"]
    assert rowwise.batch_invariant is True or "clearly not 1.15 times as fast" in rowwise.reason
    assert not bundle.certificate.variants.keys() - set(variants)
    text = report(bundle).with_suffix(".md").read_text()
    kernel = {"lstm": "an INT8 LSTM kernel, not used here"}.get(cell, f"no INT8 {cell.upper()} kernel")
    assert f"ONNX Runtime has {kernel}: the matrix products of the written-out cell" in text
    assert f"ONNX Runtime has {kernel}: the matrix products" in report(bundle).read_text()
    generator = open_model(bundle).generator
    (slot,) = generator.start([generator.parse(Request(bundle.manifest.example))])
    while slot.finished is None:
        generator.step([slot])
    decode(generator.drain(slot), slot.params.content_type, bundle.manifest.kind)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_row_has_every_preset(name: str) -> None:
    row = find(name)
    module = row.load()
    assert set(module.PRESETS) == set(module.SCHEDULES) >= set(recipes.PRESET_NAMES)
    assert set(row.changes) <= set(module.PRESETS)
    for preset in module.PRESETS:
        config: Any = row.config(preset)
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.seed = 1


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=f"^unknown recipe 'gan'; known recipes: {', '.join(sorted(RECIPES))}$"):
        find("gan")
    with pytest.raises(RecipeError, match="recipe dcgan has no preset 'big'; choose one of tiny, demo, paper"):
        find("dcgan").config("big")


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int = 1


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    word: str = "a"


@pytest.mark.parametrize(
    ("changes", "result"),
    [({}, Outer()), ({"word": "b"}, Outer(word="b")), ({"size": 2, "word": "b"}, Outer(Inner(2), "b"))],
)
def test_changes_reach_nested_fields(changes: dict[str, Any], result: Outer) -> None:
    assert replace_nested(Outer(), changes) == result
    with pytest.raises(KeyError, match="Outer has no field colour; it has inner, word"):
        replace_nested(Outer(), {"colour": 1})
