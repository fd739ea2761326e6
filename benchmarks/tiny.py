"""Tiny models, trained in seconds: what breaks or holds in a server does not depend on their size."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from export.build import build
from export.options import Options
from handlers.bundle import Bundle
from training.__main__ import main as train

RECIPES = {"image": "dcgan", "text": "charlm"}


def tiny_model(
    folder: Path, recipe: str, name: str, runtimes: tuple[str, ...] = ("onnxruntime",), options: Sequence[str] = ()
) -> Bundle:
    """The tiny preset of a recipe (with `options` of its command), trained and built below `folder`: FP32 alone."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        if train([recipe, "--name", name, "--preset", "tiny", *options]) != 0:
            raise RuntimeError(f"training {name} failed; see above")
        bundle = build(name, Options(variants=("fp32",), runtimes=runtimes, quick=True), say=lambda _: None)
    finally:
        os.chdir(before)
    return dataclasses.replace(bundle, directory=folder.resolve() / bundle.directory)


def tiny_models(folder: Path) -> dict[str, Bundle]:
    """`image` and `text`."""
    return {name: tiny_model(folder, recipe, name) for name, recipe in RECIPES.items()}
