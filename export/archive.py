"""Bundle -> model_store/NAME-VERSION.mar: self-contained, written by torch-model-archiver, opened again and checked."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import yaml
from model_archiver.model_archiver import ModelArchiver
from model_archiver.model_archiver_config import ModelArchiverConfig

from handlers import bundle as bundles
from handlers.archive import ENTRY, read_archive
from handlers.bundle import Bundle
from handlers.identity import HOME, Identity, handlers_digest
from handlers.manifest import Resources

STORE = Path("model_store")
# The proxy bounds what waits and says when to come again; the front end's own queue only has to be larger.
JOB_QUEUE = 2048
# TorchServe's worker imports torch only to recognise tensors in answers; ours are bytes. 1 s and 180 MB a worker.
TORCH_STUB = '"""Stands in for torch in this worker."""\n\n\nclass Tensor:\n    """No answer is one."""\n'


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


def model_config(resources: Resources) -> str:
    """The archive's model-config.yaml, so that no shared file names a model.

    TorchServe's async mode, in which the worker gets every request at once; batches are formed behind it
    (docs/decisions.md).
    """
    return yaml.safe_dump(
        {
            "minWorkers": resources.workers,
            "maxWorkers": resources.workers,
            "batchSize": 1,
            "asyncCommunication": True,
            "jobQueueSize": JOB_QUEUE,
            "startupTimeout": 120,
            # A front end that has given a worker up never tries again: the launcher decides about that, not a clock.
            "maxRetryTimeoutInSec": 2_147_483,
            "deviceType": "cpu",
        },
        sort_keys=False,
    )


def _package(bundle: Bundle, version: str, home: Path, work: Path) -> Path:
    manifest = bundle.manifest
    content = work / "content"  # the archiver takes the *contents* of a directory: stage a parent
    shutil.copytree(home, content / "handlers", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(bundle.directory, content / "bundle")
    (content / "torch.py").write_text(TORCH_STUB)
    config = work / "model-config.yaml"
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
