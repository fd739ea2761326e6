"""A bundle's certificate for people: report.html (one self-contained file) and report.md, under artifacts/reports/NAME."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from export.judge import SERVING_BATCH
from export.previews import address, previews
from handlers.bundle import Bundle, write_file

REPORTS = Path("artifacts/reports")
TEMPLATE = Path(__file__).parent / "report.html.j2"
COLOURS = {"reference": "#444444", "passed": "#1a7f37", "rejected": "#b35900", "failed": "#cf222e"}


def report(bundle: Bundle) -> Path:
    """Write both reports; returns the path of the HTML one."""
    folder = REPORTS / bundle.manifest.name
    certificate = bundle.certificate
    rows = {where: _rows(device) for where, device in certificate["devices"].items()}
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(TEMPLATE.read_text())
    text = page.render(
        name=bundle.manifest.name,
        version=bundle.version,
        manifest=bundle.manifest,
        certificate=certificate,
        rows=rows,
        plots={where: _plot(device, certificate["policy"]) for where, device in certificate["devices"].items()},
        previews=previews(bundle),
        quality_names=_quality_names(certificate),
        colours=COLOURS,
        serving_batch=SERVING_BATCH,
    )
    write_file(folder / "report.html", text.encode())
    write_file(folder / "report.md", _markdown(bundle, rows).encode())
    return folder / "report.html"


def _rows(device: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per candidate and batch size; a candidate that failed has one row without figures."""
    rows = []
    for name, entry in device["candidates"].items():
        for speed in entry["speed"] or [None]:
            rows.append({"candidate": name, **entry, "figures": speed, "quality": entry["quality"] or {}})
    return rows


def _markdown(bundle: Bundle, rows: Mapping[str, list[dict[str, Any]]]) -> str:
    certificate = bundle.certificate
    policy = certificate["policy"]
    budget = ", ".join(f"{name} at least {bound:g}" for name, bound in policy["budget"].items())
    lines = [
        f"# {bundle.manifest.name} {bundle.version}",
        "",
        f"{bundle.manifest.recipe} at step {certificate['step']}, certified {certificate['date']}. A candidate is served if it is "
        f"inside the quality budget ({budget}), batch-invariant, and {policy['min_speedup']} times as fast as FP32 on "
        f"ONNX Runtime at batch {policy['serving_batch']}.",
    ]
    for where, entries in rows.items():
        environment = certificate["devices"][where]["environment"]
        lines += [
            "",
            f"## {where} ({environment['cpu']}, {environment['cores']} cores)",
            "",
            "Served, in this order: "
            + ", ".join(" + ".join(o.values()) for o in bundle.manifest.choice.get(where, ()))
            + ".",
            "",
            f"| candidate | batch | p50 ms | p95 ms | items/s | speedup | load ms | peak MB | {' | '.join(policy['budget'])} | verdict |",
            "|---|---|---|---|---|---|---|---|" + "---|" * len(policy["budget"]) + "---|",
        ]
        for row in entries:
            figures, quality = row["figures"], row["quality"]
            if figures is None:
                empty = "| " * (7 + len(policy["budget"]))
                lines.append(f"| {row['candidate']} {empty}| {row['verdict']}: {_cell(row['reason'])} |")
                continue
            lines.append(
                f"| {row['candidate']} | {figures['batch']} | {figures['p50_ms']:.2f} | {figures['p95_ms']:.2f} "
                f"| {figures['items_per_s']:.0f} | {figures['speedup']:.2f} | {row['load_ms']:.0f} | {row['peak_memory_mb']:.0f} "
                f"| {' | '.join(f'{quality[name]:.5g}' for name in policy['budget'])} "
                f"| {row['verdict']}: {_cell(row['reason'])} |"
            )
    lines += ["", "## Variants", "", "| variant | file size of FP32's | how |", "|---|---|---|"]
    for variant, roles in certificate["variants"].items():
        if "failed" in roles:
            lines.append(f"| {variant} | | failed: {_cell(roles['failed'])} |")
            continue
        for item in roles.values():
            how = ", ".join(f"{key}: {value}" for key, value in item["how"].items())
            lines.append(f"| {variant} | {item['size_ratio']:.3f} | {_cell(how)} |")
    lines += ["", "## TensorRT engines", ""]
    for name, engine in certificate["engines"].items():
        lines.append(f"- {name}: {engine if isinstance(engine, str) else 'built ahead of time, not measured here'}")
    if not certificate["engines"]:
        lines.append("none were built")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def _plot(device: Mapping[str, Any], policy: Mapping[str, Any]) -> str:
    """Latency at the serving batch size against the first figure of the budget, as a data address."""
    metric, bound = next(iter(policy["budget"].items()))
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    shown = sorted(
        (next(s["p50_ms"] for s in entry["speed"] if s["batch"] == policy["serving_batch"]), name, entry)
        for name, entry in device["candidates"].items()
        if entry["speed"]
    )
    for number, (p50, name, entry) in enumerate(shown, 1):
        label = f"{number}  {name} ({entry['verdict']})"
        axes.scatter(p50, entry["quality"][metric], color=COLOURS[entry["verdict"]], s=45, zorder=3, label=label)
        offset = (-3, 7 if number % 2 else -15)  # neighbours get their numbers above and below
        axes.annotate(
            str(number), (p50, entry["quality"][metric]), xytext=offset, textcoords="offset points", fontsize=9
        )
    axes.axhline(bound, color="#cf222e", linewidth=1, linestyle="--", label=f"budget: {metric} at least {bound:g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="minor", labelsize=8)
    axes.set_xlabel(f"milliseconds at batch {policy['serving_batch']} (log scale)")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3, which="both")
    axes.margins(x=0.1, y=0.15)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return address(buffer.getvalue())


def _quality_names(certificate: Mapping[str, Any]) -> list[str]:
    """Every figure of quality that some candidate has, in order."""
    entries = [entry for device in certificate["devices"].values() for entry in device["candidates"].values()]
    return list(dict.fromkeys(name for entry in entries for name in entry["quality"] or {}))
