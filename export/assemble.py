"""Everything that was found out, put together: files, manifest, certificate, and the bundle on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from export.candidates import choice_of, engine_file, judged_candidates, unmeasured_candidates
from export.certify import Findings, certify
from export.context import Build
from handlers import bundle as bundles
from handlers.bundle import Bundle
from handlers.certificate import Certificate
from handlers.manifest import ASSETS, CERTIFICATE, FileSpec, Manifest, file_spec
from training.checkpoint import Meta


def assemble(build: Build, meta: Meta, found: Findings) -> Bundle:
    """Write the bundle: every variant and engine as a file, every candidate with its verdict. Raises `OSError`."""
    kind = build.kind
    contents, files = _files(build, found)
    candidates = judged_candidates(found.results, kind.graphs.keys())
    candidates += unmeasured_candidates(found.engines, {candidate.id for candidate in candidates})
    limits = kind.limits
    reference = found.results[0].judged[0].assessment
    if not reference.batch_invariant:  # a reference whose rows depend on the batch is served row by row
        limits = dataclasses.replace(limits, max_tile=1)
    manifest = Manifest(
        name=build.model.name,
        recipe=meta.recipe,
        kind=build.model.kind,
        source={
            "checkpoint": next(digest for path, digest in meta.files.items() if path.startswith("model-")),
            "step": str(meta.step),
            "git_commit": meta.git_commit or "unknown",
            **{f"data_{key}": value for key, value in meta.data.items()},
        },
        graphs={role: graph.spec for role, graph in kind.graphs.items()},
        files=files,
        candidates=tuple(candidates),
        choice={result.device_class: choice_of(result, kind.graphs.keys()) for result in found.results},
        params=kind.params,
        limits=limits,
        content_types=kind.content_types,
        scope=kind.scope,
        resources=kind.resources,
        example=kind.example,
        certificate=file_spec(CERTIFICATE, b""),  # until it is written
    )
    return write(manifest, certify(build, meta, found), contents)


def write(manifest: Manifest, certificate: Certificate, contents: Mapping[str, bytes]) -> Bundle:
    """Write the bundle of a manifest with its certificate. Raises `OSError`."""
    data = certificate.encode()
    manifest = dataclasses.replace(manifest, certificate=file_spec(CERTIFICATE, data))
    return bundles.write(bundles.directory(manifest.name), manifest, {**contents, CERTIFICATE: data})


def _files(build: Build, found: Findings) -> tuple[dict[str, bytes], dict[str, FileSpec]]:
    """The bytes of every file by path, and the manifest's entries by identifier: assets, variants, engines."""
    contents: dict[str, bytes] = {}
    files: dict[str, FileSpec] = {}

    def add(identifier: str, path: str, data: bytes, precision: str | None = None) -> None:
        contents[path] = data
        files[identifier] = file_spec(path, data, precision)

    for asset, data in build.kind.assets.items():
        add(asset, f"{ASSETS}{asset}.json", data)
    for variant, roles in found.made.items():
        for role, item in roles.items():
            add(f"{role}-{variant}", f"files/{role}-{variant}.onnx", item.data, variant)
    for (variant, capability), engines in found.engines.items():
        for role, engine in engines.items() if isinstance(engines, dict) else ():
            identifier = engine_file(role, variant, capability)
            add(identifier, f"files/{identifier}.engine", engine.data, variant)
    return contents, files
