"""The bundle format: its only reader and writer. The export stage writes bundles, the server serves them.

    artifacts/bundles/NAME/{files/, assets/, certificate.json, manifest.json}

Every file is named in the manifest with its sha256, and the manifest carries the digest of itself: a flipped byte
anywhere is found before anything is loaded. The digest of the manifest is the identity of the bundle.
"""

from __future__ import annotations

import dataclasses
import hashlib
import mmap
import os
import shutil
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path

from handlers import certificate as certificates
from handlers.certificate import Certificate
from handlers.files import switch, write_file
from handlers.generator import Model
from handlers.manifest import ASSETS, MANIFEST, BundleError, FileSpec, Manifest, encode_manifest, read_manifest
from handlers.onnx_file import OnnxError, check_onnx
from handlers.records import RecordError

MAX_JSON_BYTES = 8 << 20  # of manifest and certificate, each; as objects they take twenty times as much
AHEAD_OF_TIME = ("tensorrt",)  # runtimes whose files are engines of their own, no ONNX


@dataclasses.dataclass(frozen=True)
class BundleHead:
    """A bundle of which the manifest alone was read: the proxy needs no more."""

    directory: Path
    manifest: Manifest
    digest: str

    @property
    def version(self) -> str:
        """The first digits of its digest: short, and different for any two bundles."""
        return self.digest[:12]


@dataclasses.dataclass(frozen=True)
class Bundle(BundleHead):
    """A bundle as `read` found it, every byte checked."""

    certificate: Certificate

    def read_file(self, identifier: str) -> bytes:
        """The bytes of a file, checked again as they are read, so that what is loaded is what was verified."""
        return _verified(self.directory, self.manifest.files[identifier])

    def model(self) -> Model:
        """The `Model` that a generator is opened from; reads the assets. Raises `BundleError` where one is damaged."""
        manifest = self.manifest
        assets = {key: self.read_file(key) for key, spec in manifest.files.items() if spec.path.startswith(ASSETS)}
        parts = (manifest.params, manifest.limits, manifest.graphs, manifest.example)
        return Model(manifest.name, self.version, manifest.kind, *parts, assets)


def directory(name: str) -> Path:
    """Where the bundle called `name` lives."""
    return Path("artifacts/bundles") / name


def read(path: Path) -> Bundle:
    """Read a bundle and check every file of it. Raises `BundleError` with the name of the file at fault."""
    manifest, digest = read_manifest(_json(path, MANIFEST), str(path / MANIFEST))
    graphs = {candidate.file for candidate in manifest.candidates if candidate.runtime not in AHEAD_OF_TIME}
    for key, spec in manifest.files.items():
        _check_file(path, spec, key in graphs)
    data = _json(path, manifest.certificate.path)
    _compare(path, manifest.certificate, hashlib.sha256(data).hexdigest())
    try:
        certificate = certificates.decode(data, str(path / manifest.certificate.path))
    except RecordError as error:
        raise BundleError(str(error)) from None
    named = {spec.path for spec in manifest.files.values()} | {MANIFEST, manifest.certificate.path}
    for file in path.rglob("*"):
        if file.is_file() and str(file.relative_to(path)) not in named:
            raise BundleError(f"{file} is not named in {MANIFEST}: remove it, or build the bundle again")
    return Bundle(path, manifest, digest, certificate)


def write(path: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """Write a bundle beside `path` and switch to it in one step; returns it, as it was read back before the switch.

    `contents` maps the path of every file the manifest names to its bytes. Nothing appears at `path` before all of it
    is written, and what was there stays until then. Raises `OSError` (disk) or `BundleError` (contents do not fit).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = path.parent / f".{path.name}.{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        for name, data in contents.items():
            write_file(stage / name, data)
        write_file(stage / MANIFEST, encode_manifest(manifest))
        written = read(stage)
        switch(stage, path)
    except OSError as error:
        raise OSError(
            error.errno, f"could not write the bundle {path} ({error.strerror}); nothing was changed"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return dataclasses.replace(written, directory=path)


def _open(path: Path, name: str) -> BufferedReader:
    try:
        return (path / name).open("rb")
    except (FileNotFoundError, NotADirectoryError):
        hint = f"`python -m export build {path.name}`" if name == MANIFEST else "building the bundle again"
        raise BundleError(f"{path / name} is missing; it comes from {hint}") from None


def _json(path: Path, name: str) -> bytes:
    """The bytes of manifest or certificate. Raises `BundleError` if there are too many of them."""
    with _open(path, name) as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise BundleError(f"{path / name} has over {MAX_JSON_BYTES} bytes, wanted fewer; build the bundle again")
    return data


def _check_file(path: Path, spec: FileSpec, graph: bool) -> None:
    """Check the digest of a file, and that a graph's holds all of it, without reading it into memory."""
    with _open(path, spec.path) as file:
        _compare(path, spec, hashlib.file_digest(file, "sha256").hexdigest())
        if graph:
            empty = os.fstat(file.fileno()).st_size == 0  # which cannot be mapped
            try:
                check_onnx(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except OnnxError as error:
                raise BundleError(f"{path / spec.path} {error}; build the bundle again") from None


def _verified(path: Path, spec: FileSpec) -> bytes:
    with _open(path, spec.path) as file:
        data = file.read()
    _compare(path, spec, hashlib.sha256(data).hexdigest())
    return data


def _compare(path: Path, spec: FileSpec, found: str) -> None:
    if found != spec.sha256:
        raise BundleError(
            f"{path / spec.path} is damaged: its sha256 is {found[:12]}..., the manifest wants {spec.sha256[:12]}...; "
            "build the bundle again"
        )
