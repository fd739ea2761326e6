"""Handlers whose generators misbehave on demand: certain seeds make them raise, stand still, die or take their time.

The sabotage is code added to a copy of handlers/. Archives are made with it, and a launcher that is to serve them is
told to (`--handlers`).
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

from export.archive import archive
from handlers import bundle as bundles
from handlers.bundle import Bundle
from handlers.identity import HOME

RAISE, STAND_STILL, DIE, SLOW = 666_001, 666_002, 666_003, 666_004
SLOW_SECONDS = 0.4
_CODE = f'''

_create = create


def create(model, sessions):
    """Sabotaged."""
    import os, time

    generator = _create(model, sessions)

    def look(batch):
        seeds = [getattr(item, "params", item).seed for item in batch]
        if {DIE} in seeds:
            os._exit(9)
        if {STAND_STILL} in seeds:
            time.sleep(3600)
        if {SLOW} in seeds:
            time.sleep({SLOW_SECONDS})
        if {RAISE} in seeds:
            raise RuntimeError("sabotage")

    for name in ("generate", "step"):
        original = getattr(generator, name, None)
        if original is not None:
            def wrapped(batch, original=original):
                look(batch)
                return original(batch)
            setattr(generator, name, wrapped)
    return generator
'''


def rewritten(bundle: Bundle, folder: Path, name: str, batch_size: int | None = None, **limits: int) -> Bundle:
    """The same generator as a bundle at folder/NAME, with other limits or another batch size."""
    old = bundle.manifest
    resources = dataclasses.replace(old.resources, batch_size=batch_size or old.resources.batch_size)
    narrowed = dataclasses.replace(old.limits, **limits)  # type: ignore[arg-type]
    manifest = dataclasses.replace(old, name=name, limits=narrowed, resources=resources)
    contents = {spec.path: bundle.read_file(key) for key, spec in old.files.items()}
    contents[old.certificate.path] = (bundle.directory / old.certificate.path).read_bytes()
    bundles.write(folder / name, manifest, contents)
    return bundles.read(folder / name)


def renamed(
    bundle: Bundle, name: str, store: Path, batch_size: int | None = None, home: Path = HOME, **limits: int
) -> Path:
    """An archive of the same generator under another name, with other limits, batch size or handlers."""
    store, home = store.resolve(), home.resolve()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        rewritten(bundle, Path(folder) / bundles.directory(name).parent, name, batch_size, **limits)
        os.chdir(folder)
        try:
            return archive(name, store, home)
        finally:
            os.chdir(before)


def sabotaged(folder: Path) -> Path:
    """A copy of the handlers that misbehave, as `folder`/handlers; the same each time."""
    home = folder / "handlers"
    shutil.copytree(HOME, home, ignore=shutil.ignore_patterns("__pycache__"))
    package = home / "generators/__init__.py"
    package.write_text(package.read_text() + _CODE)
    return home
