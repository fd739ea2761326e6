"""A generator that changes a picture, for tests of uploads: it inverts the picture and draws the seed into it.

It is written like those of handlers/generators/, imports handlers alone, and is put beside them in a copy of handlers/
(`with_image_to_image`), so that a real server can serve it. Its graph is the one of the images that it is built on: it
makes the golden items, which the engine compares before it serves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.generator import Media, Request
from handlers.generators.latent_image import LatentImage
from handlers.limits import PictureLimits
from handlers.media import image as media
from handlers.media.picture import decode
from handlers.params import check_all, draw_seed
from handlers.refusals import Refusal
from handlers.spool import Upload, read

SEED_BITS = 53
SLOW = 666_004  # a seed that takes its time, so that others come meanwhile
SLOW_SECONDS = 0.3


@dataclasses.dataclass(frozen=True)
class ChangeParams:
    """Parameters of one request."""

    image: Upload
    pixels: NDArray[np.uint8] = dataclasses.field(repr=False)  # (H, W, 3)
    seed: int
    format: str
    rows: int = 1

    @property
    def content_type(self) -> str:
        """Of the answer."""
        return media.CONTENT_TYPES[self.format]

    def public(self) -> dict[str, Any]:
        """The parameters as they were honoured: of the picture its digest."""
        return {"image": self.image.public(), "seed": self.seed, "format": self.format}


class ImageToImage(LatentImage):
    """BatchGenerator: a picture (H, W, 3) -> the same inverted, with the seed in its first row."""

    def __init__(self, model: Any, sessions: Any) -> None:
        super().__init__(model, sessions)
        self._limits = model.limits_as(PictureLimits)

    def parse(self, request: Request) -> Any:
        """Check one request, and read its picture. Raises `Refusal`."""
        values = check_all(request.params, self._specs)
        if (upload := values["image"]) is None:
            raise Refusal(400, "image is missing; send one", "image")
        pixels = decode(read(upload, self._limits.max_upload_bytes, "image"), self._limits.max_pixels, "image")
        seed = draw_seed() if values["seed"] is None else values["seed"]
        return ChangeParams(upload, pixels, seed, values["format"])

    def generate(self, batch: Sequence[Any]) -> list[Media]:
        """One picture per item."""
        if any(item.seed == SLOW for item in batch):
            time.sleep(SLOW_SECONDS)
        return [Media(media.encode_image(changed(i.pixels, i.seed), i.format, None, self._tool)) for i in batch]


def changed(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """What the generator makes: (H, W, 3) inverted; black and white pixels of the first row are the seed's bits."""
    made = 255 - pixels
    bits = [255 * (seed >> bit & 1) for bit in range(SEED_BITS)][: made.shape[1]]
    made[0, : len(bits)] = np.array(bits, np.uint8)[:, None]
    return made


def digest(pixels: NDArray[np.uint8]) -> str:
    """sha256 of pixels and their shape, in hex."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
