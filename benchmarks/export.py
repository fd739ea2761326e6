"""Speed and faithfulness of the certified choice, against PyTorch eager.

Speed: `hdgan` at paper size (512 channels, 64x64, 1.435 GMAC an image), whose weights do not matter for it: trained
for one step if it is absent. Its chosen candidate and PyTorch eager run in a process each, in alternating blocks, the
other one blocked; both warmed up at every batch size. The figure is the median over blocks of eager's median time over
the candidate's. Quality: the chosen candidate of a *trained* dcgan, the one of `make demo`, trained if it is absent, on
the 256 latents its certificate was made with. Closed loop, one caller, no server: this is the engine alone.
"""

from __future__ import annotations

from typing import Any

from export.build import build
from export.eager import NAME, eager_opener
from export.judge import BATCHES, QUALITY_SEED
from export.measure import Contestant, roles_opener
from export.options import Options
from export.plans import REFERENCE, Plan
from export.speed import QUICK, Effort, compare_speed
from handlers import bundle as bundles
from handlers.bundle import Bundle
from handlers.certificate import FailedVariant, JudgedCandidate
from handlers.manifest import BundleError
from handlers.runtimes.device import machine, thread_count
from handlers.sampling.philox import normals
from training import checkpoint
from training.__main__ import main as train

SPEED_MODEL, QUALITY_MODEL = "bench-hdgan", "dcgan"
SPEED_RECIPE = ["hdgan", "--name", SPEED_MODEL, "--preset", "paper", "--steps", "1", "--batch-size", "4"]


def run(quick: bool) -> dict[str, Any]:
    """All figures of this benchmark; builds what is absent first."""
    speed = ensure(SPEED_MODEL, [*SPEED_RECIPE, "--world-size", "64"], quick)
    quality = ensure(QUALITY_MODEL, ["dcgan", "--name", QUALITY_MODEL, "--preset", "demo"], quick)
    chosen = speed.manifest.choice[machine().cpu][0]["generator"]
    candidate = speed.manifest.candidate(chosen)
    latent = int(speed.manifest.graphs["generator"].inputs[0].shape[1])
    inputs = {
        batch: {"generator": {"z": normals(range(QUALITY_SEED, QUALITY_SEED + batch), latent)}} for batch in BATCHES
    }
    threads = speed.manifest.resources.threads
    graph = (speed.read_file(candidate.file), speed.manifest.graphs["generator"])
    opener = roles_opener(candidate.runtime, {"generator": graph}, {}, threads, candidate.precision)
    eager = eager_opener(checkpoint.directory(SPEED_MODEL), thread_count(threads))
    with Contestant(NAME, eager) as reference, Contestant(chosen, opener) as contestant:
        measured = compare_speed(contestant, reference, inputs, QUICK if quick else Effort())
    served = chosen_entry(quality)
    if served.quality is None:
        raise ValueError(f"what {QUALITY_MODEL} serves has no figures of quality: {served.reason}")
    return {
        "chosen": chosen,
        **{f"speedup_b{s.batch}": s.speedup for s in measured.speeds},
        **{f"p50_ms_b{s.batch}": s.p50_ms for s in measured.speeds},
        "quality_chosen": quality.manifest.choice[machine().cpu][0]["generator"],
        "psnr_db": served.quality["psnr_db"],
        "psnr_db_worst": served.quality["psnr_db_worst"],
        "size_ratio": size_ratio(quality),
        "batch_invariant": served.batch_invariant and chosen_entry(speed).batch_invariant,
        "tensorrt_engines": sum(not isinstance(e, str) for e in speed.certificate.engines.values()),
        "onnxruntime_int8_static": entry(speed, Plan("int8_static", "onnxruntime")).reason,
    }


def ensure(name: str, training: list[str], quick: bool) -> Bundle:
    """The bundle called `name`, certified on this device class; trained and built if it is absent."""
    if not (checkpoint.directory(name) / checkpoint.META).exists() and train(training) != 0:
        raise RuntimeError(f"training {name} failed; see above")
    try:
        bundle = bundles.read(bundles.directory(name))
        if machine().cpu in bundle.manifest.choice and any(c.id != REFERENCE.id for c in bundle.manifest.candidates):
            return bundle
    except BundleError as error:
        print(f"building {name}: {error}")
    return build(name, Options(quick=quick))


def entry(bundle: Bundle, plan: Plan) -> JudgedCandidate:
    """The certificate's entry of a plan on this device class."""
    return bundle.certificate.devices[machine().cpu].candidates[plan.id]


def chosen_entry(bundle: Bundle) -> JudgedCandidate:
    """The certificate's entry of what is served on this device class."""
    candidate = bundle.manifest.candidate(bundle.manifest.choice[machine().cpu][0]["generator"])
    return entry(bundle, Plan(candidate.variant, candidate.runtime, candidate.precision))


def size_ratio(bundle: Bundle) -> float:
    """Bytes of the served file over those of FP32's."""
    candidate = bundle.manifest.candidate(bundle.manifest.choice[machine().cpu][0]["generator"])
    files = bundle.certificate.variants[candidate.variant]
    if isinstance(files, FailedVariant):
        raise ValueError(f"{candidate.id} is served, and its variant could not be made: {files.failed}")
    return files[candidate.role].size_ratio
