"""A bundle's certificate for people: report.html (one self-contained file) and report.md in artifacts/reports/NAME."""

from __future__ import annotations

import io
from pathlib import Path

import jinja2
from matplotlib.figure import Figure

from export.eager import NAME
from export.previews import address, previews
from export.report_markdown import markdown
from export.report_rows import OTHERWISE, quality_names, rows_of
from export.summary import first_line, paragraph
from handlers.bundle import Bundle
from handlers.certificate import Device, Policy
from handlers.files import write_file

REPORTS = Path("artifacts/reports")
TEMPLATE = Path(__file__).parent / "report.html.j2"
COLOURS = {"reference": "#444444", "passed": "#1a7f37", "rejected": "#b35900", "failed": "#cf222e"}


def report(bundle: Bundle) -> Path:
    """Write both reports; returns the path of the HTML one."""
    folder = REPORTS / bundle.manifest.name
    certificate = bundle.certificate
    rows = {where: rows_of(device) for where, device in certificate.devices.items()}
    shown = previews(bundle)
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(TEMPLATE.read_text())
    text = page.render(
        name=bundle.manifest.name,
        version=bundle.version,
        manifest=bundle.manifest,
        certificate=certificate,
        rows=rows,
        plots={where: _plot(device, certificate.policy) for where, device in certificate.devices.items()},
        previews=shown,
        first_lines={where: first_line(bundle.manifest, certificate, where) for where in rows},
        paragraphs={where: paragraph(bundle.manifest, certificate, where) for where in rows},
        eager=NAME,
        otherwise=OTHERWISE,
        quality_names=quality_names(certificate),
        colours=COLOURS,
    )
    write_file(folder / "report.html", text.encode())
    write_file(folder / "report.md", markdown(bundle, rows, shown).encode())
    return folder / "report.html"


def _plot(device: Device, policy: Policy) -> str:
    """Latency at the serving batch size against the first figure of the budget, as a data address."""
    metric, bound = next(iter(policy.budget.items()))
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    shown = sorted(
        (entry.at(policy.serving_batch).p50_ms, name, entry.quality[metric], entry.verdict)
        for name, entry in device.candidates.items()
        if entry.speed and entry.quality
    )
    for number, (p50, name, quality, verdict) in enumerate(shown, 1):
        label = f"{number}  {name} ({verdict})"
        axes.scatter(p50, quality, color=COLOURS[verdict], s=45, zorder=3, label=label)
        offset = (-3, 7 if number % 2 else -15)  # neighbours get their numbers above and below
        axes.annotate(str(number), (p50, quality), xytext=offset, textcoords="offset points", fontsize=9)
    axes.axhline(bound, color="#cf222e", linewidth=1, linestyle="--", label=f"budget: {metric} at least {bound:g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="minor", labelsize=8)
    axes.set_xlabel(f"milliseconds at batch {policy.serving_batch} (log scale)")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3, which="both")
    axes.margins(x=0.1, y=0.15)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return address(buffer.getvalue())
