"""The one registry of recipes: a row per recipe, whose module is imported only when the recipe is used.

A model of a known kind costs one row here when it reuses a recipe (see `hdgan`), or a model, a recipe, the function
that imports it and a row. `kind` names the files on both sides of the export: `export/graphs/KIND.py` and
`handlers/generators/KIND.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

    from training.checkpoint import Checkpoint, Meta
    from training.run import Run, Schedule

PRESET_NAMES = ("tiny", "demo", "paper")  # of every recipe; a recipe may have more


class RecipeError(LookupError):
    """There is no recipe, or no preset, of this name; the message lists those that there are."""


class RecipeModule(Protocol):
    """The contract of a recipe module, which mypy checks where the module is imported below."""

    @property
    def PRESETS(self) -> Mapping[str, Any]:  # noqa: N802
        """Configs by the name of their preset: frozen dataclasses, each a `training.config.RecipeConfig`."""

    @property
    def SCHEDULES(self) -> Mapping[str, Schedule]:  # noqa: N802
        """For each preset, how long its run is."""

    def train(self, run: Run, config: Any) -> Meta:
        """Train to the end of the run's schedule, from its last checkpoint if it has one; raises like `loop.train`."""

    def load_generator(self, source: Path | Checkpoint) -> tuple[Meta, nn.Module]:
        """The served network of a checkpoint, in evaluation mode. Raises `CheckpointError`."""


def _dcgan() -> RecipeModule:
    from training import dcgan

    return dcgan


def _charlm() -> RecipeModule:
    from training import charlm

    return charlm


def _wavegan() -> RecipeModule:
    from training import wavegan

    return wavegan


def _seq2seq() -> RecipeModule:
    from training import seq2seq

    return seq2seq


def _wavenet() -> RecipeModule:
    from training import wavenet

    return wavenet


def _music() -> RecipeModule:
    from training import music

    return music


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way of training."""

    name: str
    load: Callable[[], RecipeModule]
    """imports the recipe module, which takes seconds the first time, and returns it"""
    kind: str
    about: str
    example: str
    """the options of a command that trains on files of one's own"""
    changes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """preset -> the config fields in which it differs from the module's preset"""

    def config(self, preset: str) -> Any:
        """The frozen config of one preset. Raises `RecipeError` naming the presets when there is no such one."""
        presets = self.load().PRESETS
        if preset not in presets:
            raise RecipeError(f"recipe {self.name} has no preset {preset!r}; choose one of {', '.join(presets)}")
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
            load=_dcgan,
            kind="latent_image",
            about="unconditional images from noise, widths that halve at every stage (Radford 2015)",
            example="--name faces --preset demo --data photos.zip --image-size 64",
        ),
        Recipe(
            "hdgan",
            load=_dcgan,
            kind="latent_image",
            about="the same network with one width in every stage: the reference of the speed goals",
            example="--name faces --preset demo --data photos/ --max-minutes 30",
            changes={
                "tiny": {"widths": "constant", "channels": 32},
                "demo": {"widths": "constant", "channels": 96, "batch_size": 64, "learning_rate": 2e-4},
                "paper": {"widths": "constant", "channels": 512, "image_size": 64},
            },
        ),
        Recipe(
            "charlm",
            load=_charlm,
            kind="step_text",
            about="text byte by byte with an RNN, LSTM or GRU (Graves 2013), on a written world of short English texts",
            example="--name poems --preset demo --data poems/ --encoding cp1252",
        ),
        Recipe(
            "wavegan",
            load=_wavegan,
            kind="latent_audio",
            about="clips of sound by class: WaveGAN (Donahue 2019), on a spoken world of digits",
            example="--name drums --preset demo --data drums.zip --samples 16384 --rate 16000",
        ),
        Recipe(
            "summarizer",
            load=_seq2seq,
            kind="seq2seq",
            about="a document into a line: LSTM with attention (Luong 2015) behind an LSTM or a BERT (preset bert)",
            example="--name news --preset demo --data news.csv --source-field document --target-field summary",
        ),
        Recipe(
            "dialogue",
            load=_seq2seq,
            kind="seq2seq",
            about="the reply to a conversation of several turns, with the same network",
            example="--name chat --preset demo --data chats.jsonl",
            changes={
                preset: {"task": "dialogue", "data": "smalltalk", "source_field": "prompt", "target_field": "reply"}
                for preset in (*PRESET_NAMES, "bert")
            },
        ),
        Recipe(
            "wavenet",
            load=_wavenet,
            kind="step_audio",
            about="sounds sample by sample, of a class or from a log-mel spectrogram (van den Oord 2016)",
            example="--name digits --preset demo --data recordings.zip --label-pattern '(\\d)_.*'",
        ),
        Recipe(
            "music",
            load=_music,
            kind="windowed_audio",
            about="pieces of any length in a key and a tempo: an autoencoder of sound, then a GAN over its latents",
            example="--name chorales --preset demo --data chorales.zip",
        ),
    )
}


def find(name: str) -> Recipe:
    """The row called `name`. Raises `RecipeError` that lists the known recipes."""
    if name not in RECIPES:
        raise RecipeError(f"unknown recipe {name!r}; known recipes: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
