"""Checkpoint -> bundle: export, compare with PyTorch, try every variant in every runtime, judge, write.

Everything is judged before anything is written. What was found out is noted (`export/notebook.py`), so that an
interrupted build goes on at the missing candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export import graphs
from export.assemble import assemble
from export.budget import start
from export.certify import Findings
from export.context import Build
from export.engines import build_engines
from export.graphs import GeneratorKind
from export.judge import QUALITY_ROWS, QUALITY_SEED
from export.make_variants import make_variants
from export.notebook import discard_notes, open_notebook
from export.options import DEFAULTS, Options, Say
from export.parity import PARITY_SEED, compare, reference, tapped_spec
from export.plans import REFERENCE, Plan, file_key, installed, parity_runtimes, plans, scoring_runtime
from export.results import judge_all
from export.to_onnx import expose_tap, onnx_from_graph
from export.turns import told_left_out
from handlers.bundle import Bundle
from handlers.certificate import Difference
from handlers.runtimes import tensorrt
from handlers.runtimes.device import Machine, machine
from handlers.runtimes.runtime import SessionError
from handlers.runtimes.session import open_session
from training import checkpoint, recipes


def build(name: str, options: Options = DEFAULTS, say: Say = print, here: Machine | None = None) -> Bundle:
    """Build the bundle of the checkpoint called `name`, judged on the machine `here` (this one).

    Raises `CheckpointError`, `RecipeError`, `ParityError`, `SessionError`, `MeasureError` or `OSError`; then no bundle
    appears, and one that was there stays as it was.
    """
    budget = start(options.bound)
    here = here or machine()
    source = checkpoint.opened(checkpoint.directory(name))
    recipe = recipes.find(source.meta.recipe)
    meta, module = recipe.load().load_generator(source)
    kind = graphs.load(recipe.kind, module)
    say(f"{name}: {meta.recipe} at step {meta.step}, kind {recipe.kind}, on {here.cpu}")
    runtimes = installed(options, here, recipe.kind, say)
    notebook = open_notebook(name, meta.files, options, scoring_runtime(runtimes))
    fp32 = {role: onnx_from_graph(graph) for role, graph in kind.graphs.items()}
    parity = _parities(kind, fp32, parity_runtimes(runtimes), say)
    runtimes = tuple(runtime for runtime in runtimes if runtime in parity or runtime not in parity_runtimes(runtimes))
    wanted = _render_torch(kind)
    model = kind.model(name, recipe.kind)
    work = Build(model, kind, fp32, wanted, runtimes, here, options, budget, notebook, say)
    made, missing = make_variants(work)
    files = {variant: {role: item.data for role, item in roles.items()} for variant, roles in made.items()}
    engines = build_engines(work, made)
    tried = plans(list(made), runtimes)
    for (variant, capability), roles in engines.items():
        if capability == here.gpu and not isinstance(roles, str):
            plan = Plan(variant, tensorrt.RUNTIME.name)
            files[file_key(plan)] = {role: engine.data for role, engine in roles.items()}
            tried.append(plan)
    results = judge_all(work, files, tried)
    bundle = assemble(work, meta, Findings(made, missing, parity, engines, results))
    if not told_left_out(work, missing, [j for result in results for j in result.judged]):
        discard_notes(name)
    chosen = next(iter(bundle.manifest.choice[here.cpu]))
    say(f"{bundle.directory}: version {bundle.version}, serving {', '.join(chosen.values())} on {here.cpu}")
    return bundle


def _parities(
    kind: GeneratorKind, fp32: Mapping[str, bytes], runtimes: Sequence[str], say: Say
) -> dict[str, list[Difference]]:
    """By runtime, without those that do not open the graph: what is not compared with PyTorch is no candidate.

    Raises `SessionError` where the reference's does not.
    """
    found = {}
    for runtime in runtimes:
        try:
            found[runtime] = _parity(kind, fp32, runtime)
        except SessionError as error:
            if runtime == REFERENCE.runtime:
                raise
            say(f"  {runtime} cannot be compared with PyTorch, so it is no candidate: {error}")
    return found


def _parity(kind: GeneratorKind, fp32: Mapping[str, bytes], runtime: str) -> list[Difference]:
    differences: list[Difference] = []
    for role, graph in kind.graphs.items():
        expected = reference(graph, PARITY_SEED)
        spec = tapped_spec(graph, expected)
        with open_session(runtime, expose_tap(fp32[role], graph.tap), spec, kind.resources.threads) as session:
            differences += compare(graph, session, expected, PARITY_SEED)
    return differences


def _render_torch(kind: GeneratorKind) -> Any:
    """FP32 PyTorch's own media: every variant is compared with them."""
    sessions = {role: graph.torch_session() for role, graph in kind.graphs.items()}
    return kind.render(sessions, QUALITY_ROWS, QUALITY_SEED)
