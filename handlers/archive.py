"""An archive as it is read before anything of it runs: unpacked aside, every byte of its bundle checked."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import zipfile
import zlib
from pathlib import Path

from handlers.bundle import Bundle, read
from handlers.identity import Identity, handlers_digest
from handlers.manifest import BundleError

# Beside handlers/, where TorchServe looks for it; the same file lies in handlers/proxy/.
ENTRY = "torchserve_handler.py"


@dataclasses.dataclass(frozen=True)
class Archive:
    """The checked contents of a .mar; its files are not kept on disk."""

    bundle: Bundle
    identity: Identity

    @property
    def version(self) -> str:
        """The version that the archive states and has."""
        return self.identity.version


def read_archive(path: Path) -> Archive:
    """Read a .mar archive. Raises `BundleError` naming it if it is damaged, or is not what it says."""
    try:
        with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(path) as file:
            folder = Path(name)
            file.extractall(folder)
            bundle = read(folder / "bundle")
            identity = Identity(bundle.digest, handlers_digest(folder / "handlers"))
            model = json.loads((folder / "MAR-INF/MANIFEST.json").read_text())["model"]
            stated = (model["modelName"], model["modelVersion"])
            entry = (folder / ENTRY).read_bytes() == (folder / "handlers/proxy" / ENTRY).read_bytes()
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError, FileNotFoundError) as error:
        raise BundleError(
            f"{path} is no whole archive ({error}); make it again with `python -m export archive`"
        ) from None
    if not entry:
        raise BundleError(f"{path}: {ENTRY} is not the one of its handlers/proxy; archive it again")
    if stated != (bundle.manifest.name, identity.version):
        raise BundleError(
            f"{path} says it is {stated[0]} {stated[1]}, its bundle and handlers are {bundle.manifest.name} "
            f"{identity.version}: archive it again"
        )
    return Archive(bundle, identity)
