"""An image handler as TorchServe's documentation teaches it: PyTorch runs the model eagerly, Pillow encodes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from ts.torch_handler.base_handler import BaseHandler


class StockHandler(BaseHandler):  # type: ignore[misc]
    """initialize, preprocess, inference, postprocess."""

    def initialize(self, context: Any) -> None:
        """Build the network from the files that lie in the archive, and load its weights."""
        from dcgan import Generator, ModelConfig  # type: ignore[import-not-found]  # the archive's model file

        folder = Path(context.system_properties["model_dir"])
        sizes = ModelConfig(**json.loads((folder / "model.json").read_text()))
        self.latent = sizes.latent
        self.model = Generator(sizes)
        self.model.load_state_dict(load_file(folder / context.manifest["model"]["serializedFile"]))
        self.model.eval()
        self.initialized = True

    def preprocess(self, data: list[dict[str, Any]]) -> torch.Tensor:
        """One latent per request, from its seed."""
        rows = []
        for item in data:
            body: Any = item.get("body", item.get("data"))
            params = json.loads(bytes(body)) if isinstance(body, (bytes, bytearray)) else body
            rows.append(torch.randn(self.latent, generator=torch.Generator().manual_seed(params["seed"])))
        return torch.stack(rows)

    def inference(self, data: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """FP32, eager."""
        with torch.inference_mode():
            images: torch.Tensor = self.model(data)
        return images

    def postprocess(self, data: torch.Tensor) -> list[bytes]:
        """PNG files as Pillow writes them."""
        pixels = ((data + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        files = []
        for image in pixels:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG", compress_level=1)
            files.append(buffer.getvalue())
        return files
