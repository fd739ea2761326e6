"""A text handler as TorchServe's documentation would teach it: eager PyTorch, one request at a time, token by token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ts.torch_handler.base_handler import BaseHandler


class StockTextHandler(BaseHandler):  # type: ignore[misc]
    """initialize, preprocess, inference, postprocess; the likeliest token is taken."""

    def initialize(self, context: Any) -> None:
        """Load the checkpoint that the archive names."""
        from training.seq2seq import load_generator

        folder = Path(context.system_properties["model_dir"])
        settings = json.loads((folder / "model.json").read_text())
        _, self.trained = load_generator(Path(settings["checkpoint"]))
        self.initialized = True

    def preprocess(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The parameters of every request."""
        bodies: list[Any] = [item.get("body", item.get("data")) for item in data]
        return [json.loads(bytes(body)) if isinstance(body, (bytes, bytearray)) else body for body in bodies]

    def inference(self, data: list[dict[str, Any]], *args: Any, **kwargs: Any) -> list[list[int]]:
        """FP32, eager."""
        return [self._write(params["text"], params.get("min_tokens", 0), params["max_tokens"]) for params in data]

    def postprocess(self, data: list[list[int]]) -> list[dict[str, Any]]:
        """Text and number of tokens."""
        return [{"text": self.trained.tokens.decode(tokens), "tokens": len(tokens)} for tokens in data]

    @torch.inference_mode()
    def _write(self, text: str, least: int, most: int) -> list[int]:
        from training.encoding import padded
        from training.models.seq2seq import BEGIN, END

        network = self.trained.network
        ids = self.trained.tokens.encode(text)[: network.config.max_source]
        source, lengths = padded([np.array(ids, np.int32)])
        memory, *state = network.encode(source, lengths)
        token, feed = torch.tensor([BEGIN]), torch.zeros(1, network.config.hidden)
        written: list[int] = []
        while len(written) < most:
            logits, _, feed, *state = network.step(token, feed, source, memory, lengths, tuple(state))
            logits[:, self.trained.tokens.never + ([END] if len(written) < least else [])] = -torch.inf
            token = logits.argmax(dim=1)
            if int(token) == END:
                break
            written.append(int(token))
        return written
