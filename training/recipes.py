"""The one registry of recipes: a row per recipe, module names as strings, imported only when a recipe is used.

A model of a known kind costs one row here when it reuses a recipe (see `hdgan`), or a model, a recipe and a row.
`kind` names the files on both sides of the export: `export/graphs/KIND.py` and `handlers/generators/KIND.py`.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

PRESET_NAMES = ("tiny", "demo", "paper")  # of every recipe; a recipe may have more


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way of training. `changes` maps a preset name to the config fields in which it differs from the module's preset."""

    name: str
    module: str
    kind: str
    about: str
    changes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def load(self) -> Any:
        """Import the recipe module: it offers `PRESETS`, `train(config, run)` and `load_generator(directory)`."""
        return importlib.import_module(self.module)

    def config(self, preset: str) -> Any:
        """The frozen config of one preset. Raises `KeyError` naming the presets when there is no such one."""
        presets = self.load().PRESETS
        if preset not in presets:
            raise KeyError(f"recipe {self.name} has no preset {preset!r}; choose one of {', '.join(presets)}")
        return replace_nested(presets[preset], self.changes.get(preset, {}))


def replace_nested(config: Any, changes: Mapping[str, Any]) -> Any:
    """`dataclasses.replace` that also reaches into nested configs: a key may name a field of a nested dataclass."""
    own = {f.name for f in dataclasses.fields(config)}
    direct = {key: value for key, value in changes.items() if key in own}
    rest = {key: value for key, value in changes.items() if key not in own}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            inner = {key: rest.pop(key) for key in list(rest) if key in {f.name for f in dataclasses.fields(value)}}
            if inner:
                direct[field.name] = dataclasses.replace(value, **inner)  # type: ignore[type-var]
    if rest:
        raise KeyError(f"{type(config).__name__} has no field {', '.join(rest)}; it has {', '.join(sorted(own))}")
    return dataclasses.replace(config, **direct)


RECIPES: dict[str, Recipe] = {
    row.name: row
    for row in (
        Recipe(
            "dcgan",
            module="training.dcgan",
            kind="latent_image",
            about="unconditional images from noise, widths that halve at every stage (Radford 2015)",
        ),
        Recipe(
            "hdgan",
            module="training.dcgan",
            kind="latent_image",
            about="the same network with one width in every stage: the reference of the speed goals",
            changes={
                "tiny": {"widths": "constant", "channels": 32},
                "demo": {"widths": "constant", "channels": 96},
                "paper": {"widths": "constant", "channels": 512, "image_size": 64},
            },
        ),
        Recipe(
            "charlm",
            module="training.charlm",
            kind="step_text",
            about="text byte by byte with an RNN, LSTM or GRU (Graves 2013), on a written world of short English texts",
        ),
        Recipe(
            "summarizer",
            module="training.seq2seq",
            kind="seq2seq",
            about="a document into a line: LSTM decoder with attention (Luong 2015); an LSTM encoder, or a BERT (preset bert)",
        ),
        Recipe(
            "dialogue",
            module="training.seq2seq",
            kind="seq2seq",
            about="the reply to a conversation of several turns, with the same network",
            changes={
                preset: {"task": "dialogue", "data": "smalltalk", "source_field": "prompt", "target_field": "reply"}
                for preset in (*PRESET_NAMES, "bert")
            },
        ),
    )
}


def find(name: str) -> Recipe:
    """The row called `name`. Raises `KeyError` that lists the known recipes."""
    if name not in RECIPES:
        raise KeyError(f"unknown recipe {name!r}; known recipes: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
