"""The bundle format: its only reader and writer. The export stage writes bundles, the server serves them.

    artifacts/bundles/NAME/{files/, assets/, certificate.json, manifest.json}

Every file is named in the manifest with its sha256, and the manifest carries the digest of itself: a flipped byte
anywhere is found before anything is loaded. The digest of the manifest is the identity of the bundle.
"""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from handlers import certificate as certificates
from handlers import records
from handlers.certificate import SERVED_VERDICTS, Certificate, CertificateError, Verdict
from handlers.generator import Model
from handlers.graph_spec import GraphSpec
from handlers.limits import AnyLimits, BatchLimits
from handlers.params import ParamSpec

FORMAT = "atelier-bundle/2"
MANIFEST = "manifest.json"
CERTIFICATE = "certificate.json"
ASSETS = "assets/"
Precision = Literal["f32", "bf16"]  # what a runtime may compute the unquantized parts of a graph in


class BundleError(ValueError):
    """A bundle that is missing, damaged or of an unknown format; the message names the file."""


@dataclasses.dataclass(frozen=True)
class FileSpec:
    """A file of the bundle: its path below the bundle's directory and its digest."""

    path: str
    sha256: str
    precision: str | None = None

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"path {self.path!r} leaves the bundle; wanted a relative path inside it")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One graph file in one runtime on one device class, and how it was judged."""

    id: str
    role: str
    variant: str  # which form of the graph: fp32, int8_static, ...
    file: str
    runtime: str  # one of handlers/runtimes/registry.py
    precision: Precision
    device_class: str  # "any" for the reference
    requires: dict[str, str]
    verdict: Verdict
    reason: str


@dataclasses.dataclass(frozen=True)
class Resources:
    """Needs of one worker, for the archive's model-config.yaml and the launcher's memory check."""

    lane: Literal["batch", "step"]  # whole batches, or requests that join and leave between steps
    threads: int  # 0: all cores
    memory_mb: int
    workers: int
    batch_size: int  # requests computed together


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json, but for its own digest."""

    name: str
    recipe: str
    kind: str
    source: dict[str, str]  # checkpoint digest, step, data, licence, commit: where it came from
    graphs: dict[str, GraphSpec]
    files: dict[str, FileSpec]
    candidates: tuple[Candidate, ...]
    choice: dict[str, tuple[dict[str, str], ...]]  # device class -> ordered {role: candidate id}
    params: tuple[ParamSpec, ...]
    limits: AnyLimits
    content_types: tuple[str, ...]
    scope: str
    resources: Resources
    example: dict[str, Any]  # a request that works: readiness sends it, messages show it
    certificate: FileSpec
    format: str = FORMAT

    def __post_init__(self) -> None:
        if isinstance(self.limits, BatchLimits) != (self.resources.lane == "batch"):
            raise ValueError(
                f"limits are {type(self.limits).__name__}, which is not for the lane {self.resources.lane}"
            )
        ids = {c.id: c for c in self.candidates}
        for device_class, options in self.choice.items():
            for option in options:
                for role, chosen in option.items():
                    if chosen not in ids or ids[chosen].role != role:
                        raise ValueError(
                            f"choice.{device_class} names {chosen!r}, which is no candidate for role {role!r}"
                        )
                    if ids[chosen].verdict not in SERVED_VERDICTS:
                        raise ValueError(
                            f"choice.{device_class} names {chosen!r}, whose verdict is {ids[chosen].verdict}"
                        )
        for candidate in self.candidates:
            if candidate.file not in self.files:
                raise ValueError(f"candidate {candidate.id!r} names the unknown file {candidate.file!r}")
        for role in self.graphs:
            if not any(c.role == role and c.verdict == "reference" for c in self.candidates):
                raise ValueError(f"role {role!r} has no reference candidate")

    def candidate(self, identifier: str) -> Candidate:
        """The candidate called `identifier`."""
        return next(c for c in self.candidates if c.id == identifier)

    def reference(self) -> dict[str, str]:
        """The FP32 reference of every role: what is served where nothing else may be."""
        return {c.role: c.id for c in reversed(self.candidates) if c.verdict == "reference"}


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
    manifest, digest = read_manifest(_bytes(path, MANIFEST), str(path / MANIFEST))
    for spec in manifest.files.values():
        _verified(path, spec)
    data = _verified(path, manifest.certificate)
    try:
        certificate = certificates.decode(data, str(path / manifest.certificate.path))
    except CertificateError as error:
        raise BundleError(str(error)) from None
    named = {spec.path for spec in manifest.files.values()} | {MANIFEST, manifest.certificate.path}
    for file in path.rglob("*"):
        if file.is_file() and str(file.relative_to(path)) not in named:
            raise BundleError(f"{file} is not named in {MANIFEST}: remove it, or build the bundle again")
    return Bundle(path, manifest, digest, certificate)


def read_manifest(data: bytes, where: str) -> tuple[Manifest, str]:
    """The manifest and its digest from the bytes of manifest.json. Raises `BundleError`."""
    try:
        raw = json.loads(data)
    except ValueError as error:
        raise BundleError(f"{where} is not valid JSON ({error}); build the bundle again") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        raise BundleError(f"{where} has format {found!r}, this version reads {FORMAT!r}")
    stated = raw.pop("digest", None)
    if stated != (found := _digest(raw)):
        raise BundleError(
            f"{where} is damaged: its digest is {found[:12]}..., it states {str(stated)[:12]}...; build it again"
        )
    try:
        return records.read(Manifest, raw, MANIFEST), found
    except records.RecordError as error:
        raise BundleError(f"{where}: {error}") from None


def write(path: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """Write a bundle beside `path` and switch to it in one step; returns it, as it was read back before the switch.

    `contents` maps the path of every file the manifest names to its bytes. Nothing appears at `path` before all of it
    is written, and what was there stays until then. Raises `OSError` (disk) or `BundleError` (contents do not fit).
    """
    raw = json.loads(json.dumps({**dataclasses.asdict(manifest), "limits": manifest.limits.document()}))
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = path.parent / f".{path.name}.{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        for name, data in contents.items():
            write_file(stage / name, data)
        write_file(stage / MANIFEST, (json.dumps({**raw, "digest": _digest(raw)}, indent=1) + "\n").encode())
        written = read(stage)
        _switch(stage, path)
    except OSError as error:
        raise OSError(
            error.errno, f"could not write the bundle {path} ({error.strerror}); nothing was changed"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return dataclasses.replace(written, directory=path)


def write_file(path: Path, data: bytes) -> None:
    """Write by temporary name and rename; a full disk leaves neither a half file nor the temporary one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_spec(path: str, data: bytes, precision: str | None = None) -> FileSpec:
    """The manifest's entry for `data` stored at `path`."""
    return FileSpec(path, hashlib.sha256(data).hexdigest(), precision)


def _digest(raw: Mapping[str, Any]) -> str:
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _bytes(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        hint = f"`python -m export build {path.name}`" if name == MANIFEST else "building the bundle again"
        raise BundleError(f"{path / name} is missing; it comes from {hint}") from None


def _verified(path: Path, spec: FileSpec) -> bytes:
    data = _bytes(path, spec.path)
    found = hashlib.sha256(data).hexdigest()
    if found != spec.sha256:
        raise BundleError(
            f"{path / spec.path} is damaged: its sha256 is {found[:12]}..., the manifest wants {spec.sha256[:12]}...; "
            "build the bundle again"
        )
    return data


def _switch(stage: Path, path: Path) -> None:
    """Put the directory `stage` in the place of `path`, in one step where the kernel can exchange two names."""
    if not path.exists():
        os.rename(stage, path)
        return
    exchange = 2  # RENAME_EXCHANGE of renameat2(2); -100 is AT_FDCWD
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None or renameat2(-100, bytes(stage), -100, bytes(path), exchange) != 0:
        old = stage.with_name(stage.name + ".old")
        os.rename(path, old)
        os.rename(stage, path)
        shutil.rmtree(old)
