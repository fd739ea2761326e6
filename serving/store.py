"""The model store before TorchServe sees it: are the archives whole, do their answers fit, is there memory for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import psutil

from handlers.archive import read_archive
from handlers.cgroups import MIB, memory_limit
from handlers.manifest import BundleError, Manifest

JVM_MB = 350  # heap limit of config.properties, and what the JVM needs beside it
HEADROOM = 65536  # bytes that headers add to an answer


class StoreError(RuntimeError):
    """A store of which nothing can be served; the message says which archive, and what to do."""


@dataclasses.dataclass(frozen=True)
class Model:
    """One archive of the store."""

    archive: Path
    manifest: Manifest
    version: str


@dataclasses.dataclass(frozen=True)
class Store:
    """The archives of a store: models to serve, and those that are refused, each with the reason."""

    models: list[Model]
    refused: dict[str, str]  # file name -> reason

    @property
    def problem(self) -> str | None:
        """A sentence that names what is refused, or None."""
        return "; ".join(f"{name} is refused: {reason}" for name, reason in self.refused.items()) or None


def read(folder: Path, max_response_bytes: int) -> Store:
    """Every archive of the store, checked byte by byte. Raises `StoreError` if there is nothing to serve."""
    archives = sorted(folder.glob("*.mar")) if folder.is_dir() else []
    if not archives:
        raise StoreError(
            f"{folder} holds no archives; make one with `python -m export archive NAME`, or run `make demo`"
        )
    found: dict[str, list[Model]] = {}
    refused: dict[str, str] = {}
    for archive in archives:
        try:
            whole = read_archive(archive)
        except (BundleError, OSError) as error:
            refused[archive.name] = str(error)
            continue
        manifest = whole.bundle.manifest
        if (workers := manifest.resources.workers) != 1:
            # The control words (hold, release, drain, health) reach one worker of a model, and nobody says which.
            refused[archive.name] = (
                f"it wants {workers} workers, the launcher can hold, drain and watch 1: "
                "build it with resources.workers 1"
            )
            continue
        limit = manifest.limits.max_response_bytes
        if limit + HEADROOM > max_response_bytes:
            refused[archive.name] = (
                f"it may answer with {limit} bytes, config.properties allows {max_response_bytes}: "
                "raise max_response_size"
            )
            continue
        found.setdefault(manifest.name, []).append(Model(archive, manifest, whole.version))
    models = []
    for name, same in found.items():
        if len(same) > 1:
            for model in same:
                others = ", ".join(other.archive.name for other in same if other is not model)
                refused[model.archive.name] = f"{others} serves {name!r} too: remove the one you do not want"
        else:
            models += same
    store = Store(models, refused)
    if not models:
        raise StoreError(f"{folder}: {store.problem}")
    return store


def check_memory(models: list[Model], available_mb: int | None = None, root: Path = Path("/")) -> None:
    """Raise `StoreError` when the models' stated needs exceed the memory that is free now.

    That is what is left of the machine's (`available_mb`) or of the control group's, whichever is less.
    """
    if available_mb is None:
        available_mb = psutil.virtual_memory().available // 2**20
    limit, where = memory_limit(root), ""
    if limit is not None and limit.left // MIB < available_mb:
        available_mb, where = limit.left // MIB, f" under the limit of {limit}"
    needs = {m.manifest.name: m.manifest.resources.memory_mb for m in models}
    wanted = JVM_MB + sum(needs.values())
    if wanted > available_mb:
        parts = ", ".join(f"{name} {mb} MB" for name, mb in needs.items())
        raise StoreError(
            f"memory is short: {available_mb} MB are free{where}, {wanted} MB are needed (TorchServe {JVM_MB} MB, "
            f"{parts}); stop something{', raise that limit,' if where else ','} or move archives out of the store"
        )
