"""A BERT as a graph: rows depend on neither batch nor padding, in FP32 and INT8; all products of weights are INT8."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from export.graphs import Graph
from export.graphs.seq2seq import describe
from export.parity import batch_invariant
from export.rowwise import quantize_rowwise
from export.to_onnx import onnx_from_graph
from handlers.runtimes.session import Session, open_session
from tests.conftest import Tiny
from training.seq2seq import load_generator
from training.seq2seq_checkpoint import Trained

LAYERS, PRODUCTS = 2, 6  # of the tiny BERT; query, key, value, output, and the two of a layer's network
OURS = 4  # meaning, place, summary, and the bridge to the first state


@pytest.fixture(scope="module")
def trained(tiny_bert_summary: Tiny) -> Trained:
    name = tiny_bert_summary.bundle.manifest.name
    return load_generator(tiny_bert_summary.folder / "artifacts/checkpoints" / name)[1]


@pytest.fixture(scope="module")
def encoder(trained: Trained) -> Graph:
    return describe(trained).graphs["encoder"]


@pytest.fixture(scope="module")
def fp32(encoder: Graph) -> bytes:
    return onnx_from_graph(encoder)


def test_the_certificate_says_that_rows_are_their_own(tiny_bert_summary: Tiny) -> None:
    certificate = tiny_bert_summary.bundle.certificate
    (device,) = certificate.devices.values()
    assert device.candidates["fp32-onnxruntime"].batch_invariant is True
    parity = {d.tensor: d.max_abs for d in certificate.parity.runtimes["onnxruntime"]}
    assert parity["memory"] < 1e-5 and parity["h"] < 1e-5


def test_both_free_dimensions_are_padded_with_nothing_changed(encoder: Graph, fp32: bytes) -> None:
    assert encoder.free == {"source": (64, 192), "pieces": (64, 192)}
    session = open_session("onnxruntime", fp32, encoder.spec, 1)
    assert batch_invariant(encoder, session, 9, 0)
    inputs = encoder.example(3, 0)
    wider = {name: np.pad(array, ((0, 0), (0, 640))) for name, array in inputs.items() if name != "piece_lengths"}
    found = session.run({**inputs, **wider})  # far more pieces than there are positions
    for name, array in session.run(inputs).items():
        np.testing.assert_array_equal(found[name][tuple(slice(0, size) for size in array.shape)], array)


def test_a_neighbour_that_is_read_from_would_be_found(encoder: Graph, fp32: bytes) -> None:
    """The check above has teeth: a piece too many in one row changes that row."""
    session = open_session("onnxruntime", fp32, encoder.spec, 1)
    inputs = encoder.example(2, 0)
    longer = {**inputs, "piece_lengths": inputs["piece_lengths"] - [1, 0]}
    before, after = (session.run(arrays)["memory"] for arrays in (inputs, longer))
    assert (before[0] != after[0]).any()
    np.testing.assert_array_equal(before[1], after[1])


def test_every_product_of_weights_is_quantized_row_by_row(encoder: Graph, fp32: bytes) -> None:
    data = quantize_rowwise(onnx.load_from_string(fp32))
    kinds = [node.op_type for node in onnx.load_from_string(data).graph.node]
    assert kinds.count("MatMulInteger") == LAYERS * PRODUCTS + OURS
    assert kinds.count("MatMul") == LAYERS * 2 + 1, "of activations: scores and mixtures, and the mean"
    assert "Gemm" not in kinds
    session: Session = open_session("onnxruntime", data, encoder.spec, 1)
    assert batch_invariant(encoder, session, 9, 0)
    inputs = encoder.example(4, 0)
    wanted = encoder.torch_session().run(inputs)["memory"]
    assert np.abs(session.run(inputs)["memory"] - wanted).max() < 0.05


def test_an_example_that_is_too_long_is_cut(trained: Trained) -> None:
    config = trained.network.config
    assert describe(trained).example.get("truncate") is True, "179 pieces, 160 positions"
    assert config.bert_shape is not None
    assert describe(trained).limits.document()["max_pieces"] == config.bert_shape.positions
