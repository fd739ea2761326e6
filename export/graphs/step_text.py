"""Text byte by byte: one graph `step`, token (B,) and the state (B, L, H) each -> logits (B, V) and the state after it.

A state is h and c of an LSTM, h alone of an RNN or a GRU: each is an input NAME and an output next_NAME.

A variant is judged along texts that FP32 PyTorch wrote: by the expected perplexity under FP32's own distribution, and
by how often both prefer the same byte. So no corpus is needed, and the positions are those that occur in service.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.graphs import GeneratorKind, Graph
from export.graphs.text_schema import CONTENT_TYPES, LIMITS, SCOPE, SLOTS, resources
from export.quality import score_quality
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.limits import PromptLimits
from handlers.params import MAX_SEED, ParamSpec
from handlers.runtimes.session import Session
from handlers.sampling.philox import uniforms

MAX_TOKENS = 1024
MAX_PROMPT_BYTES = 1024
RENDER_STEPS = 48  # of each text that variants are compared along
EXAMPLE_STEPS = 24  # after which a state is one that occurs in service
PARAMS = (
    ParamSpec("prompt", "string", "how the text begins; it is not repeated in the answer", ""),
    ParamSpec("max_tokens", "integer", "the most bytes to write", 256, 1, MAX_TOKENS, unit="bytes"),
    ParamSpec("temperature", "number", "0 always takes the likeliest byte, 1 draws as the model believes", 0.7, 0, 2),
    ParamSpec("top_k", "integer", "draw among the k likeliest bytes alone; 0 for all", 0, 0, 256),
    ParamSpec("seed", "integer", "what the text is drawn with; absent: drawn for you and returned", None, 0, MAX_SEED),
    ParamSpec("stream", "boolean", "send the text as it is written, as server-sent events", False),
)


class StepGraph(nn.Module):
    """One step of a language model, batch first in everything."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """token (B,), state (B, L, H) each -> logits (B, V), state after it (B, L, H) each."""
        results: tuple[Tensor, ...] = self.model.step(token, *state)  # type: ignore[operator]
        return results


def describe(model: nn.Module) -> GeneratorKind:
    """The kind of a trained model with `step`, `zeros`, `state_names` and `config.{cell, layers, hidden}`."""
    trained: Any = model
    names: tuple[str, ...] = trained.state_names
    layers, hidden = int(trained.config.layers), int(trained.config.hidden)
    graph = StepGraph(model).eval()

    @functools.cache
    def written(count: int, steps: int, seed: int) -> tuple[NDArray[np.int64], list[Tensor]]:
        """Bytes (count, steps) that FP32 draws, and its state after them; a text that ends is followed by another."""
        draws = uniforms(range(seed, seed + count), steps)
        state, token, tokens = list(trained.zeros(count)), torch.zeros(count, dtype=torch.int64), []
        with torch.inference_mode():
            for step in range(steps):
                tokens.append(token)
                begun = (token != 0)[:, None, None]
                logits, *state = graph(token, *(tensor * begun for tensor in state))
                upto = torch.softmax(logits.double(), dim=1).cumsum(dim=1)
                token = (upto < torch.from_numpy(draws[:, step : step + 1])).sum(dim=1).clamp(max=upto.shape[1] - 1)
        return torch.stack(tokens, dim=1).numpy(), state

    def inputs(count: int, seed: int) -> dict[str, NDArray[Any]]:
        tokens, state = written(count, EXAMPLE_STEPS, seed)
        return {"token": tokens[:, -1].copy(), **{name: s.numpy() for name, s in zip(names, state, strict=True)}}

    def render(sessions: Mapping[str, Session], count: int, seed: int) -> NDArray[np.float32]:
        """Scores (count, RENDER_STEPS, V) along what FP32 wrote."""
        tokens, _ = written(count, RENDER_STEPS, seed)
        parts = []
        for at in range(0, count, SLOTS):
            rows = tokens[at : at + SLOTS]  # (B, T)
            state = dict.fromkeys(names, np.zeros((len(rows), layers, hidden), np.float32))
            scores = []
            for token in rows.T:
                begun = (token != 0)[:, None, None]
                found = sessions["step"].run({"token": token.copy(), **{k: v * begun for k, v in state.items()}})
                state = {name: found[f"next_{name}"] for name in names}
                scores.append(found["logits"])
            parts.append(np.stack(scores, axis=1))
        return np.concatenate(parts)

    state_shape = ("batch", layers, hidden)
    spec = GraphSpec(
        inputs=(
            TensorSpec("token", "int64", ("batch",)),
            *(TensorSpec(name, "float32", state_shape) for name in names),
        ),
        outputs=(
            TensorSpec("logits", "float32", ("batch", 256)),
            *(TensorSpec(f"next_{name}", "float32", state_shape) for name in names),
        ),
    )
    operator = str(trained.config.cell).upper()  # RNN, LSTM and GRU are what ONNX calls them, too
    step = Graph(graph, spec, None, tap_tolerance=1e-3, output_tolerance=1e-3, inputs=inputs, written_out=operator)
    return GeneratorKind(
        graphs={"step": step},
        params=PARAMS,
        limits=PromptLimits(**LIMITS, max_prompt_bytes=MAX_PROMPT_BYTES, max_request_bytes=64 * 1024),
        content_types=CONTENT_TYPES,
        scope=SCOPE,
        resources=resources(_memory_mb(model)),
        example={"seed": 7, "max_tokens": 64},
        render=render,
        quality=score_quality,
        budget={"greedy_agreement": 0.99, "perplexity_kept": 0.99},
        golden_items=(
            {"seed": 0, "max_tokens": 48, "temperature": 1.0},
            {"seed": 2**40, "max_tokens": 48, "temperature": 0.7, "top_k": 8},
            {"seed": 7, "max_tokens": 48, "temperature": 0.0, "prompt": "The "},
        ),
    )


def _memory_mb(model: nn.Module) -> int:
    """Memory of proxy and engine, an upper bound in MB: two interpreters, the runtime, the weights twice."""
    weights = sum(parameter.numel() for parameter in model.parameters()) * 4
    return 250 + 2 * weights // 2**20
