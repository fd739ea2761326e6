"""A bundle's certificate as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from export.report_rows import Row
from handlers.bundle import Bundle
from handlers.certificate import Certificate, FailedVariant


def markdown(bundle: Bundle, rows: Mapping[str, Sequence[Row]]) -> str:
    """The text of report.md; `rows` are those of each device class."""
    certificate, manifest = bundle.certificate, bundle.manifest
    policy = certificate.policy
    budget = ", ".join(f"{name} at least {bound:g}" for name, bound in policy.budget.items())
    lines = [
        f"# {manifest.name} {bundle.version}",
        "",
        f"{manifest.recipe} at step {certificate.step}, certified {certificate.date}. A candidate is served if it is "
        f"inside the quality budget ({budget}), batch-invariant, and {policy.min_speedup} times as fast as FP32 on "
        f"ONNX Runtime at batch {policy.serving_batch}.",
    ]
    for where, entries in rows.items():
        environment = certificate.devices[where].environment
        limited = f"; {found}" if (found := environment.get("limits")) else ""  # absent in older certificates
        served = ", ".join(" + ".join(option.values()) for option in manifest.choice.get(where, ()))
        lines += [
            "",
            f"## {where} ({environment['cpu']}, {environment['cores']} cores{limited})",
            "",
            f"Served, in this order: {served}.",
            "",
            *_figures(entries, list(policy.budget)),
        ]
    lines += ["", "## Variants", "", *_variants(certificate), "", "## TensorRT engines", ""]
    for name, engine in certificate.engines.items():
        lines.append(f"- {name}: {engine if isinstance(engine, str) else 'built ahead of time, not measured here'}")
    if not certificate.engines:
        lines.append("none were built")
    return "\n".join(lines) + "\n"


def _figures(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """The table of one device class."""
    names = ["candidate", "batch", "p50 ms", "p95 ms", "items/s", "speedup", "load ms", "peak MB", *metrics, "verdict"]
    lines = [_line(names), "|" + "---|" * len(names)]
    for row in rows:
        entry, figures = row.entry, row.figures
        verdict = f"{entry.verdict}: {_cell(entry.reason)}"
        if figures is None:
            lines.append(_line([row.candidate, *[""] * (len(names) - 2), verdict]))
            continue
        cells = [
            row.candidate,
            str(figures.batch),
            f"{figures.p50_ms:.2f}",
            f"{figures.p95_ms:.2f}",
            f"{figures.items_per_s:.0f}",
            f"{figures.speedup:.2f}",
            f"{entry.load_ms:.0f}",
            f"{entry.peak_memory_mb:.0f}",
            *(f"{row.quality[name]:.5g}" for name in metrics),
            verdict,
        ]
        lines.append(_line(cells))
    return lines


def _variants(certificate: Certificate) -> list[str]:
    lines = ["| variant | file size of FP32's | how |", "|---|---|---|"]
    for variant, roles in certificate.variants.items():
        if isinstance(roles, FailedVariant):
            lines.append(f"| {variant} | | failed: {_cell(roles.failed)} |")
            continue
        for item in roles.values():
            how = ", ".join(f"{key}: {value}" for key, value in item.how.items())
            lines.append(f"| {variant} | {item.size_ratio:.3f} | {_cell(how)} |")
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
