"""Images from noise: one graph `generator`, z (B, Z) float32 -> image (B, S, S, 3) uint8.

The way from [-1, 1] to bytes is inside the graph, so that it exists once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.graphs import GeneratorKind, Graph
from export.quality import image_quality
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.limits import BatchLimits
from handlers.manifest import Resources
from handlers.media.image import CONTENT_TYPES
from handlers.params import MAX_SEED, ParamSpec
from handlers.runtimes.session import Session
from handlers.sampling.philox import normals

MAX_N = 16
BATCH = 16  # requests computed together: on CPUs as fast as 32, and refusals come sooner (docs/decisions.md)
QUEUE = 112  # requests that may wait beside those: a quarter of a second of work on two fast cores
TILE = 32  # images per engine call: bounds the memory of a batch
PARAMS = (
    ParamSpec("seed", "integer", "what the image is drawn from; absent: drawn for you and returned", None, 0, MAX_SEED),
    ParamSpec("n", "integer", "number of images; image i uses seed + i", 1, 1, MAX_N),
    ParamSpec(
        "truncation", "number", "how far from the average image: 0 is the average, 1 the full variety", 1.0, 0, 1
    ),
    ParamSpec("format", "string", "file format of the images", "png", choices=tuple(CONTENT_TYPES)),
    ParamSpec("quality", "integer", "for jpeg (default 90) and webp (default 90) alone", None, 1, 100, unit="percent"),
    ParamSpec("grid", "boolean", "one contact sheet instead of single images", False),
)


class ImageGraph(nn.Module):
    """A generator with its tail: z (B, Z) -> pixels (B, 3, S, S) in [-1, 1], image (B, S, S, 3) uint8."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, Z) -> the tap `pixels` (B, 3, S, S), the output `image` (B, S, S, 3)."""
        pixels = self.generator(z)
        levels = torch.round((pixels + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1)
        return pixels, levels.to(torch.uint8)


def describe(generator: nn.Module) -> GeneratorKind:
    """The kind of a trained generator with `config.latent` and `config.image_size`."""
    latent, side = int(generator.config.latent), int(generator.config.image_size)  # type: ignore[union-attr,arg-type]

    def inputs(count: int, seed: int) -> dict[str, NDArray[np.float32]]:
        return {"z": normals(range(seed, seed + count), latent)}

    def render(sessions: Mapping[str, Session], count: int, seed: int) -> NDArray[np.uint8]:
        rows = inputs(count, seed)["z"]
        run = sessions["generator"].run
        return np.concatenate([run({"z": rows[at : at + TILE]})["image"] for at in range(0, count, TILE)])

    spec = GraphSpec(
        inputs=(TensorSpec("z", "float32", ("batch", latent)),),
        outputs=(TensorSpec("image", "uint8", ("batch", side, side, 3)),),
    )
    graph = Graph(ImageGraph(generator), spec, "pixels", tap_tolerance=1e-3, output_tolerance=1, inputs=inputs)
    limits = BatchLimits(
        max_tile=TILE,
        max_slots=BATCH,
        max_queue=QUEUE,
        max_seconds=60,
        max_compute_seconds=30,
        max_request_bytes=64 * 1024,
        max_response_bytes=16 * 1024 * 1024,
    )
    return GeneratorKind(
        graphs={"generator": graph},
        params=PARAMS,
        limits=limits,
        content_types=(*CONTENT_TYPES.values(), "application/json"),
        scope="image:generate",
        resources=Resources(
            lane="batch", threads=0, memory_mb=_memory_mb(generator, side), workers=1, batch_size=limits.max_slots
        ),
        example={"seed": 7},
        render=render,
        quality=image_quality,
        budget={"psnr_db": 42.0, "psnr_db_worst": 40.0},
        golden_items=tuple({"seed": seed, "truncation": t} for seed, t in ((0, 1.0), (1, 1.0), (2**40, 0.5), (7, 0.0))),
    )


def _memory_mb(generator: nn.Module, side: int) -> int:
    """Memory of a worker, an upper bound in MB: interpreter, runtime, weights twice, a tile at the widest stages."""
    weights = sum(parameter.numel() for parameter in generator.parameters()) * 4
    width = max((parameter.shape[1] for parameter in generator.parameters() if parameter.dim() == 4), default=1)
    activations = TILE * width * (side // 2) ** 2 * 4 * 2
    return 250 + (2 * weights + activations) // 2**20
