"""A handler of sounds as TorchServe's documentation teaches it: PyTorch runs the model eagerly, `wave` writes the file.

A class whose weights and config stand in a checkpoint of ours; the network definition is imported from the project.
"""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler


class StockAudioHandler(BaseHandler):  # type: ignore[misc]
    """initialize, preprocess, inference, postprocess."""

    def initialize(self, context: Any) -> None:
        """Load the network of the checkpoint that the archive names."""
        from training.wavegan import load_generator

        folder = Path(context.system_properties["model_dir"])
        _, self.model = load_generator(Path(json.loads((folder / "model.json").read_text())["checkpoint"]))
        self.initialized = True

    def preprocess(self, data: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """One latent and one class per request, from its seed."""
        config = self.model.config
        rows, labels = [], []
        for item in data:
            body: Any = item.get("body", item.get("data"))
            params = json.loads(bytes(body)) if isinstance(body, (bytes, bytearray)) else body
            rows.append(torch.randn(config.latent, generator=torch.Generator().manual_seed(params["seed"])))
            labels.append(params["seed"] % len(config.classes))
        return torch.stack(rows), torch.tensor(labels)

    def inference(self, data: tuple[torch.Tensor, torch.Tensor], *args: Any, **kwargs: Any) -> torch.Tensor:
        """FP32, eager."""
        with torch.inference_mode():
            sounds: torch.Tensor = self.model(*data)
        return sounds

    def postprocess(self, data: torch.Tensor) -> list[bytes]:
        """WAV files of 16 bits."""
        files = []
        for samples in (data.clamp(-1, 1) * 32767).round().short().numpy():
            buffer = io.BytesIO()
            with wave.open(buffer, "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(self.model.config.rate)
                file.writeframes(samples.tobytes())
            files.append(buffer.getvalue())
        return files
