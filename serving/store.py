"""The model store before TorchServe sees it: are the archives whole, do their answers fit, is there memory for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import psutil

from handlers.bundle import BundleError, Manifest, read_archive

JVM_MB = 350  # heap limit of config.properties, and what the JVM needs beside it
HEADROOM = 65536  # bytes that headers add to an answer


class StoreError(RuntimeError):
    """A store that cannot be served as it is; the message says which archive, and what to do."""


@dataclasses.dataclass(frozen=True)
class Model:
    """One archive of the store."""

    archive: Path
    manifest: Manifest
    version: str


def read(store: Path, max_response_bytes: int) -> list[Model]:
    """Every archive of the store, checked byte by byte. Raises `StoreError`."""
    archives = sorted(store.glob("*.mar")) if store.is_dir() else []
    if not archives:
        raise StoreError(
            f"{store} holds no archives; make one with `python -m export archive NAME`, or run `make demo`"
        )
    models: dict[str, Model] = {}
    for archive in archives:
        try:
            bundle = read_archive(archive)
        except BundleError as error:
            raise StoreError(f"{error} (or remove the file to serve the other models)") from None
        name = bundle.manifest.name
        if name in models:
            raise StoreError(
                f"{models[name].archive} and {archive} both serve {name!r}: remove the one you do not want"
            )
        limit = bundle.manifest.limits["max_response_bytes"]
        if limit + HEADROOM > max_response_bytes:
            raise StoreError(
                f"{archive} may answer with {limit} bytes, config.properties allows {max_response_bytes}: raise max_response_size"
            )
        models[name] = Model(archive, bundle.manifest, bundle.version)
    return list(models.values())


def check_memory(models: list[Model], available_mb: int | None = None) -> None:
    """Raise `StoreError` when the models' stated needs exceed the memory that is free now."""
    if available_mb is None:
        available_mb = psutil.virtual_memory().available // 2**20
    needs = {m.manifest.name: m.manifest.resources.memory_mb * m.manifest.resources.workers for m in models}
    wanted = JVM_MB + sum(needs.values())
    if wanted > available_mb:
        parts = ", ".join(f"{name} {mb} MB" for name, mb in needs.items())
        raise StoreError(
            f"memory is short: {available_mb} MB are free, {wanted} MB are needed (TorchServe {JVM_MB} MB, {parts}); "
            "stop something, or move archives out of the store"
        )
