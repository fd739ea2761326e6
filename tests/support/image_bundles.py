"""Bundles and handlers of the generator that changes pictures (tests/support/image_to_image.py)."""

from __future__ import annotations

import base64
import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

from export.archive import archive
from handlers import bundle as bundles
from handlers.bundle import Bundle
from handlers.identity import HOME
from handlers.limits import PictureLimits
from handlers.params import MAX_SEED, ParamSpec
from tests.support import image_to_image
from tests.support.pictures import encoded, gradient

KIND = "image_to_image"
PARAMS = (
    ParamSpec("image", "image", "the picture to change"),
    ParamSpec("seed", "integer", "what is drawn into it; absent: drawn", minimum=0, maximum=MAX_SEED),
    ParamSpec("format", "string", "file format of the answer", default="png", choices=("png", "jpeg", "webp")),
)
EXAMPLE = {"image": {"b64_json": base64.b64encode(encoded(gradient(8, 8))).decode()}, "seed": 7}
ROW = f'\nKINDS["{KIND}"] = ("handlers.generators.{KIND}", "ImageToImage")\n'


def image_bundle(bundle: Bundle, folder: Path, name: str, **limits: int) -> Bundle:
    """A bundle of images as one that changes pictures, below `folder`."""
    old = bundle.manifest
    small = {**old.limits.document(), "max_pixels": 10_000, "max_upload_bytes": 1 << 20, **limits}
    manifest = dataclasses.replace(
        old, name=name, kind=KIND, params=PARAMS, limits=PictureLimits(**small), example=EXAMPLE
    )
    contents = {spec.path: bundle.read_file(key) for key, spec in old.files.items()}
    contents[old.certificate.path] = (bundle.directory / old.certificate.path).read_bytes()
    bundles.write(folder / bundles.directory(name), manifest, contents)
    return bundles.read(folder / bundles.directory(name))


def image_archive(bundle: Bundle, name: str, store: Path, home: Path) -> Path:
    """An archive of it, with the handlers of `home`."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        image_bundle(bundle, Path(folder), name)
        os.chdir(folder)
        try:
            return archive(name, store.resolve(), home.resolve())
        finally:
            os.chdir(before)


def with_image_to_image(folder: Path) -> Path:
    """A copy of the handlers that knows the kind, as `folder`/handlers."""
    home = folder / "handlers"
    shutil.copytree(HOME, home, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(image_to_image.__file__, home / "generators" / f"{KIND}.py")
    package = home / "generators" / "__init__.py"
    package.write_text(package.read_text() + ROW)
    return home
