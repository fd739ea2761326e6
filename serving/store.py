"""The model store before TorchServe sees it: whose the archives are, are they whole, and do their answers fit.

Each archive is opened once, and unpacked into a private folder of the run: what is checked there is what runs.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import stat
from pathlib import Path

import psutil

from handlers.archive import ENTRY, Archive, complete, unpack
from handlers.cgroups import MIB, memory_limit
from handlers.identity import HOME, digest_of, read_handlers
from handlers.manifest import Manifest
from handlers.ownership import OwnershipError, check_owner, check_place
from serving.listing import Listing

JVM_MB = 350  # heap limit of config.properties, and what the JVM needs beside it
HEADROOM = 65536  # bytes that headers add to an answer
MAX_REQUEST_BYTES = 32 << 20  # of a request, which an engine reads whole
MAX_REASON = 1000  # characters of why an archive is refused
ARCHIVE_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}\.mar")


class StoreError(RuntimeError):
    """A store of which nothing can be served; the message says which archive, and what to do."""


class _Refused(ValueError):
    """An archive that is whole, and cannot be served here."""


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
    listing: Listing  # of the store, as it was when it was read

    @property
    def problem(self) -> str | None:
        """A sentence that names what is refused, or None."""
        return "; ".join(f"{name} is refused: {reason}" for name, reason in self.refused.items()) or None


def read(folder: Path, max_response_bytes: int, into: Path, home: Path = HOME) -> Store:
    """Check every archive of the store, and make a folder `into`/MODEL of each that can be served.

    `into` is an empty folder that nobody else can enter. `home` holds the handlers that serve: an archive has to hold
    the same, and theirs are the bytes that run. Raises `StoreError` if there is nothing to serve.
    """
    listing = Listing.of(folder)
    if not listing.archives:
        raise StoreError(
            f"{folder} holds no archives; make one with `python -m export archive NAME`, or run `make demo`"
        )
    try:
        check_place(folder)
    except (OwnershipError, OSError) as error:
        raise StoreError(f"nothing of {folder} is served: {error}") from None
    handlers = read_handlers(home)
    if f"proxy/{ENTRY}" not in handlers:
        raise StoreError(f"{home} holds no handlers (no proxy/{ENTRY}): name a folder like handlers/ by --handlers")
    trusted = digest_of(handlers)
    found: dict[str, list[tuple[Model, Archive, Path]]] = {}
    refused: dict[str, str] = {}
    for number, name in enumerate(sorted(listing.archives)):
        aside = into / f".{number}"
        aside.mkdir()
        try:
            whole = _open(folder / name, aside, trusted)
            _check_fits(whole.bundle.manifest, max_response_bytes)
        except Exception as error:  # whatever is wrong with one archive is no matter of the others
            refused[_shown(name)] = _printable(str(error)) or type(error).__name__
            shutil.rmtree(aside, ignore_errors=True)
            continue
        manifest = whole.bundle.manifest
        model = Model(folder / name, manifest, whole.version)
        found.setdefault(manifest.name, []).append((model, whole, aside))
    models = []
    for name, same in found.items():
        for model, whole, aside in same:
            others = ", ".join(other.archive.name for other, _, _ in same if other is not model)
            try:
                if others:
                    raise _Refused(f"{others} serves {name!r} too: remove the one you do not want")
                complete(aside, whole, handlers)
                aside.rename(into / name)
            except (_Refused, OSError) as error:
                refused[model.archive.name] = _printable(str(error))
                shutil.rmtree(aside, ignore_errors=True)
            else:
                models.append(model)
    store = Store(models, refused, listing)
    if not models:
        raise StoreError(f"{folder}: {store.problem}")
    return store


def _open(path: Path, aside: Path, trusted: str) -> Archive:
    """Open an archive once, look whose it is, and unpack what was opened."""
    if not ARCHIVE_NAME.fullmatch(path.name):
        raise _Refused("its name is not made of letters, digits, dots, - and _ alone: rename it")
    if path.is_symlink():
        check_place(path.resolve().parent)
    # A pipe called so must not hold the launcher up.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _Refused(f"{path} is no file (mode {status.st_mode:o}): put an archive there")
        check_owner(path.resolve(), status)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return unpack(file, path, aside, trusted)
    finally:
        os.close(descriptor)


def _check_fits(manifest: Manifest, max_response_bytes: int) -> None:
    """Raise `_Refused` for a model that this launcher, its front end or this machine cannot carry."""
    if (workers := manifest.resources.workers) != 1:
        # The control words (hold, release, drain, health) reach one worker of a model, and nobody says which.
        raise _Refused(
            f"it wants {workers} workers, the launcher can hold, drain and watch 1: build it with resources.workers 1"
        )
    limit = manifest.limits.max_response_bytes
    if limit + HEADROOM > max_response_bytes:
        raise _Refused(
            f"it may answer with {limit} bytes, config.properties allows {max_response_bytes}: raise max_response_size"
        )
    if (limit := manifest.limits.max_request_bytes) > MAX_REQUEST_BYTES:
        raise _Refused(
            f"it takes bodies of {limit} bytes, an engine at most {MAX_REQUEST_BYTES}: lower max_request_bytes"
        )
    memory = psutil.virtual_memory().total >> 20
    if (wanted := manifest.resources.memory_mb) > memory:
        raise _Refused(f"it wants {wanted} MB of memory, this machine has {memory} MB: lower resources.memory_mb")


def _shown(name: str) -> str:
    """A file's name as it can stand in a message, whatever bytes it has."""
    return name if ARCHIVE_NAME.fullmatch(name) else ascii(name)[:200]


def _printable(text: str) -> str:
    """A reason as a line of the log takes it: archives choose some of its words."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:MAX_REASON])
    return shown + "..." * (len(text) > MAX_REASON)


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
