"""A bundle judged again on this machine: its device class joins the certificate and the choice; no file changes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable

from export import graphs
from export.assemble import add_device, choice_of, device_candidates, write
from export.build import NOTES, Options, judge_all
from export.judge import GPU_RUNTIMES, QUALITY_ROWS, QUALITY_SEED, REFERENCE, Notebook, Plan, file_key
from handlers import bundle as bundles
from handlers.bundle import Bundle
from handlers.runtimes import cuda
from handlers.runtimes.device import device_class
from handlers.runtimes.session import open_session
from training import checkpoint, recipes


def remeasure(name: str, options: Options, say: Callable[[str], None] = print) -> Bundle:
    """Judge every ONNX file of the bundle called `name` here, against its FP32 reference, and write the result.

    TensorRT engines are judged where they can run. Raises `BundleError`, `CheckpointError`, `SessionError`,
    `MeasureError` or `OSError`; the bundle then stays as it was.
    """
    old = bundles.read(bundles.directory(name))
    manifest = old.manifest
    _, module = recipes.find(manifest.recipe).load().load_generator(checkpoint.directory(name))
    kind = graphs.load(manifest.kind, module)
    say(f"{name}: version {old.version}, again on {device_class()}")
    files: dict[str, dict[str, bytes]] = {}
    plans = [REFERENCE]
    for candidate in manifest.candidates:
        plan = Plan(candidate.variant, candidate.runtime, candidate.precision)
        wanted = candidate.variant in options.variants and candidate.runtime in options.runtimes
        here = candidate.runtime not in GPU_RUNTIMES or cuda.compute_capability() is not None
        if candidate.runtime == "tensorrt":  # an engine belongs to one capability
            here = candidate.device_class == cuda.compute_capability()
        if candidate.verdict == "reference" or (wanted and here):
            files.setdefault(file_key(plan), {})[candidate.role] = old.read_file(candidate.file)
            plans.append(plan)
    fp32 = {
        role: open_session("onnxruntime", files["fp32"][role], spec, manifest.resources.threads)
        for role, spec in manifest.graphs.items()
    }
    notebook = Notebook(NOTES / name / f"again-{old.version}-{'quick' if options.quick else 'full'}")
    media = kind.render(fp32, QUALITY_ROWS, QUALITY_SEED)
    results = judge_all(kind, old.model(), files, media, list(dict.fromkeys(plans)), notebook, options, say)
    roles = list(manifest.graphs)
    certificate = json.loads(json.dumps(old.certificate))
    for result in results:
        add_device(certificate, result, kind.budget, roles)
    built = {c.id: c.requires for c in manifest.candidates if c.runtime == "tensorrt"}
    fresh = [  # an engine goes on requiring the library that built it, whichever judged it
        dataclasses.replace(c, requires=built.get(c.id, c.requires))
        for c in device_candidates(results, kind.budget, roles)
    ]
    replaced = {candidate.id for candidate in fresh}
    kept = [candidate for candidate in manifest.candidates if candidate.id not in replaced]
    chosen = {result.device_class: choice_of(result, kind.budget, roles) for result in results}
    manifest = dataclasses.replace(manifest, candidates=(*fresh, *kept), choice={**manifest.choice, **chosen})
    bundle = write(manifest, certificate, {spec.path: old.read_file(key) for key, spec in manifest.files.items()})
    shutil.rmtree(NOTES / name, ignore_errors=True)
    say(f"{bundle.directory}: version {bundle.version}, certified for {', '.join(manifest.choice)}")
    return bundle
