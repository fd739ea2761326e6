"""The manifest of a bundle: candidates, parameters, limits, every file's digest, and the digest of itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

from handlers import records
from handlers.certificate import SERVED_VERDICTS, Verdict
from handlers.graph_spec import GraphSpec
from handlers.limits import AnyLimits, BatchLimits
from handlers.params import ParamSpec

FORMAT = "atelier-bundle/2"
MANIFEST = "manifest.json"
CERTIFICATE = "certificate.json"
ASSETS = "assets/"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a model: it stands in addresses, paths and settings
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

    def __post_init__(self) -> None:
        for name, least in (("threads", 0), ("memory_mb", 1), ("workers", 1), ("batch_size", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} is {value}, wanted at least {least}")


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
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name is {self.name!r:.100}, wanted letters, digits, dots, - and _, at most 64")
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


def read_manifest(data: bytes, where: str) -> tuple[Manifest, str]:
    """The manifest and its digest from the bytes of manifest.json. Raises `BundleError`."""
    try:
        raw = records.parse(data, where, FORMAT)
    except records.RecordError as error:
        raise BundleError(str(error)) from None
    stated = raw.pop("digest", None)
    if stated != (found := _digest(raw)):
        raise BundleError(
            f"{where} is damaged: its digest is {found[:12]}..., it states {str(stated)[:12]}...; build it again"
        )
    try:
        return records.read(Manifest, raw, MANIFEST), found
    except records.RecordError as error:
        raise BundleError(f"{where}: {error}") from None


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of manifest.json, its digest included."""
    raw = json.loads(json.dumps({**dataclasses.asdict(manifest), "limits": manifest.limits.document()}))
    return (json.dumps({**raw, "digest": _digest(raw)}, indent=1) + "\n").encode()


def file_spec(path: str, data: bytes, precision: str | None = None) -> FileSpec:
    """The manifest's entry for `data` stored at `path`."""
    return FileSpec(path, hashlib.sha256(data).hexdigest(), precision)


def _digest(raw: Mapping[str, Any]) -> str:
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
