"""A bundle checked again from the outside: digests, schema, parity with its checkpoint, golden items here."""

from __future__ import annotations

import contextlib

from export import graphs
from export.options import Say
from export.parity import PARITY_SEED, ParityError, compare, reference, tapped_spec
from export.to_onnx import expose_tap
from handlers import bundle as bundles
from handlers.bundle import Bundle
from handlers.certificate import SERVED_VERDICTS
from handlers.engine.choice import open_model
from handlers.runtimes.session import open_session
from training import checkpoint, recipes


def verify(name: str, say: Say = print) -> Bundle:
    """Check the bundle called `name`, and the checkpoint it was built from, and say each thing that holds.

    Raises `BundleError`, `CheckpointError` or `ParityError` on the first thing that is not as certified.
    """
    bundle = bundles.read(bundles.directory(name))
    manifest = bundle.manifest
    say(f"{bundle.directory}: version {bundle.version}, {len(manifest.files)} files, schema and digests right")
    source = checkpoint.opened(checkpoint.directory(name))
    meta, module = recipes.find(manifest.recipe).load().load_generator(source)
    if manifest.source["checkpoint"] not in meta.files.values():
        raise ParityError(
            f"{bundle.directory} was built from step {manifest.source['step']}, {source.path} is now at step "
            f"{meta.step}: build it again with `python -m export build {name}`"
        )
    kind = graphs.load(manifest.kind, module)
    for candidate in manifest.candidates:
        if candidate.verdict not in SERVED_VERDICTS or candidate.variant != "fp32" or candidate.precision != "f32":
            continue  # other forms are held to the quality budget, not to parity
        graph = kind.graphs[candidate.role]
        expected = reference(graph, PARITY_SEED)
        data = expose_tap(bundle.read_file(candidate.file), graph.tap)
        spec = tapped_spec(graph, expected)
        with open_session(candidate.runtime, data, spec, manifest.resources.threads) as session:
            differences = compare(graph, session, expected, PARITY_SEED)
        for difference in differences:
            say(
                f"  {candidate.id}: {difference.tensor} differs by at most {difference.max_abs:.3g} "
                f"(tolerance {difference.tolerance:g})"
            )
    with contextlib.closing(open_model(bundle)) as opened:
        say(f"  here: {opened.reason}")
    return bundle
