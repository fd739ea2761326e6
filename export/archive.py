"""Bundle -> model_store/NAME-VERSION.mar: self-contained, written by torch-model-archiver, opened again and checked."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from model_archiver.model_archiver import ModelArchiver
from model_archiver.model_archiver_config import ModelArchiverConfig

from handlers import bundle as bundles
from handlers.archive import CONFIG, ENTRY, STUB, TORCH_STUB, model_config, read_archive
from handlers.bundle import Bundle
from handlers.identity import HOME, Identity, handlers_digest, read_handlers

STORE = Path("model_store")


def archive(name: str, store: Path = STORE, home: Path = HOME) -> Path:
    """Write STORE/NAME-VERSION.mar of the bundle called `name`, remove older ones of that name, and return its path.

    `home` is the handlers/ that it holds. Raises `BundleError`, `OSError`.
    """
    bundle = bundles.read(bundles.directory(name))
    store.mkdir(parents=True, exist_ok=True)
    identity = Identity(bundle.digest, handlers_digest(home))
    final = store / f"{name}-{identity.version}.mar"
    with tempfile.TemporaryDirectory(dir=store, prefix=".archive-") as work:
        written = _package(bundle, identity.version, home, Path(work))
        read_archive(written)  # refuses one whose bundle or handlers changed while it was packed
        os.replace(written, final)
    for old in store.glob(f"{name}-{'?' * 12}.mar"):
        if old != final and re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{12}}\.mar", old.name):
            old.unlink()
    return final


def _package(bundle: Bundle, version: str, home: Path, work: Path) -> Path:
    manifest = bundle.manifest
    content = work / "content"  # the archiver takes the *contents* of a directory: stage a parent
    for path, data in read_handlers(home).items():
        (content / "handlers" / path).parent.mkdir(parents=True, exist_ok=True)
        (content / "handlers" / path).write_bytes(data)
    shutil.copytree(bundle.directory, content / "bundle")
    (content / STUB).write_text(TORCH_STUB)
    config = work / CONFIG
    config.write_text(model_config(manifest.resources))
    return pack(
        work,
        model_name=manifest.name,
        version=version,
        handler=str(home / "proxy" / ENTRY),
        extra_files=str(content),
        config_file=str(config),
    )


def pack(work: Path, **settings: str) -> Path:
    """Run torch-model-archiver in the folder `work`; returns the archive's path there.

    `settings` are the archiver's own (model_name, version, handler, extra_files, config_file).
    """
    before = tempfile.tempdir
    tempfile.tempdir = str(work)  # the archiver builds in TMPDIR/NAME and deletes what is there
    try:
        ModelArchiver.generate_model_archive(ModelArchiverConfig(export_path=str(work), force=True, **settings))
    finally:
        tempfile.tempdir = before
    return work / f"{settings['model_name']}.mar"
