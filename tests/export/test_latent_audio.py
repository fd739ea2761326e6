"""The kind of clips: its graph against PyTorch, rewritten and quantized, its schema, its budget."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from export import variants
from export.graphs import GeneratorKind
from export.graphs.latent_audio import SLOTS, describe
from export.parity import PARITY_SEED, batch_invariant, compare, reference
from export.quality import margin
from export.to_onnx import onnx_from_graph
from export.to_tensorrt import build_engine
from handlers.runtimes.session import Session, open_session
from handlers.runtimes.tensorrt import RUNTIME
from training.models.wavegan import Described, Generator, ModelConfig

CLASSES = tuple("0123456789")
SIZES = ModelConfig(rate=8000, samples=1024, latent=8, channels=4)


def kind_of(classes: tuple[str, ...] = CLASSES, **changes: Any) -> GeneratorKind:
    """The kind of a generator that was not trained, but is loud enough to be told from silence."""
    torch.manual_seed(0)
    generator = Generator(Described.of(dataclasses.replace(SIZES, **changes), classes)).eval()
    with torch.no_grad():
        generator.dense.weight *= 12.0
        norms: Any = generator.norms
        for norm in norms:
            norm.norm.running_var.uniform_(0.5, 2.0)
            norm.scale.normal_(1.0, 0.5)
    return describe(generator)


def opened(kind: GeneratorKind, data: bytes) -> Session:
    return open_session("onnxruntime", data, kind.graphs["generator"].spec, 1)


@pytest.mark.slow
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("form", ["fp32", "fp32_rewritten"])
def test_the_graph_computes_what_pytorch_computes(form: str, normalize: bool) -> None:
    kind = kind_of(normalize=normalize)
    graph = kind.graphs["generator"]
    data = variants.make(form, graph, onnx_from_graph(graph), graph.example(1, 0), lambda _: 0.0).data
    wanted = reference(graph, PARITY_SEED)
    assert float(np.abs(wanted["audio"]).max()) > 0.05
    with opened(kind, data) as session:
        (difference,) = compare(graph, session, wanted, PARITY_SEED)
        assert difference.max_abs < 1e-4
        assert batch_invariant(graph, session, SLOTS, 0)


@pytest.mark.slow
def test_every_transposed_convolution_is_rewritten() -> None:
    graph = kind_of().graphs["generator"]
    made = variants.make("fp32_rewritten", graph, onnx_from_graph(graph), graph.example(1, 0), lambda _: 0.0)
    assert len(made.how["rewritten"]) == SIZES.stages  # type: ignore[arg-type]
    assert made.how["left_alone"] == {}
    operators = [node.op_type for node in onnx.load_from_string(made.data).graph.node]
    assert "ConvTranspose" not in operators
    assert operators.count("Conv") == SIZES.stages
    # A Relu is where it costs least: behind the Conv, before what is shuffled; the first one is behind the dense layer.
    assert [operators[at - 1] for at, name in enumerate(operators) if name == "Relu"][1:] == ["Conv"] * (
        SIZES.stages - 1
    )


@pytest.mark.slow
def test_int8_is_measured_against_the_budget() -> None:
    kind = kind_of()
    graph = kind.graphs["generator"]
    fp32 = onnx_from_graph(graph)

    def sounds(data: bytes) -> NDArray[np.float32]:
        with opened(kind, data) as session:
            found: NDArray[np.float32] = kind.render({"generator": session}, 32, 2000)
            return found

    wanted = sounds(fp32)
    figures: list[float] = []

    def score(data: bytes) -> float:
        figures.append(margin(kind.quality(wanted, sounds(data)), kind.budget))
        return figures[-1]

    made = variants.make("int8_rewritten", graph, fp32, graph.example(32, variants.CALIBRATION_SEED), score)
    assert margin(kind.quality(wanted, sounds(made.data)), kind.budget) == max(figures) > min(figures)
    quality = kind.quality(wanted, sounds(made.data))
    assert quality["log_mel_db"] < 0  # it is not FP32 again
    assert quality["snr_db"] > 15


@pytest.mark.slow
@pytest.mark.parametrize("form", ["fp32", "fp32_rewritten", "int8_rewritten"])
def test_one_file_for_all_runtimes(workspace: Path, form: str) -> None:
    kind = kind_of()
    graph = kind.graphs["generator"]
    rows = graph.example(32, variants.CALIBRATION_SEED)
    data = variants.make(form, graph, onnx_from_graph(graph), rows, lambda _: 0.0).data
    with opened(kind, data) as session:
        wanted = session.run(graph.example(8, 3))["audio"]
    pytest.importorskip("openvino", reason="openvino is not installed: pip install -r requirements/export.txt")
    with open_session("openvino", data, graph.spec, 1) as session:
        assert float(np.abs(session.run(graph.example(8, 3))["audio"] - wanted).mean()) < 0.01
    if RUNTIME.installed:  # TensorRT, ahead of time: no GPU is needed
        assert len(build_engine(data, graph.spec, "sm89").data) > 1000


def test_the_budget_is_of_log_mel_spectrograms() -> None:
    kind = kind_of()
    random = np.random.default_rng(0)
    wanted = random.normal(0, 0.1, (4, SIZES.samples)).astype(np.float32)
    assert margin(kind.quality(wanted, wanted), kind.budget) > 0
    louder = (wanted * np.float32(10 ** (1.5 / 20))).astype(np.float32)  # by 1.5 dB
    assert kind.quality(wanted, louder)["log_mel_db"] == pytest.approx(-1.5, abs=0.01)
    assert margin(kind.quality(wanted, louder), kind.budget) < 0
    assert not margin(kind.quality(wanted, np.full_like(wanted, np.nan)), kind.budget) >= 0


def test_the_schema_names_the_classes_and_offers_texts_where_they_are_digits() -> None:
    digits = {spec.name: spec for spec in kind_of().params}
    assert digits["label"].choices == CLASSES
    assert "text" in digits
    animals = {spec.name: spec for spec in kind_of(("cat", "dog")).params}
    assert animals["label"].choices == ("cat", "dog")
    assert "text" not in animals
    assert list(animals)[1:] == ["truncation", "seed", "n", "format", "encoding", "sample_rate", "stream"]


def test_examples_are_of_all_classes() -> None:
    rows = kind_of().graphs["generator"].example(20, 7)
    assert rows["label"].tolist() == [(7 + at) % 10 for at in range(20)]
    assert rows["z"].shape == (20, SIZES.latent)
