"""TensorRT engines of a build, ahead of time, for every compute capability that the library can build for."""

from __future__ import annotations

from export.context import Build
from export.make_variants import Variants
from export.quantize import VariantError
from export.to_tensorrt import CAPABILITIES, EngineFile, build_engine
from handlers.runtimes.tensorrt import RUNTIME

Engines = dict[tuple[str, str], dict[str, EngineFile] | str]  # (variant, capability) -> role -> engine, or why not


def build_engines(build: Build, made: Variants) -> Engines:
    """The engines of every variant TensorRT takes; a reason in place of those that cannot be built."""
    engines: Engines = {}
    if RUNTIME.name not in build.runtimes:
        return engines
    here = build.here.gpu
    capabilities = CAPABILITIES if here is None or here in CAPABILITIES else (*CAPABILITIES, here)
    seconds, built = 0.0, 0
    for variant in (v for v in made if v in RUNTIME.variants):
        for capability in capabilities:
            try:
                roles = {
                    role: build_engine(made[variant][role].data, graph.spec, capability, graph.free)
                    for role, graph in build.kind.graphs.items()
                }
            except VariantError as error:
                engines[variant, capability] = str(error)
                build.say(f"  {variant}-{RUNTIME.name} {capability}: failed: {error}")
                continue
            engines[variant, capability] = roles
            seconds += sum(engine.build_s for engine in roles.values())
            built += len(roles)
    build.say(f"  {built} TensorRT engines built ahead of time in {seconds:.1f} s ({', '.join(capabilities)})")
    return engines
