"""A bundle judged again on this machine: its device class joins the certificate and the choice; no file changes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

from export import graphs
from export.assemble import write
from export.budget import start
from export.candidates import choice_of, judged_candidates
from export.certify import add_device
from export.context import Build
from export.judge import QUALITY_ROWS, QUALITY_SEED
from export.notebook import discard_notes, open_notebook
from export.options import Options, Say
from export.plans import REFERENCE, Plan, file_key, scoring_runtime
from export.results import DeviceResult, judge_all
from export.turns import told_left_out
from handlers import bundle as bundles
from handlers.bundle import Bundle
from handlers.manifest import Manifest
from handlers.runtimes.device import Machine, machine
from handlers.runtimes.registry import find
from handlers.runtimes.session import open_session
from training import checkpoint, recipes


def remeasure(name: str, options: Options, say: Say = print, here: Machine | None = None) -> Bundle:
    """Judge every ONNX file of the bundle called `name` on the machine `here` (this one), and write the result.

    They are held to the bundle's FP32 reference; TensorRT engines are judged where they can run. Raises `BundleError`,
    `CheckpointError`, `SessionError`, `MeasureError` or `OSError`; the bundle then stays as it was.
    """
    budget = start(options.bound)
    here = here or machine()
    old = bundles.read(bundles.directory(name))
    source = checkpoint.opened(checkpoint.directory(name))
    _, module = recipes.find(old.manifest.recipe).load().load_generator(source)
    kind = graphs.load(old.manifest.kind, module)
    say(f"{name}: version {old.version}, again on {here.cpu}")
    files, plans = _plans(old, options, here)
    with contextlib.ExitStack() as opened:
        fp32 = {
            role: opened.enter_context(
                open_session(REFERENCE.runtime, files["fp32"][role], spec, old.manifest.resources.threads)
            )
            for role, spec in old.manifest.graphs.items()
        }
        wanted = kind.render(fp32, QUALITY_ROWS, QUALITY_SEED)
    judged_from = {"bundle": old.digest, **source.meta.files}
    work = Build(
        model=old.model(),
        kind=kind,
        fp32=files["fp32"],
        wanted=wanted,
        runtimes=options.runtimes,
        here=here,
        options=options,
        budget=budget,
        notebook=open_notebook(name, judged_from, options, scoring_runtime(options.runtimes)),
        say=say,
    )
    results = judge_all(work, files, plans)
    certificate = old.certificate
    for result in results:
        certificate = add_device(certificate, result, old.manifest.graphs.keys())
    manifest = _with_results(old.manifest, results)
    bundle = write(manifest, certificate, {spec.path: old.read_file(key) for key, spec in manifest.files.items()})
    if not told_left_out(work, {}, [j for result in results for j in result.judged]):
        discard_notes(name)
    say(f"{bundle.directory}: version {bundle.version}, certified for {', '.join(manifest.choice)}")
    return bundle


def _plans(old: Bundle, options: Options, here: Machine) -> tuple[dict[str, dict[str, bytes]], list[Plan]]:
    """The files (by `file_key`, then role) and plans of the candidates that are wanted and can run here."""
    files: dict[str, dict[str, bytes]] = {}
    plans = [REFERENCE]
    for candidate in old.manifest.candidates:
        plan = Plan(candidate.variant, candidate.runtime, candidate.precision)
        wanted = candidate.variant in options.variants and candidate.runtime in options.runtimes
        runtime = find(candidate.runtime)
        runs = runtime.device == "cpu" or here.gpu is not None
        if runtime.ahead_of_time:  # an engine belongs to one capability
            runs = candidate.device_class == here.gpu
        if candidate.verdict == "reference" or (wanted and runs):
            files.setdefault(file_key(plan), {})[candidate.role] = old.read_file(candidate.file)
            plans.append(plan)
    return files, list(dict.fromkeys(plans))


def _with_results(manifest: Manifest, results: Sequence[DeviceResult]) -> Manifest:
    """The manifest with the candidates and the choice of these device classes in place of earlier ones."""
    roles = manifest.graphs.keys()
    built = {c.id: c.requires for c in manifest.candidates if find(c.runtime).ahead_of_time}
    # An engine goes on requiring the library that built it, whichever judged it.
    fresh = [dataclasses.replace(c, requires=built.get(c.id, c.requires)) for c in judged_candidates(results, roles)]
    replaced = {candidate.id for candidate in fresh}
    kept = [candidate for candidate in manifest.candidates if candidate.id not in replaced]
    chosen = {result.device_class: choice_of(result, roles) for result in results}
    return dataclasses.replace(manifest, candidates=(*fresh, *kept), choice={**manifest.choice, **chosen})
