"""Pictures of a run: grids of samples, sounds and plots of its losses, each a PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training import files
from training.log import Log

_DRAWN = 400  # points of a waveform


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


def plot_sounds(
    waves: NDArray[np.float32], spectrograms: NDArray[np.float32], rate: int, titles: Sequence[str], path: Path
) -> None:
    """Waveforms (B, T) in [-1, 1] above their log-mel spectrograms (B, M, F) with a title each, as one PNG."""
    from matplotlib.figure import Figure

    columns = min(5, len(waves))
    rows = -(-len(waves) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.9 * rows), layout="constrained")
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1, 2] * rows)
    seconds = waves.shape[1] / rate
    for axis in axes.flat:
        axis.set_axis_off()
    for at, (wave, spectrogram, title) in enumerate(zip(waves, spectrograms, titles, strict=True)):
        above, below = axes[2 * (at // columns) : 2 * (at // columns) + 2, at % columns]
        # A column of pixels cannot show more than the lowest and the highest of its samples.
        length = max(1, len(wave) // _DRAWN)
        parts = wave[: len(wave) // length * length].reshape(-1, length)
        time = np.linspace(0, seconds, len(parts))
        above.fill_between(time, parts.min(axis=1), parts.max(axis=1), linewidth=0.3)
        above.set(xlim=(0, seconds), ylim=(-1, 1), title=title)
        below.imshow(spectrogram, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, len(spectrogram)))
        below.set_axis_on()
        below.tick_params(labelsize=6)
        below.set_yticks([])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
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
