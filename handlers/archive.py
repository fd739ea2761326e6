"""The archive format: what `export archive` packs, what is read of it, and the folder that TorchServe gets instead.

An archive holds a bundle and the handlers that serve it, and four small files for TorchServe. Nothing of an archive
runs: its bundle is unpacked and checked, and a folder is made of that bundle and of handlers which are here already.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from handlers.bundle import Bundle, read
from handlers.identity import Identity, digest_of
from handlers.manifest import BundleError, Resources
from handlers.zip_members import ZipError, ZipMembers

# Beside handlers/, where TorchServe looks for it; the same file lies in handlers/proxy/.
ENTRY = "torchserve_handler.py"
STATEMENT = "MAR-INF/MANIFEST.json"
CONFIG = "model-config.yaml"
STUB = "torch.py"
# TorchServe's worker imports torch only to recognise tensors in answers; ours are bytes. 1 s and 180 MB a worker.
TORCH_STUB = '"""Stands in for torch in this worker."""\n\n\nclass Tensor:\n    """No answer is one."""\n'
# The proxy bounds what waits and says when to come again; the front end's own queue only has to be larger.
JOB_QUEUE = 2048
MAX_SMALL_BYTES = 1 << 20  # of any file of an archive but those of its bundle
MAX_HANDLERS_BYTES = 16 << 20
LEFT_FREE_BYTES = 16 << 20  # of the disk that archives are unpacked to


@dataclasses.dataclass(frozen=True)
class Archive:
    """The checked contents of a .mar."""

    bundle: Bundle
    identity: Identity

    @property
    def version(self) -> str:
        """The version that the archive states and has."""
        return self.identity.version


def model_config(resources: Resources) -> str:
    """The archive's model-config.yaml, so that no shared file names a model.

    TorchServe's async mode, in which the worker gets every request at once; batches are formed behind it
    (docs/decisions.md).
    """
    settings = {
        "minWorkers": resources.workers,
        "maxWorkers": resources.workers,
        "batchSize": 1,
        "asyncCommunication": True,
        "jobQueueSize": JOB_QUEUE,
        "startupTimeout": 120,
        # A front end that has given a worker up never tries again: the launcher decides about that, not a clock.
        "maxRetryTimeoutInSec": 2_147_483,
        "deviceType": "cpu",
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


def statement(name: str, version: str) -> dict[str, Any]:
    """What the entry `model` of an archive's own manifest says: TorchServe takes name, version and entry from there."""
    return {"modelName": name, "modelVersion": version, "handler": ENTRY, "configFile": CONFIG}


def read_archive(path: Path) -> Archive:
    """Read a .mar archive; its files are not kept. Raises `BundleError` if it is damaged, or is not what it says."""
    with tempfile.TemporaryDirectory() as folder, path.open("rb") as file:
        return unpack(file, path, Path(folder))


def unpack(file: BinaryIO, path: Path, into: Path, trusted: str | None = None) -> Archive:
    """Unpack the bundle of an open archive, found at `path`, to `into`/bundle and check every byte.

    `trusted` is the digest of the handlers that it has to hold (None: any). Raises `BundleError` naming `path`, or
    `OSError`.
    """
    try:
        members = ZipMembers(file)
        return _unpack(members, path, into, trusted)
    except BundleError as error:
        raise BundleError(str(error).replace(str(into / "bundle"), f"{path}: bundle")) from None
    except (
        *(ZipError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError, TypeError),
        *(RecursionError, NotImplementedError, FileNotFoundError),
    ) as error:
        raise BundleError(
            f"{path} is no whole archive ({error}); make it again with `python -m export archive`"
        ) from None


def _unpack(members: ZipMembers, path: Path, into: Path, trusted: str | None) -> Archive:
    free = shutil.disk_usage(into).free
    if members.bytes > free - LEFT_FREE_BYTES:
        raise BundleError(f"{path} unpacks to {members.bytes} bytes, {into} has {free} free: make room there")
    small = {name: members.read(name, MAX_SMALL_BYTES) for name in (STATEMENT, CONFIG, STUB, ENTRY)}
    found = _handlers(members, path)
    handlers = digest_of(found)
    if trusted is not None and handlers != trusted:
        raise BundleError(
            f"{path} holds other handlers ({handlers[:12]}...) than those that serve here ({trusted[:12]}...): "
            "archive it again with `python -m export archive`, or name the folder "
            "of the handlers it was made with by --handlers"
        )
    for name in members.names:
        if name.startswith("bundle/"):
            _copy(members, name, into / name)
    bundle = read(into / "bundle")
    identity = Identity(bundle.digest, handlers)
    if small[ENTRY] != found.get(f"proxy/{ENTRY}"):
        raise BundleError(f"{path}: {ENTRY} is not the one of its handlers/proxy; archive it again")
    _check_statement(small[STATEMENT], path, bundle.manifest.name, identity)
    wanted = {CONFIG: model_config(bundle.manifest.resources), STUB: TORCH_STUB}
    for name, text in wanted.items():
        if small[name] != text.encode():
            raise BundleError(f"{path}: {name} is not what `export archive` writes; archive it again")
    return Archive(bundle, identity)


def _handlers(members: ZipMembers, path: Path) -> dict[str, bytes]:
    """The handlers in an archive, which may hold nothing but them, a bundle and the four small files."""
    found: dict[str, bytes] = {}
    left = MAX_HANDLERS_BYTES
    for name in members.names:
        if name.startswith("handlers/"):
            found[name.removeprefix("handlers/")] = data = members.read(name, min(left, MAX_SMALL_BYTES))
            left -= len(data)
        elif not name.startswith("bundle/") and name not in (STATEMENT, CONFIG, STUB, ENTRY):
            raise BundleError(f"{path} holds {name}, which `export archive` does not write; archive it again")
    return found


def _copy(members: ZipMembers, name: str, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("xb") as file:
        for piece in members.pieces(name):
            file.write(piece)


def _check_statement(data: bytes, path: Path, name: str, identity: Identity) -> None:
    document = json.loads(data)
    model = document["model"]
    if not isinstance(model, dict):
        raise BundleError(f"{path}: {STATEMENT} says model is {model!r:.60}, wanted an object; archive it again")
    stated = (model.get("modelName"), model.get("modelVersion"))
    if stated != (name, identity.version):
        raise BundleError(
            f"{path} says it is {stated[0]!s:.60} {stated[1]!s:.60}, its bundle and handlers are {name} "
            f"{identity.version}: archive it again"
        )
    if document.get("runtime") != "python":
        raise BundleError(
            f"{path}: {STATEMENT} says runtime is {document.get('runtime')!r:.60}, wanted 'python'; archive it again"
        )
    if model != (wanted := statement(name, identity.version)):
        odd = sorted(key for key in model.keys() | wanted.keys() if model.get(key) != wanted.get(key))
        raise BundleError(
            f"{path}: {STATEMENT} says {odd[0]!s:.60} is {model.get(odd[0])!r:.60}, wanted {wanted.get(odd[0])!r}; "
            "archive it again"
        )


def complete(folder: Path, archive: Archive, handlers: Mapping[str, bytes]) -> None:
    """Make the folder that holds an unpacked bundle one that TorchServe serves, with `handlers` by path.

    They have to be those of the archive's identity. Raises `OSError`.
    """
    manifest = archive.bundle.manifest
    document = {"runtime": "python", "model": statement(manifest.name, archive.version)}
    files = {
        STATEMENT: json.dumps(document).encode(),
        CONFIG: model_config(manifest.resources).encode(),
        STUB: TORCH_STUB.encode(),
        ENTRY: handlers[f"proxy/{ENTRY}"],
        **{f"handlers/{name}": data for name, data in handlers.items()},
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
