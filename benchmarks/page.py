"""Figures for people: one self-contained page per benchmark, artifacts/reports/benchmarks/NAME.html."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from export.environment import environment
from handlers.files import write_file

FOLDER = Path("artifacts/reports/benchmarks")
TEMPLATE = Path(__file__).parent / "page.html.j2"


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, a sentence or two, and a picture or a table (its first row are the headings)."""

    title: str
    text: str
    picture: str | None = None
    rows: Sequence[Sequence[Any]] = ()


def write(name: str, figures: Mapping[str, Any], sections: Sequence[Section]) -> Path:
    """Write the page of a benchmark; returns its path."""
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(TEMPLATE.read_text())
    plain = {
        key: value for key, value in figures.items() if isinstance(value, (int, float, str, bool)) or value is None
    }
    path = FOLDER / f"{name}.html"
    write_file(path, template.render(name=name, figures=plain, environment=environment(), sections=sections).encode())
    return path


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, log: bool = False, dashed: Sequence[str] = ()
) -> str:
    """Lines of (x, y) points, drawn; a data URI."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for label, all_points in lines.items():
        points = [point for point in all_points if not math.isnan(point[1])]  # NaN: nothing was answered there
        if points:
            style = "--" if label in dashed else "-"
            axes.plot(*zip(*points, strict=True), style, marker="o", markersize=4, linewidth=1.4, label=label)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize=8)
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    return _data_uri(figure)


def bars(values: Mapping[str, float], unit: str) -> str:
    """One bar per name, drawn; a data URI."""
    figure = Figure(figsize=(9, 0.6 + 0.42 * len(values)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(
        list(values), list(values.values()), color=["#1a7f37" if n == "atelier" else "#8c959f" for n in values]
    )
    axes.bar_label(drawn, fmt=" {:.0f}", fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.margins(x=0.12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _data_uri(figure)


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
