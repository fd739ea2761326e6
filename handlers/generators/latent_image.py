"""Images from noise (dcgan, hdgan): one graph, latents in, finished uint8 images out.

Dimensions: B images in a tile, Z latent, S side in pixels.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.generator import Media, Model, Request
from handlers.media import image as media
from handlers.params import MAX_SEED, check_all, draw_seed
from handlers.refusals import Refusal
from handlers.runtimes.session import Session
from handlers.sampling import philox

ROLE = "generator"
RUN_SECONDS = 5.0  # a run of the graph takes about as long at most: of large pictures on slow machines it has fewer


@dataclasses.dataclass(frozen=True)
class LatentParams:
    """The checked parameters of one request; the fields are the request's own names."""

    seed: int
    n: int
    truncation: float
    format: str
    quality: int | None
    grid: bool

    def public(self) -> dict[str, Any]:
        """The honoured parameters; `quality` only where the format has one."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}

    @property
    def content_type(self) -> str:
        """One image file, or JSON with several."""
        return media.CONTENT_TYPES[self.format] if self.grid or self.n == 1 else "application/json"

    @property
    def rows(self) -> int:
        """How many images it wants."""
        return self.n

    @property
    def seeds(self) -> range:
        """Image i of n uses seed + i, so that each can be had alone."""
        return range(self.seed, self.seed + self.n)


class LatentImage:
    """BatchGenerator over the role `generator`: z (B, Z) float32 -> image (B, S, S, 3) uint8."""

    def __init__(self, model: Model, sessions: Mapping[str, Session]) -> None:
        self._specs = model.params
        self._session = sessions[ROLE]
        self._latent = int(model.graphs[ROLE].inputs[0].shape[1])
        self._tile = model.limits.max_tile
        self._tool = f"Atelier {model.name} {model.version}"
        self._run = self._tile  # images of the next run of the graph
        self.alive: Callable[[], None] = lambda: None

    def parse(self, request: Request) -> LatentParams:
        """Check one request. Raises `Refusal`."""
        values = check_all(request.params, self._specs)
        if values["seed"] is None:
            values["seed"] = min(draw_seed(), MAX_SEED - values["n"] + 1)
        if values["seed"] + values["n"] - 1 > MAX_SEED:
            raise Refusal(400, f"seed + n - 1 is over {MAX_SEED}; image i of n uses seed + i: lower the seed", "seed")
        if values["format"] in media.LOSSY:
            values["quality"] = values["quality"] or media.DEFAULT_QUALITY
        elif values["quality"] is not None:
            raise Refusal(
                400, f"{values['format']} has no quality; leave it out, or use format jpeg or webp", "quality"
            )
        return LatentParams(**values)

    def generate(self, batch: Sequence[LatentParams]) -> list[Media]:
        """One answer per item: an image, a contact sheet, or JSON with several images."""
        answers: list[Media] = []
        for group in self._groups(batch):  # encoded and let go group by group: that bounds the memory of a batch
            pixels = self._pixels([(seed, item.truncation) for item in group for seed in item.seeds])
            at = 0
            for item in group:
                answers.append(self._answer(item, pixels[at : at + item.n]))
                at += item.n
                self.alive()
        return answers

    def _groups(self, batch: Sequence[LatentParams]) -> Iterator[list[LatentParams]]:
        """Consecutive items whose images fill at most one tile (an item is never divided)."""
        group: list[LatentParams] = []
        for item in batch:
            if group and sum(other.n for other in group) + item.n > self._tile:
                yield group
                group = []
            group.append(item)
        if group:
            yield group

    def golden(self, params: Mapping[str, Any]) -> str:
        """sha256 of the pixels for a seed and truncation."""
        return hashlib.sha256(self._pixels([(params["seed"], params["truncation"])]).tobytes()).hexdigest()

    def preview(self, seeds: Sequence[int]) -> NDArray[np.uint8]:
        """Images (len(seeds), S, S, 3) of the seeds at full variety."""
        return self._pixels([(seed, 1.0) for seed in seeds])

    def _pixels(self, items: Sequence[tuple[int, float]]) -> NDArray[np.uint8]:
        """(seed, truncation) pairs -> images (len(items), S, S, 3), computed in tiles that bound the memory."""
        z = philox.normals([seed for seed, _ in items], self._latent)
        z *= np.array([truncation for _, truncation in items], np.float32)[:, None]  # docs/sampling.md
        tiles, at = [], 0
        while at < len(z):
            began, count = time.perf_counter(), min(self._run, len(z) - at)
            tiles.append(self._session.run({"z": z[at : at + count]})["image"])
            at += count
            each = (time.perf_counter() - began) / count
            self._run = max(1, min(self._tile, int(RUN_SECONDS / max(each, 1e-9))))
            self.alive()
        return tiles[0] if len(tiles) == 1 else np.concatenate(tiles)

    def _answer(self, item: LatentParams, images: NDArray[np.uint8]) -> Media:
        def file(pixels: NDArray[np.uint8]) -> bytes:
            return media.encode_image(pixels, item.format, item.quality, self._tool)

        if item.grid:
            return Media(file(media.contact_sheet(images)), item.n)
        if item.n == 1:
            return Media(file(images[0]))
        data = [
            {"b64_json": base64.b64encode(file(image)).decode(), "seed": seed}
            for image, seed in zip(images, item.seeds, strict=True)
        ]
        body = {"data": data, "content_type": media.CONTENT_TYPES[item.format]}
        return Media(json.dumps(body, separators=(",", ":")).encode(), item.n)
