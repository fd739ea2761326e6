"""Pictures of a run: grids of samples and plots of its losses, each a PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training import files
from training.log import Log


def save_grid(images: NDArray[np.uint8], path: Path, columns: int = 8, scale: int = 2) -> None:
    """Images (N, S, S, 3) as one PNG, row by row, each pixel enlarged `scale` times."""
    n, side = images.shape[0], images.shape[1]
    rows = -(-n // columns)
    padded = np.zeros((rows * columns, side, side, 3), np.uint8)
    padded[:n] = images
    sheet = padded.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    picture = Image.fromarray(sheet).resize((sheet.shape[1] * scale, sheet.shape[0] * scale), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    files.write(path, buffer.getvalue())


def plot_losses(log: Log, path: Path, curves: tuple[str, ...], right: tuple[str, ...] = ()) -> None:
    """Curves of the log against the step, as a PNG; those of `right` against an axis of their own."""
    from matplotlib.figure import Figure

    lines = log.read()
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()

    def points(curve: str) -> list[tuple[float, float]]:
        return [(line["step"], line[curve]) for line in lines if curve in line]

    for curve in curves:
        if points(curve):
            axes.plot(*zip(*points(curve), strict=True), label=curve, linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    shown = [curve for curve in right if points(curve)]
    if shown:
        beside = axes.twinx()
        for curve, style in zip(shown, ("k.--", "C3.:", "C4.-."), strict=False):
            beside.plot(*zip(*points(curve), strict=True), style, label=f"{curve} (right)")
        beside.set_ylim(bottom=0)
        beside.legend(loc="upper right")
    if axes.lines:
        axes.legend(loc="upper left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    files.write(path, buffer.getvalue())
