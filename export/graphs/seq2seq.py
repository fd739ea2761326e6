"""Text from text: two graphs, `encoder` and `decoder_step`, over the same weights as in training.

A variant is judged along the texts that FP32 PyTorch writes for held-out sources: by the expected perplexity under
FP32's own distribution, by how often both prefer the same token, and by how much ROUGE-L its own texts lose against the
references.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from export.decode import MULTIPLE, decode, first_inputs, likeliest, whole_steps
from export.graphs import GeneratorKind, Graph
from export.graphs.sources import (
    LENGTHS,
    TOKENS,
    BertGraph,
    encoder_graph,
    encoder_inputs,
    free_sizes,
    is_too_long,
    limits_of,
    reading_mb,
)
from export.graphs.text_schema import CONTENT_TYPES, LIMITS, MAX_STOP, MAX_STOP_CHARACTERS, SCOPE, params_of, resources
from export.quality import score_quality
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.limits import SourceLimits
from handlers.runtimes.session import Session
from handlers.text.tokenizer import BEGIN
from training.encoding import encode
from training.models.cells import CELLS
from training.models.seq2seq import ModelConfig, Seq2Seq
from training.rouge import rouge
from training.seq2seq_checkpoint import Trained

# A log-probability may be a hundredth off, which is 1 % of a probability: of one of 1e-6, rounding alone makes a few
# thousandths.
TOLERANCE = {"encoder": 1e-3, "decoder_step": 1e-2}
EXAMPLE_STEPS = 4  # after which a state is one that occurs in service
GOLDEN: tuple[dict[str, Any], ...] = (
    {"seed": 0},
    {"seed": 2**40, "temperature": 0.8, "top_k": 20, "top_p": 0.9},
    {"seed": 7, "beams": 4},
)
BYTES_PER_TOKEN = 12  # more than any usual text has


class DecoderGraph(nn.Module):
    """One token of the decoder, for the exporter: the network's `step` with every state an argument of its own."""

    def __init__(self, network: Seq2Seq) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, token: Tensor, feed: Tensor, tokens: Tensor, memory: Tensor, lengths: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """Inputs and results of `Seq2Seq.step`; the states, (B, L, H) each, follow one by one."""
        return self.network.step(token, feed, tokens, memory, lengths, state)


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A variant's results for the held-out sources: scores (P, V) along FP32's texts, and greedy texts of its own."""

    scores: NDArray[np.float32]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def describe(model: nn.Module) -> GeneratorKind:
    """The kind of a trained `summarizer` or `dialogue`."""
    assert isinstance(model, Trained)
    network, config = model.network, model.network.config
    names, never = CELLS[config.cell].states, model.tokens.never
    pairs = [encode(model.tokens, pair, config, model.task, model.words) for pair in model.held_out]
    references = [pair.target for pair in model.held_out]

    @functools.cache
    def path(count: int) -> tuple[tuple[int, ...], ...]:
        """Tokens that FP32 writes greedily for the first `count` sources, END included unless the text was cut."""
        return tuple(tuple(tokens) for tokens, _ in decode(plain(), pairs[:count], None, config.max_target, never))

    def render(sessions: Mapping[str, Session], count: int, seed: int) -> Rendered:
        used = pairs[:count]
        forced = decode(sessions, used, path(count), config.max_target, never)
        free = decode(sessions, used, None, config.max_target, never)
        texts = tuple(model.tokens.decode(tokens) for tokens, _ in free)
        return Rendered(np.concatenate([scores for _, scores in forced]), texts)

    def quality(wanted: Rendered, found: Rendered) -> dict[str, float]:
        reference = references[: len(wanted)]
        of_wanted, of_found = rouge(reference, wanted.texts)["rouge_l"], rouge(reference, found.texts)["rouge_l"]
        return {
            **score_quality(wanted.scores, found.scores),
            "rouge_l": of_found,
            "rouge_l_kept": round(1 + of_found - of_wanted, 4),
        }

    def rows(count: int, seed: int) -> dict[str, NDArray[np.int64]]:
        return whole_steps([pairs[(seed + at) % len(pairs)] for at in range(count)])

    def read(count: int, seed: int) -> dict[str, NDArray[Any]]:
        found = rows(count, seed)
        return {spec.name: found[spec.name] for spec in specs["encoder"].inputs}

    def decoder_inputs(count: int, seed: int) -> dict[str, NDArray[Any]]:
        state = first_inputs(plain(), rows(count, seed))
        token = np.full(count, BEGIN, np.int64)
        for _ in range(EXAMPLE_STEPS):
            found = plain()["decoder_step"].run({"token": token, **state})
            token = likeliest(found["logits"], never)
            state |= {name: found[f"next_{name}"] for name in ("feed", *names)}
        return {"token": token, **state}

    specs, sizes = _specs(config, names), free_sizes(config)
    graphs = {
        role: Graph(
            module.eval(),
            specs[role],
            None,
            TOLERANCE[role],
            TOLERANCE[role],
            inputs,
            free={name: sizes[name] for name in sizes if any(name in spec.shape for spec in specs[role].inputs)},
            written_out=None if isinstance(module, BertGraph) else config.cell.upper(),
        )
        for role, module, inputs in (
            ("encoder", encoder_graph(network), read),
            ("decoder_step", DecoderGraph(network), decoder_inputs),
        )
    }

    @functools.cache
    def plain() -> dict[str, Session]:
        return {role: graph.torch_session() for role, graph in graphs.items()}

    chat = model.task == "dialogue"
    first = model.held_out[0].source
    asked = _request(first, chat) | ({"truncate": True} if is_too_long(model, first) else {})
    limits = SourceLimits(
        **LIMITS,
        max_source=config.max_source,
        max_source_bytes=config.max_source * BYTES_PER_TOKEN,
        source_multiple=MULTIPLE,
        **limits_of(config),
        max_stop=MAX_STOP,
        max_stop_characters=MAX_STOP_CHARACTERS,
        max_request_bytes=512 * 1024,
    )
    return GeneratorKind(
        graphs=graphs,
        params=params_of(chat, config.max_target),
        limits=limits,
        content_types=CONTENT_TYPES,
        scope=SCOPE,
        resources=resources(_memory_mb(network, config)),
        example=asked,
        render=render,
        quality=quality,
        budget={"greedy_agreement": 0.99, "perplexity_kept": 0.99, "rouge_l_kept": 0.99},
        golden_items=tuple(
            {**_request(pair.source, chat), **more, "truncate": True}
            for pair, more in zip(
                (model.held_out * 3)[:3],
                GOLDEN,
                strict=True,
            )
        ),
        calls={"decoder_step": max(1, round(float(np.mean([len(pair.target) for pair in pairs]))))},
        assets={"tokenizer": model.tokens.data} | ({"source_tokenizer": model.words.data} if model.words else {}),
    )


def _request(turns: Sequence[str], chat: bool) -> dict[str, Any]:
    if not chat:
        return {"text": turns[0]}
    return {"messages": [{"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(turns)]}


def _specs(config: ModelConfig, names: Sequence[str]) -> dict[str, GraphSpec]:
    def states(prefix: str = "") -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(f"{prefix}{name}", "float32", ("batch", config.layers, config.hidden)) for name in names
        )

    memory = TensorSpec("memory", "float32", ("batch", "source", config.hidden))
    return {
        "encoder": GraphSpec(encoder_inputs(config), (memory, *states())),
        "decoder_step": GraphSpec(
            (
                TensorSpec("token", "int64", ("batch",)),
                TensorSpec("feed", "float32", ("batch", config.hidden)),
                TOKENS,
                memory,
                LENGTHS,
                *states(),
            ),
            (
                TensorSpec("logits", "float32", ("batch", config.vocabulary)),
                TensorSpec("weights", "float32", ("batch", "source")),
                TensorSpec("next_feed", "float32", ("batch", config.hidden)),
                *states("next_"),
            ),
        ),
    }


def _memory_mb(network: nn.Module, config: ModelConfig) -> int:
    """Memory of proxy and engine, an upper bound in MB: two interpreters, runtime, tokenizer, weights twice, rows."""
    weights = sum(parameter.numel() for parameter in network.parameters()) * 4
    return 300 + 2 * weights // 2**20 + reading_mb(config)
