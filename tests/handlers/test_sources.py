"""Sources in service: the numbers of training, the limits of both tokenizers, answers that do not depend on company."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from handlers.engine.choice import open_engine
from handlers.generator import Request
from handlers.generators.seq2seq import Seq2Seq
from handlers.limits import SourceLimits
from handlers.refusals import Refusal
from handlers.text.sources import Source, Sources
from handlers.text.tokenizer import SubwordTokenizer, WordPieces
from tests.conftest import Tiny
from tests.support.helpers import finish, source_limits, start
from tests.support.tiny_bert import word_pieces
from tests.training.test_encoding import FILE, MODEL, SHAPE, TURNS
from tests.training.test_encoding import TOKENS as TRAINED
from tests.training.test_encoding import WORDS as TRAINED_WORDS
from training.data import Pair
from training.encoding import encode

LIMITS = source_limits(max_source=MODEL.max_source, max_pieces=SHAPE.positions, max_source_bytes=400)
SERVED = Sources(
    SubwordTokenizer(TRAINED.data, TRAINED.scored), LIMITS, "news", WordPieces(FILE.to_str().encode(), SHAPE.vocabulary)
)


def tokenized(turns: Sequence[str], field: str = "text", truncate: bool = False) -> Source:
    return SERVED.tokenize(SERVED.kept(turns, field, truncate), field, truncate)


@given(TURNS)
def test_training_and_service_read_the_same(turns: list[str]) -> None:
    for field, task in (("text", "summary"), ("messages", "dialogue")):
        wanted = encode(TRAINED, Pair(tuple(turns), ""), MODEL, task, TRAINED_WORDS)  # type: ignore[arg-type]
        found = tokenized(turns, field, truncate=True)
        assert list(found.ids) == wanted.source.tolist()
        assert list(found.pieces) == wanted.pieces.tolist()
        assert list(found.at) == wanted.at.tolist()


def refused(text: str) -> str:
    with pytest.raises(Refusal) as error:
        tokenized([text])
    assert (error.value.status, error.value.field) == (400, "text")
    return error.value.message


def test_what_is_too_long_for_either_tokenizer_is_refused() -> None:
    remedy = "; shorten it, or send truncate=true to have it cut"
    assert refused("a" * 401) == f"text has 401 bytes, news reads at most 400 (20 tokens){remedy}"
    assert refused("🙂" * 8) == f"text has 33 tokens, news reads at most 20{remedy}"
    assert refused(" ship" * 6) == f"text has 26 word pieces, news reads at most 24{remedy}"
    cut = tokenized([" ship" * 6], truncate=True)
    assert (len(cut.ids), len(cut.pieces)) == (6, 24), "of the sixth word the first pieces"


def test_a_batch_is_padded_to_whole_multiples() -> None:
    sources = [tokenized([text]) for text in ("the ship", "x")]
    found = SERVED.inputs(sources)
    assert found.keys() == {"tokens", "pieces", "piece_lengths", "at"}
    assert {found[name].shape for name in ("tokens", "pieces", "at")} == {(2, 64)}
    for row, source in enumerate(sources):
        assert found["piece_lengths"][row] == len(source.pieces)
        for name, values in (("tokens", source.ids), ("pieces", source.pieces), ("at", source.at)):
            np.testing.assert_array_equal(found[name][row], [*values, *[0] * (64 - len(values))])


def test_a_source_tokenizer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has 156 word pieces, .* the graph knows 100: they are not of one model"):
        WordPieces(word_pieces().to_str().encode(), 100)
    with pytest.raises(ValueError, match=r"the source tokenizer of the bundle cannot be read: .*; build the bundle ag"):
        WordPieces(b"{}", 100)


@pytest.fixture(scope="module")
def generator(tiny_bert_summary: Tiny) -> Seq2Seq:
    opened = open_engine(tiny_bert_summary.bundle).generator
    assert isinstance(opened, Seq2Seq)
    return opened


def test_an_answer_does_not_depend_on_its_company(generator: Seq2Seq, tiny_bert_summary: Tiny) -> None:
    document = tiny_bert_summary.bundle.manifest.example["text"]
    requests: list[dict[str, Any]] = [
        {"text": document, "seed": 1, "truncate": True},
        {"text": document[:200] + " 今天🙂", "seed": 2, "temperature": 1.0, "n": 3, "truncate": True},
        {"text": document[:60], "seed": 3, "beams": 4, "n": 2, "coverage_penalty": 0.3},
        {"text": "x", "seed": 4, "temperature": 0.8, "logprobs": True},
    ]
    together = finish(generator, start(generator, *requests))
    assert together == [finish(generator, start(generator, request))[0] for request in requests]
    assert json.loads(together[3])["usage"]["prompt_tokens"] == len(generator.parse(Request(requests[3])).ids)
    assert generator.free == generator.capacity


def test_the_bundle_holds_what_its_bert_reads_with(generator: Seq2Seq, tiny_bert_summary: Tiny) -> None:
    manifest = tiny_bert_summary.bundle.manifest
    limits = tiny_bert_summary.bundle.model().limits_as(SourceLimits)
    assert limits.max_pieces == 160
    assert limits.source_vocabulary == 156
    assert {spec.name for spec in manifest.graphs["encoder"].inputs} == {"tokens", "pieces", "piece_lengths", "at"}
    assert "source_tokenizer" in manifest.files
    (slot,) = start(generator, manifest.example)
    finish(generator, [slot])
    with pytest.raises(Refusal, match="160; shorten it, or send truncate=true"):
        generator.parse(Request({"text": "zq " * 100}))
