"""The generator kind: an answer follows from its request alone; beams equal a plain reference search."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.graphs.seq2seq import describe
from handlers.certificate import golden_key
from handlers.engine.choice import OpenedModel, open_model
from handlers.generator import ReadingGenerator, Request, StepGenerator
from handlers.generators.seq2seq import Seq2Seq, SourceSlot
from handlers.media.mark import SOURCE_TYPE
from handlers.refusals import Refusal
from handlers.runtimes.runtime import FunctionGraph
from handlers.runtimes.session import Session
from handlers.sampling import next_token as sampling
from handlers.text.tokenizer import END
from tests.conftest import Tiny
from tests.support.helpers import events, finish, start

LONG = 24


@pytest.fixture(scope="module")
def engine(tiny_summary: Tiny) -> OpenedModel:
    return open_model(tiny_summary.bundle)


@pytest.fixture(scope="module")
def generator(engine: OpenedModel) -> Seq2Seq:
    assert isinstance(engine.generator, Seq2Seq)
    return engine.generator


@pytest.fixture(scope="module")
def document(tiny_summary: Tiny) -> str:
    return str(tiny_summary.bundle.manifest.example["text"])


@pytest.fixture(autouse=True)
def _all_rows_are_free_at_the_end(generator: Seq2Seq) -> Iterator[None]:
    yield
    assert generator.free == generator.capacity


def answers(generator: Seq2Seq, *requests: Mapping[str, Any]) -> list[bytes]:
    return finish(generator, start(generator, *requests))


def texts(answer: bytes) -> list[str]:
    return [choice["text"] for choice in json.loads(answer)["choices"]]


def requests_of(document: str) -> list[dict[str, Any]]:
    """One of every sort, with sources of different lengths."""
    return [
        {"text": document, "seed": 1},
        {"text": document[:200], "seed": 2, "temperature": 1.0, "n": 3},
        {"text": document[:90], "seed": 3, "beams": 4, "n": 2, "length_penalty": 0.6, "coverage_penalty": 0.3},
        {"text": document[:30], "seed": 4, "temperature": 0.8, "top_k": 9, "top_p": 0.9, "logprobs": True},
        {
            "text": document[:150],
            "seed": 5,
            "temperature": 1.2,
            "repetition_penalty": 1.5,
            "stream": True,
            "stop": "the",
        },
        {"text": document[:150], "seed": 6, "beams": 2, "logprobs": True, "min_tokens": 5},
    ]


def test_an_answer_does_not_depend_on_its_company(generator: Seq2Seq, document: str) -> None:
    requests = requests_of(document)
    together = answers(generator, *requests)
    assert together == [answers(generator, request)[0] for request in requests]
    assert answers(generator, *reversed(requests)) == together[::-1]


def test_requests_may_join_and_leave_between_any_two_steps(generator: Seq2Seq, document: str) -> None:
    requests = requests_of(document)
    wanted = [answers(generator, request)[0] for request in requests]
    random = np.random.default_rng(0)
    for _ in range(8):
        waiting = list(random.permutation(len(requests)))
        live, found = dict[int, SourceSlot](), dict[int, bytes]()
        while waiting or live:
            while waiting and random.random() < 0.4:
                at = int(waiting.pop())
                (live[at],) = start(generator, requests[at])
                found[at] = b""
            if live:
                generator.step(list(live.values()))
            for at, slot in list(live.items()):
                found[at] += generator.drain(slot)
                if slot.finished is not None:
                    del live[at]
        assert [found[at] for at in range(len(requests))] == wanted


def test_a_cancelled_neighbour_changes_nothing(generator: Seq2Seq, document: str) -> None:
    requests = requests_of(document)
    wanted = answers(generator, requests[0])[0]
    for other in requests[1:]:
        gone, kept = start(generator, other, requests[0])
        generator.step([gone, kept])
        if gone.finished is None:
            generator.cancel(gone)
            assert gone.finished == "cancelled"
        assert finish(generator, [kept]) == [wanted]


def test_text_i_of_n_is_that_of_its_own_seed(generator: Seq2Seq, document: str) -> None:
    request = {"text": document, "temperature": 1.0}
    together = texts(answers(generator, {**request, "n": 3, "seed": 10})[0])
    assert together == [texts(answers(generator, {**request, "seed": 10 + i})[0])[0] for i in range(3)]
    assert len(set(together)) == 3


def test_a_stream_holds_the_text_of_the_whole_answer(generator: Seq2Seq, document: str) -> None:
    request = {"text": document, "seed": 7, "temperature": 1.0, "n": 2, "logprobs": True}
    whole = json.loads(answers(generator, request)[0])
    stream = events(answers(generator, {**request, "stream": True})[0])
    assert len(whole["choices"]) == 2
    for index, choice in enumerate(whole["choices"]):
        mine = [c for event in stream for c in event["choices"] if c["index"] == index]
        assert "".join(c["text"] for c in mine) == choice["text"]
        assert [c["finish_reason"] for c in mine if c["finish_reason"]] == [choice["finish_reason"]]
        told = [value for c in mine if "logprobs" in c for value in c["logprobs"]["token_logprobs"]]
        assert told == choice["logprobs"]["token_logprobs"] != []
    assert stream[-1]["usage"] == whole["usage"]
    assert stream[-1]["digital_source_type"] == whole["digital_source_type"] == SOURCE_TYPE


def test_usage_and_finish_reason(generator: Seq2Seq, document: str) -> None:
    found = json.loads(answers(generator, {"text": document, "max_tokens": 3, "min_tokens": 3, "seed": 1})[0])
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 3
    prompt = len(generator.parse(Request({"text": document})).ids)
    assert found["usage"] == {"prompt_tokens": prompt, "completion_tokens": 3, "total_tokens": prompt + 3}


def test_min_tokens_holds_for_drawn_texts_and_beams(generator: Seq2Seq, document: str) -> None:
    for more in ({"temperature": 2.0, "n": 8}, {"beams": 8, "n": 8}):
        slots = start(generator, {"text": document, "seed": 3, "min_tokens": 12, "max_tokens": 16, **more})
        finish(generator, slots)
        assert len(slots[0].texts) == 8
        assert all(12 <= len(text.tokens) <= 16 for text in slots[0].texts)


def test_log_probabilities_are_the_models_own(generator: Seq2Seq, document: str) -> None:
    """Whatever is drawn with: the sum over a text equals what a beam of one path would give it."""
    request = {"text": document, "seed": 3, "logprobs": True}
    cold = json.loads(answers(generator, request)[0])["choices"][0]["logprobs"]
    sharp = json.loads(answers(generator, {**request, "temperature": 0.01})[0])["choices"][0]["logprobs"]
    assert cold == sharp  # the same tokens, so the same log-probabilities
    assert cold["token_logprobs"]
    assert all(value < 0 for value in cold["token_logprobs"])


def test_too_many_texts_are_an_error_that_changes_nothing(generator: Seq2Seq, document: str) -> None:
    params = [generator.parse(Request({"text": document, "beams": 8})) for _ in range(5)]
    with pytest.raises(ValueError, match="40 texts for 32 free rows"):
        generator.start(params)
    assert generator.free == generator.capacity


def test_a_start_that_raises_takes_no_rows(generator: Seq2Seq, document: str) -> None:
    """One request starts whole, the next in the middle of its texts not."""
    good, bad = (generator.parse(Request({"text": document, "temperature": 1, "n": 3})) for _ in range(2))
    read = generator.read([good, bad])
    read[1] = {**read[1], "memory": read[1]["memory"][:, :1, None]}
    with pytest.raises(ValueError, match="could not broadcast"):
        generator.start([good, bad], read)
    assert generator.free == generator.capacity


def test_a_step_that_raises_changes_nothing(generator: Seq2Seq, document: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = requests_of(document)
    wanted = answers(generator, *requests)
    slots = start(generator, *requests)
    generator.step(slots)
    before = [generator.drain(slot) for slot in slots]
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "log_softmax", lambda scores: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generator.step(slots)
    assert [b + a for b, a in zip(before, finish(generator, slots), strict=True)] == wanted


def test_scores_that_are_no_numbers_are_an_error(engine: OpenedModel, tiny_summary: Tiny, document: str) -> None:
    decoder = engine.sessions["decoder_step"]

    def run(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = decoder.run(dict(inputs))
        return {**found, "logits": np.full_like(found["logits"], np.nan)}

    sessions = {**engine.sessions, "decoder_step": Session(decoder.spec, FunctionGraph(run), "broken")}
    broken = Seq2Seq(tiny_summary.bundle.model(), sessions)
    slots = start(broken, {"text": document, "seed": 1})
    with pytest.raises(ValueError, match="a score of the next token is NaN or infinite"):
        broken.step(slots)
    broken.cancel(slots[0])
    assert broken.free == broken.capacity


def test_golden_items_are_what_the_certificate_holds(
    engine: OpenedModel, generator: Seq2Seq, tiny_summary: Tiny
) -> None:
    golden = tiny_summary.bundle.certificate.golden
    items = golden.items
    (recorded,) = golden.sha256.values()  # of the one engine it was built with
    assert any(item.get("beams", 1) > 1 for item in items)
    assert any(item.get("temperature", 0) > 0 for item in items)
    for _ in range(2):
        assert [generator.golden(item) for item in items] == list(recorded[golden_key(engine.candidate)])
    with pytest.raises(Refusal):
        generator.golden({})


def test_it_reads_beside_the_steps_and_a_text_from_a_prompt_does_not(generator: Seq2Seq, tiny_text: Tiny) -> None:
    assert isinstance(generator, ReadingGenerator)
    prompted = open_model(tiny_text.bundle).generator
    assert isinstance(prompted, StepGenerator)
    assert not isinstance(prompted, ReadingGenerator)


def test_previews_are_texts(generator: Seq2Seq) -> None:
    found = generator.preview([1, 2, 1])
    assert found[0] == found[2] != found[1]


class Reference:
    """A plain beam search in PyTorch, one hypothesis after the other, as a textbook would write it."""

    def __init__(self, tiny: Tiny) -> None:
        from training.seq2seq import load_generator

        _, self.trained = load_generator(tiny.folder / "artifacts" / "checkpoints" / tiny.bundle.manifest.name)
        self.kind = describe(self.trained)

    def search(self, ids: Sequence[int], width: int, longest: int, alpha: float) -> list[tuple[float, list[int]]]:
        """Scores and tokens of the finished texts, the best first."""
        import torch

        network = self.trained.network
        with torch.inference_mode():
            tokens, lengths = torch.tensor([list(ids)]), torch.tensor([len(ids)])
            memory, *first = network.encode(tokens, lengths)
            live = [(0.0, [1], torch.zeros(1, network.config.hidden), tuple(first))]
            ended: list[tuple[float, list[int]]] = []
            for _ in range(longest):
                grown = []
                for total, written, feed, state in live:
                    logits, _, after, *states = network.step(
                        torch.tensor(written[-1:]), feed, tokens, memory, lengths, state
                    )
                    logits[:, self.trained.tokens.never] = -torch.inf
                    logprobs = torch.log_softmax(logits[0].double(), dim=0)
                    values, best = logprobs.topk(2 * width)
                    for value, token in zip(values.tolist(), best.tolist(), strict=True):
                        grown.append((total + value, [*written, token], after, tuple(states)))
                grown.sort(key=lambda item: -item[0])
                live = []
                for rank, item in enumerate(grown[: 2 * width]):
                    normal = item[0] / ((5 + len(item[1]) - 1) / 6) ** alpha
                    if item[1][-1] == END:
                        if rank < width:
                            ended.append((normal, item[1][1:-1]))
                    elif len(item[1]) - 1 == longest:
                        ended.append((normal, item[1][1:]))
                    elif len(live) < width:
                        live.append(item)
                ended.sort(key=lambda item: -item[0])
                bounds = [total / ((5 + len(written) - 1) / 6) ** alpha for total, written, _, _ in live]
                if not live or (len(ended) >= width and ended[width - 1][0] >= max(bounds)):
                    break
        return ended


def test_beams_equal_a_plain_reference_search_on_fifty_documents(generator: Seq2Seq, tiny_summary: Tiny) -> None:
    reference = Reference(tiny_summary)
    documents = [pair.source[0] for pair in reference.trained.held_out[:50]]
    assert len(documents) == 50
    for document in documents:
        (slot,) = start(generator, {"text": document, "beams": 4, "length_penalty": 0.8, "truncate": True})
        finish(generator, [slot])
        wanted = reference.search(slot.params.ids, 4, slot.params.max_tokens, 0.8)
        if slot.texts[0].tokens != wanted[0][1]:
            assert abs(wanted[0][0] - wanted[1][0]) < 1e-4, "not a tie"
            assert slot.texts[0].tokens == wanted[1][1]


def test_the_bundles_graphs_open_as_sessions_of_the_roles(engine: OpenedModel) -> None:
    assert engine.sessions.keys() == {"encoder", "decoder_step"}
    assert {spec.name for spec in engine.sessions["decoder_step"].spec.outputs} >= {
        "logits",
        "weights",
        "next_feed",
        "next_h",
        "next_c",
    }
