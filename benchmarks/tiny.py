"""Tiny models, trained in seconds: what breaks or holds in a server does not depend on their size."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from export.build import Options, build
from handlers.bundle import Bundle
from training.__main__ import main as train

RECIPES = {"image": "dcgan", "text": "charlm"}


def tiny_models(folder: Path) -> dict[str, Bundle]:
    """`image` and `text`: bundles below `folder`, FP32 in ONNX Runtime alone."""
    bundles = {}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for name, recipe in RECIPES.items():
            if train([recipe, "--name", name, "--preset", "tiny"]) != 0:
                raise RuntimeError(f"training {name} failed; see above")
            options = Options(variants=("fp32",), runtimes=("onnxruntime",), quick=True)
            bundle = build(name, options, say=lambda _: None)
            bundles[name] = dataclasses.replace(bundle, directory=folder.resolve() / bundle.directory)
    finally:
        os.chdir(before)
    return bundles
