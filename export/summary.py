"""What a certificate says of a device class, in sentences that a person reads first."""

from __future__ import annotations

from export.budget import left_out
from export.eager import NAME
from handlers.certificate import Certificate, Device, FailedVariant, JudgedCandidate
from handlers.manifest import Candidate, Manifest
from handlers.runtimes.registry import find

INT8 = "int8"  # what the names of quantized forms begin with


def first_line(manifest: Manifest, certificate: Certificate, where: str) -> str:
    """What is served on a device class and what that gains; of FP32 also why it is not INT8."""
    device, policy = certificate.devices[where], certificate.policy
    served = _served(manifest, where)
    entry = device.candidates[_plan_id(served)]
    form = f"{_number_format(served)} in {_title(served.runtime)}"
    gain = _over_eager(device, entry, policy.serving_batch)
    if _number_format(served) == "FP32":
        gained = "" if gain is None else f", {gain:.1f} times {NAME}"
        why = _why_not_int8(device, entry, certificate)
        return f"On this processor ({where}) {form} is served{gained}: {why}."
    if gain is None:
        speedup = entry.at(policy.serving_batch).speedup
        return f"On this processor ({where}) {form} is {speedup:.1f} times as fast as the FP32 reference."
    return f"On this processor ({where}) {form} is {gain:.1f} times as fast as {NAME}."


def paragraph(manifest: Manifest, certificate: Certificate, where: str) -> str:
    """How that was found out: what was tried, what it was held to, what else could be served."""
    device, policy = certificate.devices[where], certificate.policy
    late = [name for name, entry in device.candidates.items() if left_out(entry.reason)]
    entries = [entry for name, entry in device.candidates.items() if name not in late]
    count = {word: sum(entry.verdict == word for entry in entries) for word in ("passed", "rejected", "failed")}
    budget = ", ".join(f"{name} at least {bound:g}" for name, bound in policy.budget.items())
    served = device.candidates[_plan_id(_served(manifest, where))]
    found = ", ".join(f"{name} {served.quality[name]:.4g}" for name in policy.budget) if served.quality else ""
    sentences = [
        f"{len(entries)} candidates were tried: {count['passed']} passed, {count['rejected']} were rejected, "
        f"{count['failed']} failed; FP32 in ONNX Runtime is the reference, which is served if nothing passes.",
        f"To pass, a candidate has to be inside the quality budget ({budget}), to give a row the same bits in any "
        f"batch, and to be {policy.min_speedup:g} times as fast as the reference at batch {policy.serving_batch}, "
        "beyond the noise of the blocks that were timed.",
    ]
    forms = [
        f"the form {name}"
        for name, files in certificate.variants.items()
        if isinstance(files, FailedVariant) and left_out(files.failed)
    ]
    if late or forms:
        sentences.insert(
            0,
            f"The build's time was used up before all was tried, so something faster may be missing; left out: "
            f"{', '.join([*forms, *late])}. The same command with more --minutes goes on with them.",
        )
    if found:
        sentences.append(f"What is served has {found} against PyTorch.")
    if device.final:
        sentences.append(f"The fastest were timed among each other: {device.final}.")
    undecided = [name for name, entry in device.candidates.items() if "undecided" in entry.reason]
    if undecided:
        sentences.append(f"Undecided on this machine, so not served: {', '.join(undecided)}.")
    return " ".join(sentences)


def _served(manifest: Manifest, where: str) -> Candidate:
    """The candidate that is served first there; of several graphs that of the first, they are in one form."""
    return manifest.candidate(next(iter(manifest.choice[where][0].values())))


def _plan_id(candidate: Candidate) -> str:
    """The name of a candidate's plan, which certificates use."""
    precision = "" if candidate.precision == "f32" else f"-{candidate.precision}"
    return f"{candidate.variant}-{candidate.runtime}{precision}"


def _number_format(candidate: Candidate) -> str:
    if candidate.variant.startswith(INT8):
        return "INT8"
    return "FP16" if candidate.variant == "fp16" else "FP32" if candidate.precision == "f32" else "BF16"


def _title(runtime: str) -> str:
    return find(runtime).title or runtime


def _over_eager(device: Device, entry: JudgedCandidate, batch: int) -> float | None:
    """How many times as fast as PyTorch eager an entry is; None where one of them was not measured."""
    eager = {speed.batch: speed.speedup for speed in device.eager}
    own = {speed.batch: speed.speedup for speed in entry.speed}
    return own[batch] / eager[batch] if batch in eager and batch in own else None


def _why_not_int8(device: Device, served: JudgedCandidate, certificate: Certificate) -> str:
    """The reason in words, by the INT8 candidate that came nearest: inside the budget if there is one, and fast."""
    policy = certificate.policy
    batch = policy.serving_batch
    measured = [(n, e) for n, e in device.candidates.items() if n.startswith(INT8) and e.speed]
    if not measured:
        return "FP32 is kept, because no INT8 form of it was measured"
    name, entry = max(measured, key=lambda item: item[1].at(batch).speedup)
    ratio = entry.at(batch).speedup / served.at(batch).speedup
    if not ratio > 1:
        return (
            f"FP32 is fastest, because INT8 gains nothing: the fastest form of it ({name}) has {ratio:.2f} of its speed"
        )
    fast = f"FP32 is kept, because INT8 ({name}), {ratio:.2f} times as fast,"
    if entry.quality and any(not entry.quality[figure] >= bound for figure, bound in policy.budget.items()):
        return f"{fast} is outside the quality budget"
    if entry.batch_invariant is False:
        return f"{fast} gives a row other bits in another batch"
    if "undecided" in entry.reason:
        return f"{fast} owes that to noise for all that could be measured: it is undecided"
    return f"{fast} is not {policy.min_speedup:g} times as fast as the reference, which is wanted for another format"
