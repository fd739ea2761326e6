"""The drawn faces: a deterministic world of simple portraits, at any resolution, each with attributes and a caption.

Face `i` of a seed is always the same face: its attributes come from a counter-based generator keyed by (seed, i), and
the picture is evaluated analytically (signed distance fields), so 32 and 512 pixels show the same drawing. A shape's
coverage of a pixel is its distance to the edge in pixels, clamped: that is all the anti-aliasing there is.

Dimensions: N faces, S side of the picture in pixels. Coordinates: x to the right, y down, both in [-1, 1].
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data import ImageSet
from training.draws import Draws

NAME = "faces"
VERSION = 2  # raise it when a drawing changes: it is part of the recorded data name
_ZOOM = np.float32(0.84)  # the picture shows [-0.84, 0.84]: the head fills it, so that 32 pixels are enough for eyes
_CHUNK = 128  # faces drawn at once: bounds the memory of the field arrays

SKIN = {
    "pale": (246, 214, 190),
    "light": (232, 188, 156),
    "tan": (206, 156, 118),
    "brown": (158, 108, 76),
    "dark": (104, 68, 48),
}
HAIR = {
    "black": (32, 28, 30),
    "brown": (92, 58, 36),
    "blond": (222, 184, 104),
    "red": (170, 72, 36),
    "grey": (158, 158, 164),
}
EYES = {"brown": (88, 54, 30), "blue": (52, 116, 190), "green": (60, 138, 84)}
BACKGROUND = {
    "blue": (110, 158, 206),
    "green": (130, 180, 132),
    "yellow": (232, 206, 120),
    "pink": (226, 158, 176),
    "grey": (176, 180, 186),
}
SHIRT = ((58, 72, 110), (150, 52, 56), (60, 110, 84), (236, 234, 228), (64, 62, 68))
HAIR_STYLES = ("short", "long", "curly", "bald")
MOUTHS = ("smiling", "serious", "open-mouthed")

Field = NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True)
class Face:
    """The attributes of one face: those that its caption names, and that a classifier could be trained to find."""

    skin: str
    hair_style: str
    hair: str
    eyes: str
    mouth: str
    glasses: bool
    background: str

    @property
    def caption(self) -> str:
        """One English sentence that states every attribute."""
        hair = "a bald head" if self.hair_style == "bald" else f"{self.hair_style} {self.hair} hair"
        glasses = " and glasses" if self.glasses else ""
        return (
            f"a {self.mouth} person with {self.skin} skin, {hair}, {self.eyes} eyes{glasses} "
            f"in front of a {self.background} background"
        )


def face(seed: int, index: int) -> tuple[Face, dict[str, Any]]:
    """Attributes of face `index`, and the continuous numbers (colours, positions) of its drawing."""
    draws = Draws(seed, index)
    attributes = Face(
        skin=draws.pick(tuple(SKIN)),
        hair_style=draws.pick(HAIR_STYLES),
        hair=draws.pick(tuple(HAIR)),
        eyes=draws.pick(tuple(EYES)),
        mouth=draws.pick(MOUTHS),
        glasses=draws.unit() < 0.3,
        background=draws.pick(tuple(BACKGROUND)),
    )
    jitter = [draws.between(-1.0, 1.0) for _ in range(12)]
    tint = [draws.bell() for _ in range(5)]

    def colour(rgb: tuple[int, int, int], spread: float, which: int) -> NDArray[np.float64]:
        return np.asarray(np.clip(np.array(rgb) / 255.0 + spread * tint[which], 0.0, 1.0))

    drawing = {
        "skin": colour(SKIN[attributes.skin], 0.02, 0),
        "hair": colour(HAIR[attributes.hair], 0.02, 1),
        "eyes": colour(EYES[attributes.eyes], 0.02, 2),
        "background": colour(BACKGROUND[attributes.background], 0.03, 3),
        "shirt": colour(draws.pick(SHIRT), 0.02, 4),
        "x": 0.05 * jitter[0],
        "y": 0.04 + 0.03 * jitter[1],
        "tilt": 0.09 * jitter[2],
        "width": 0.46 + 0.035 * jitter[3],
        "height": 0.60 + 0.035 * jitter[4],
        "eye_gap": 0.195 + 0.02 * jitter[5],
        "eye_size": 0.088 + 0.010 * jitter[6],
        "eye_y": -0.06 + 0.02 * jitter[7],
        "gaze": 0.022 * jitter[8],
        "brow": 0.018 * jitter[9],
        "mouth_width": 0.19 + 0.03 * jitter[10],
        "mouth_y": 0.315 + 0.015 * jitter[11],
        "glasses": float(attributes.glasses),
        "smile": {"smiling": 1.0, "serious": 0.0, "open-mouthed": 0.25}[attributes.mouth],
        "open": float(attributes.mouth == "open-mouthed"),
        **{style: float(attributes.hair_style == style) for style in HAIR_STYLES},
    }
    return attributes, drawing


def render(seed: int, indices: range, size: int) -> NDArray[np.uint8]:
    """The faces `indices` of `seed` as (N, size, size, 3) RGB."""
    images = np.empty((len(indices), size, size, 3), np.uint8)
    for at in range(0, len(indices), _CHUNK):
        images[at : at + _CHUNK] = _render_chunk(seed, indices[at : at + _CHUNK], size)
    return images


def image_set(size: int, count: int, seed: int = 0) -> ImageSet:
    """The first `count` faces of the world, with the digest of their pixels."""
    images = render(seed, range(count), size)
    return ImageSet(
        name=f"drawn-faces-v{VERSION}-{size}px-{count}",
        images=images,
        sha256=hashlib.sha256(images.data).hexdigest(),
        licence="Apache-2.0",
        source="drawn by training/data/faces.py",
    )


class _Canvas:
    """N pictures painted layer by layer; colours (N, 3), shapes as signed distances (N, S, S), negative inside."""

    def __init__(self, n: int, size: int) -> None:
        self.pixel = 2.0 * _ZOOM / size
        self.image = np.zeros((n, size, size, 3), np.float32)

    def paint(self, distance: Field, colour: Field, strength: Any = 1.0, blur: float = 0.0) -> None:
        """Lay `colour` over the inside of the shape; `blur` softens its edge by that many units."""
        cover = np.clip(0.5 - distance / (self.pixel + blur), 0.0, 1.0) * strength
        self.image += cover[..., None] * (colour[:, None, None, :] - self.image)


def _ellipse(x: Field, y: Field, cx: Any, cy: Any, rx: Any, ry: Any) -> Field:
    """Approximate signed distance to an axis-aligned ellipse: exact on the edge, right in scale near it."""
    u, v = (x - cx) / rx, (y - cy) / ry
    r = np.sqrt(u * u + v * v) + 1e-6
    return np.asarray((r - 1.0) * r / (np.sqrt((u / rx) ** 2 + (v / ry) ** 2) + 1e-6), np.float32)


def _render_chunk(seed: int, indices: range, size: int) -> NDArray[np.uint8]:
    drawings = [face(seed, i)[1] for i in indices]
    n = len(drawings)
    p = {  # scalars as (N, 1, 1), colours as (N, 3)
        key: np.array([d[key] for d in drawings], np.float32).reshape(
            (n, -1) if np.ndim(drawings[0][key]) else (n, 1, 1)
        )
        for key in drawings[0]
    }
    axis = _ZOOM * ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1)
    px, py = axis[None, None, :], axis[None, :, None]  # (1, 1, S), (1, S, 1)
    canvas = _Canvas(n, size)
    canvas.image += (p["background"][:, None, None, :] * (1.08 - 0.16 * (py + 1) / 2)[..., None]).astype(np.float32)

    # Head coordinates: shifted and tilted, so that every feature moves with the head.
    cos, sin = np.cos(p["tilt"]), np.sin(p["tilt"])
    x = cos * (px - p["x"]) + sin * (py - p["y"])
    y = -sin * (px - p["x"]) + cos * (py - p["y"])
    side = np.abs(x)
    _paint_hair_behind(canvas, p, x, y)
    canvas.paint(_ellipse(px, py, p["x"] * 0.5, 1.12, 0.74, 0.40), p["shirt"])
    shade = p["skin"] * 0.86
    canvas.paint(np.maximum(side - 0.155, np.abs(y - 0.62) - 0.22), shade)  # neck
    canvas.paint(_ellipse(side, y, p["width"], 0.02, 0.07, 0.12), shade)  # ears
    head = _ellipse(x, y, 0.0, 0.0, p["width"], p["height"])
    canvas.paint(head, p["skin"])
    inside = np.maximum(head, _ellipse(x, y, 0.32, 0.18, 0.30, 0.55))  # soft shadow on the right
    canvas.paint(inside, shade, strength=0.45, blur=0.25)
    blush = np.clip(p["skin"] * np.array([1.02, 0.86, 0.84], np.float32), 0, 1)
    canvas.paint(_ellipse(side, y, 0.26, 0.17, 0.10, 0.07), blush, strength=0.6, blur=0.1)
    _paint_eyes(canvas, p, x, y)
    _paint_nose_and_mouth(canvas, p, x, y)
    _paint_hair_front(canvas, p, x, y, head)
    _paint_glasses(canvas, p, x, y)
    return np.asarray(np.rint(np.clip(canvas.image, 0, 1) * 255), np.uint8)


def _paint_hair_behind(canvas: _Canvas, p: dict[str, Field], x: Field, y: Field) -> None:
    dark = p["hair"] * 0.82
    long = np.minimum(
        _ellipse(x, y, 0.0, -0.06, p["width"] + 0.15, p["height"] + 0.10),
        np.maximum(np.abs(x) - (p["width"] + 0.13), np.abs(y - 0.38) - 0.44),
    )
    canvas.paint(long, dark, strength=p["long"])
    angle = np.arctan2(x, -y)
    curls = _ellipse(x, y, 0.0, -0.16, p["width"] + 0.17, p["height"] - 0.02) - 0.035 * np.cos(angle * 13)
    canvas.paint(curls.astype(np.float32), dark, strength=p["curly"])


def _paint_hair_front(canvas: _Canvas, p: dict[str, Field], x: Field, y: Field, head: Field) -> None:
    cap = _ellipse(x, y, 0.0, -0.04, p["width"] + 0.05, p["height"] + 0.06)
    # The hair line: a curve across the forehead, parted to one side for long hair.
    line = y + 0.30 - 0.45 * x * x
    parted = y + 0.34 - 0.55 * (x + 0.12) ** 2
    fringe = np.where(p["long"] > 0, parted, line)
    hair = np.maximum(cap, fringe).astype(np.float32)
    canvas.paint(hair, p["hair"], strength=1.0 - p["bald"])
    light = np.clip(p["hair"] * 1.25 + 0.05, 0, 1)
    canvas.paint(
        np.maximum(hair + 0.05, _ellipse(x, y, -0.18, -0.50, 0.20, 0.09)), light, 0.5 * (1 - p["bald"]), blur=0.08
    )
    shine = np.clip(p["skin"] * 1.12 + 0.03, 0, 1)
    canvas.paint(np.maximum(head, _ellipse(x, y, -0.14, -0.42, 0.14, 0.09)), shine, 0.7 * p["bald"], blur=0.08)


def _paint_eyes(canvas: _Canvas, p: dict[str, Field], x: Field, y: Field) -> None:
    n = len(p["skin"])
    white = np.full((n, 3), 0.97, np.float32)
    black = np.full((n, 3), 0.06, np.float32)
    side, r = np.abs(x), p["eye_size"]
    outline = p["skin"] * 0.55
    eye = _ellipse(side, y, p["eye_gap"], p["eye_y"], r * 1.25, r * 0.86)
    canvas.paint(eye - 0.016, outline)
    canvas.paint(eye, white)
    for sign in (-1.0, 1.0):  # the gaze goes the same way in both eyes, so they are drawn one by one
        cx = sign * p["eye_gap"] + p["gaze"]
        iris = _ellipse(x, y, cx, p["eye_y"], r * 0.70, r * 0.70)
        canvas.paint(np.maximum(iris, eye), p["eyes"])
        canvas.paint(_ellipse(x, y, cx, p["eye_y"], r * 0.34, r * 0.34), black)
        canvas.paint(_ellipse(x, y, cx - r * 0.25, p["eye_y"] - r * 0.28, r * 0.2, r * 0.2), white, strength=0.9)
    brow_y = p["eye_y"] - 0.155 - p["brow"] + 0.10 * (side - p["eye_gap"]) ** 2 * 8
    brow = np.maximum(np.abs(side - p["eye_gap"]) - 0.115, np.abs(y - brow_y) - 0.022)
    canvas.paint(brow.astype(np.float32), np.where(p["bald"][:, 0] > 0, p["skin"] * 0.45, p["hair"] * 0.75))


def _paint_nose_and_mouth(canvas: _Canvas, p: dict[str, Field], x: Field, y: Field) -> None:
    n = len(p["skin"])
    shade = p["skin"] * 0.74
    canvas.paint(_ellipse(x, y, 0.0, 0.135, 0.062, 0.042), shade, strength=0.9, blur=0.02)
    canvas.paint(_ellipse(x, y, -0.01, 0.105, 0.045, 0.045), p["skin"] * 1.02, strength=0.9, blur=0.02)
    canvas.paint(np.maximum(np.abs(x - 0.03) - 0.008, np.abs(y - 0.03) - 0.09), shade, strength=0.5, blur=0.03)

    lips = p["skin"] * np.array([0.80, 0.48, 0.48], np.float32)
    inner = np.tile(np.array([0.32, 0.08, 0.09], np.float32), (n, 1))
    teeth = np.full((n, 3), 0.95, np.float32)
    w, my = p["mouth_width"], p["mouth_y"]
    bend = my - p["smile"] * 1.6 * x * x + p["smile"] * 0.03  # corners go up when smiling
    line = np.maximum(np.abs(x) - w, np.abs(y - bend) - (0.022 + 0.010 * p["smile"]))
    canvas.paint(line.astype(np.float32), lips, strength=1.0 - p["open"])
    grin = np.maximum(np.abs(x) - w * 0.72, np.abs(y - bend - 0.004) - 0.014)
    canvas.paint(grin.astype(np.float32), teeth, strength=p["smile"] * (p["smile"] > 0.9))
    mouth = _ellipse(x, y, 0.0, my + 0.01, w * 0.62, 0.085)
    canvas.paint(mouth - 0.022, lips, strength=p["open"])
    canvas.paint(mouth, inner, strength=p["open"])
    canvas.paint(np.maximum(mouth, y - my + 0.035).astype(np.float32), teeth, strength=p["open"])


def _paint_glasses(canvas: _Canvas, p: dict[str, Field], x: Field, y: Field) -> None:
    frame = np.full((len(p["skin"]), 3), 0.10, np.float32)
    glass = np.full((len(p["skin"]), 3), 0.92, np.float32)
    lens = _ellipse(np.abs(x), y, p["eye_gap"] + 0.01, p["eye_y"] + 0.01, 0.165, 0.145)
    canvas.paint(lens, glass, strength=0.16 * p["glasses"])
    rim = np.abs(lens) - 0.020
    arms = np.maximum(np.abs(np.abs(x) - 0.42) - 0.06, np.abs(y - p["eye_y"]) - 0.016)
    bridge = np.maximum(np.abs(x) - 0.05, np.abs(y - p["eye_y"] + 0.02) - 0.016)
    canvas.paint(np.minimum(np.minimum(rim, arms), bridge).astype(np.float32), frame, strength=p["glasses"])
