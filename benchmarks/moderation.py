"""What moderation costs: a prompt against 10,000 words, its two halves, a picture's hash, a list of blocked images."""

# ruff: noqa: RUF001  # what looks alike is what is timed
from __future__ import annotations

import dataclasses
import io
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.summary import Spread
from gateway.moderation.blocked import FORMAT, BlockList, blocked
from gateway.moderation.lists import Lists
from gateway.moderation.normal import normal
from gateway.phash import picture_hash
from handlers.runtimes.device import machine

WORDS, LETTERS, CHARACTERS = 10_000, (5, 12), 440
BLOCKED = 10_000
BLOCKS = 7  # of each figure, in turn
SENTENCE = "The harbour lies still at dawn, b0ats r-o-c-k softly, and a nаrrow street leads up to 古 老 的 灯塔. "


def run(quick: bool) -> dict[str, Any]:
    """Milliseconds of each, with their spread."""
    drawn = random.Random(7)
    words = ["".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=drawn.randint(*LETTERS))) for _ in range(WORDS)]
    text = (SENTENCE * 10)[:CHARACTERS]
    image = Image.effect_mandelbrot((512, 512), (-2, -1.5, 1, 1.5), 60)
    out = io.BytesIO()
    image.convert("RGB").save(out, "png")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "illicit.txt").write_text("\n".join(words))
        began = time.perf_counter()
        lists = Lists.read(Path(folder))
        read = time.perf_counter() - began
        images = BlockList(Path(folder) / "blocked.json")
        entries = [blocked(drawn.getrandbits(128), "a benchmark", "illicit") for _ in range(BLOCKED)]
        images.path.write_text(json.dumps({"format": FORMAT, "images": [dataclasses.asdict(one) for one in entries]}))
        images.load()
        found = picture_hash(out.getvalue())
        work: dict[str, Callable[[], object]] = {
            "text_ms": lambda: lists.hits(text),
            "normal_form_ms": lambda: normal(text),
            "ascii_text_ms": lambda: lists.hits(text.encode("ascii", "replace").decode()),
            "long_text_ms": lambda: lists.hits(text * 70),
            "picture_hash_ms": lambda: picture_hash(out.getvalue()),
            "block_list_ms": lambda: images.nearest(found, 10),
        }
        spreads = _timed(work, 0.05 if quick else 0.3)
    figures: dict[str, Any] = {name: round(spread.median, 4) for name, spread in spreads.items()}
    return {
        **figures,
        "words": WORDS,
        "characters": len(text),
        "read_lists_s": round(read, 3),
        "spreads": {name: str(spread) for name, spread in spreads.items()},
        "device_class": machine().cpu,
    }


def _timed(work: dict[str, Callable[[], object]], seconds: float) -> dict[str, Spread]:
    """Each in turn, so that what else the machine does is shared; the median of blocks."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(BLOCKS):
        for name, one in work.items():
            times, began = 0, time.perf_counter()
            while (spent := time.perf_counter() - began) < seconds or times < 2:
                one()
                times += 1
            found[name].append(spent / times * 1e3)
    return {name: Spread(statistics.median(some), min(some), max(some), len(some)) for name, some in found.items()}
