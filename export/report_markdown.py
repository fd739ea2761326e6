"""A bundle's certificate as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from export.previews import Preview
from export.report_rows import Row
from export.summary import first_line, paragraph
from handlers.bundle import Bundle
from handlers.certificate import Certificate, FailedVariant


def markdown(bundle: Bundle, rows: Mapping[str, Sequence[Row]], shown: Sequence[Preview]) -> str:
    """The text of report.md: sentences, texts that were written, then figures; `rows` are those of a device class."""
    certificate, manifest = bundle.certificate, bundle.manifest
    lines = [first_line(manifest, certificate, where) for where in rows]
    lines += ["", f"# {manifest.name} {bundle.version}", ""]
    lines += [f"{manifest.recipe} at step {certificate.step}, certified {certificate.date}."]
    for where in rows:
        lines += ["", f"{where}: {paragraph(manifest, certificate, where)}"]
    for preview in shown[:1]:  # the reference's; all of them, and images, are in report.html
        lines += ["", "## What it makes", "", *(f"- {_cell(text)}" for text in preview.texts)]
        lines += ["Images are in report.html, which stands beside this file."] * bool(preview.images)
        lines += ["Sounds are in report.html, which stands beside this file."] * bool(preview.sounds)
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
            *_figures(entries, list(certificate.policy.budget)),
        ]
    lines += ["", "## Variants", "", *_variants(certificate), "", "## TensorRT engines", ""]
    for name, engine in certificate.engines.items():
        lines.append(f"- {name}: {engine if isinstance(engine, str) else 'built ahead of time, not measured here'}")
    if not certificate.engines:
        lines.append("none were built")
    return "\n".join(lines) + "\n"


def _figures(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """The table of one device class."""
    names = ["candidate", "batch", "p50 ms", "p95 ms", "items/s", "times reference", "times eager"]
    names += ["load ms", "peak MB", *metrics, "verdict"]
    lines = [_line(names), "|" + "---|" * len(names)]
    for row in rows:
        entry, figures = row.entry, row.figures
        if figures is None:
            lines.append(_line([row.candidate, *[""] * (len(names) - 2), _cell(row.verdict)]))
            continue
        cells = [
            row.candidate,
            str(figures.batch),
            f"{figures.p50_ms:.2f}",
            f"{figures.p95_ms:.2f}",
            f"{figures.items_per_s:.0f}",
            f"{figures.speedup:.2f}",
            "" if row.of_eager is None else f"{row.of_eager:.2f}",
            f"{entry.load_ms:.0f}" if entry else "",
            f"{entry.peak_memory_mb:.0f}" if entry else "",
            *(f"{row.quality[name]:.5g}" if name in row.quality else "" for name in metrics),
            _cell(row.verdict),
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
