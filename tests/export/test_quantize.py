"""Static INT8: one file for every runtime, the best of three calibrations, and layers given back only when needed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from export.graphs import Graph, step_text
from export.graphs.latent_image import describe
from export.quantize import METHODS, VariantError, has_int8_kernel, quantize_dynamic, quantize_static
from export.to_onnx import onnx_from_graph
from export.to_tensorrt import CAPABILITIES, build_engine
from export.variants import SEVEN_BIT_FORM, VARIANTS, make, search_seconds, tried_on
from handlers.runtimes.runtime import SessionError
from handlers.runtimes.session import open_session
from handlers.runtimes.tensorrt import RUNTIME
from tests.export.test_rowwise import recurrent
from training.models import charlm
from training.models.cells import CellName
from training.models.dcgan import ModelConfig, build

TRT = pytest.mark.skipif(
    not RUNTIME.installed, reason="TensorRT is not installed: pip install -r requirements/export.txt"
)


@pytest.fixture(scope="module")
def graph() -> Graph:
    generator, _ = build(ModelConfig(image_size=16, channels=8, latent=16), seed=0)
    return describe(generator.eval()).graphs["generator"]


@pytest.fixture(scope="module")
def fp32(graph: Graph) -> bytes:
    return onnx_from_graph(graph)


def rows(graph: Graph, count: int = 32) -> dict[str, NDArray[Any]]:
    return dict(graph.example(count, seed=9))


def operators(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


def test_it_is_symmetric_per_channel_and_leaves_the_tail_alone(graph: Graph, fp32: bytes) -> None:
    made = quantize_static(onnx.load_from_string(fp32), rows(graph), lambda data: 1.0)
    model = onnx.load_from_string(made.data)
    initial = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zero_points = [initial[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear" and len(n.input) > 2]
    assert zero_points
    assert all(z.dtype == np.int8 and not z.any() for z in zero_points)
    weights = [
        initial[n.input[1]] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in initial
    ]
    assert len(weights) == 3
    assert all(scale.ndim == 1 and len(scale) > 1 for scale in weights)  # per channel
    after = operators(made.data)[operators(made.data).index("Tanh") :]
    assert "QuantizeLinear" not in after
    assert made.kept_fp32 == ()
    assert set(made.margins) == set(METHODS)


def test_the_best_calibration_is_kept(graph: Graph, fp32: bytes) -> None:
    seen: list[bytes] = []

    def score(data: bytes) -> float:
        seen.append(data)
        return {0: 1.0, 1: 3.0, 2: 2.0}[len(seen) - 1]

    made = quantize_static(onnx.load_from_string(fp32), rows(graph), score)
    assert made.method == "percentile"
    assert made.data == seen[1]
    assert list(made.margins.values()) == [1.0, 3.0, 2.0]


def test_layers_go_back_to_fp32_until_the_budget_holds(graph: Graph, fp32: bytes) -> None:
    """The score counts ConvTranspose nodes without quantized weights: two of them are wanted."""

    def score(data: bytes) -> float:
        model = onnx.load_from_string(data)
        dequantized = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
        kept = [n for n in model.graph.node if n.op_type == "ConvTranspose" and n.input[1] not in dequantized]
        return len(kept) - 2.0

    made = quantize_static(onnx.load_from_string(fp32), rows(graph), score)
    assert len(made.kept_fp32) == 2
    assert score(made.data) == 0


def test_a_hopeless_graph_gives_nothing_back(graph: Graph, fp32: bytes) -> None:
    made = quantize_static(onnx.load_from_string(fp32), rows(graph), lambda data: -5.0)
    assert made.kept_fp32 == ()  # no node helps, so none is given up for nothing


def test_too_small_a_calibration_set_is_refused(graph: Graph, fp32: bytes) -> None:
    with pytest.raises(VariantError, match="the calibration set has 8 rows, wanted at least 16: raise --calibration"):
        quantize_static(onnx.load_from_string(fp32), rows(graph, 8), lambda data: 1.0)


def test_nan_everywhere_is_refused(graph: Graph, fp32: bytes) -> None:
    with pytest.raises(VariantError, match="its results are NaN with every calibration method"):
        quantize_static(onnx.load_from_string(fp32), rows(graph), lambda data: float("nan"))


def test_graphs_without_products_are_named(graph: Graph, fp32: bytes) -> None:
    with pytest.raises(
        VariantError, match="none of MatMul, Gemm, LSTM, Conv, which is what dynamic quantization knows"
    ):
        quantize_dynamic(onnx.load_from_string(fp32))
    with pytest.raises(VariantError, match="unknown variant 'int3'; known: fp32"):
        make("int3", graph, fp32, rows(graph), lambda data: 1.0)


def test_onnx_runtime_has_an_int8_kernel_for_lstm_alone() -> None:
    """If this fails after an upgrade, reports say so by themselves; the row-wise form may then not be the best one."""
    assert {cell: has_int8_kernel(cell) for cell in ("RNN", "LSTM", "GRU")} == {
        "RNN": False,
        "LSTM": True,
        "GRU": False,
    }
    assert "DynamicQuantizeLSTM" in operators(quantize_dynamic(recurrent("LSTM")))
    with pytest.raises(VariantError, match=r"none of MatMul, .*; ONNX Runtime has no INT8 GRU kernel"):
        quantize_dynamic(recurrent("GRU"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "kernel"),
    [("rnn", "no INT8 RNN kernel"), ("lstm", "an INT8 LSTM kernel, not used here"), ("gru", "no INT8 GRU kernel")],
)
def test_the_dynamic_form_of_a_cell_says_which_kernel_there_is(cell: CellName, kernel: str) -> None:
    network = charlm.build(charlm.ModelConfig(cell, embedding=8, hidden=16, layers=1), seed=0)
    step = step_text.describe(network.eval()).graphs["step"]
    made = make("int8_dynamic", step, onnx_from_graph(step), {}, lambda data: 1.0)
    said = made.how["cell"]
    assert said == f"ONNX Runtime has {kernel}: the matrix products of the written-out cell are quantized one by one"
    assert operators(made.data).count("MatMulInteger") == 3  # input, state, scores: a Gemm is a product, too
    assert not {"Gemm", "MatMul"} & set(operators(made.data))


def test_products_without_constant_weights_are_no_dynamic_form() -> None:
    value, tensor = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    inputs = [value(name, tensor, [4, 4]) for name in ("x", "w")]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    graph = onnx.helper.make_graph([node], "g", inputs, [value("y", tensor, [4, 4])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(VariantError, match="dynamic quantization left all of MatMul as they were: no constant weights"):
        quantize_dynamic(model)


@pytest.mark.slow
def test_one_int8_file_for_all_runtimes(graph: Graph, fp32: bytes, workspace: Any) -> None:
    data = make("int8_static", graph, fp32, rows(graph), lambda data: 1.0).data
    digest = hashlib.sha256(data).hexdigest()
    wanted = open_session("onnxruntime", fp32, graph.spec, 1).run(graph.example(8, 3))["image"].astype(int)
    for runtime in ("onnxruntime", "openvino"):
        pytest.importorskip(runtime, reason=f"{runtime} is not installed: pip install -r requirements/export.txt")
        found = open_session(runtime, data, graph.spec, 1).run(graph.example(8, 3))["image"].astype(int)
        assert np.abs(found - wanted).mean() < 4
    if RUNTIME.installed:
        assert len(build_engine(data, graph.spec, "sm89").data) > 1000
    assert hashlib.sha256(data).hexdigest() == digest


@TRT
@pytest.mark.slow
@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8_static", "int8_rewritten"])
def test_engines_are_built_without_a_gpu(graph: Graph, fp32: bytes, workspace: Any, variant: str) -> None:
    data = make(variant, graph, fp32, rows(graph), lambda data: 1.0).data
    engines = {capability: build_engine(data, graph.spec, capability) for capability in CAPABILITIES}
    assert all(len(engine.data) > 1000 and engine.build_s > 0 for engine in engines.values())
    again = build_engine(data, graph.spec, "sm80")
    assert (again.data, again.build_s) == (engines["sm80"].data, 0.0)  # from the cache
    assert again.requires.keys() == {"module", "version"}


@TRT
def test_graphs_that_tensorrt_refuses_name_operator_and_node(graph: Graph, fp32: bytes, workspace: Any) -> None:
    rowwise = make(
        "int8_rowwise", graph, make("fp32_rewritten", graph, fp32, {}, lambda d: 0).data, {}, lambda d: 0
    ).data
    with pytest.raises(
        VariantError, match=r"TensorRT does not take the graph: operator \S+ of node \S+: .*rewrite the op"
    ):
        build_engine(rowwise, graph.spec, "sm89")
    with pytest.raises(VariantError, match="has no target sm90"):
        build_engine(fp32, graph.spec, "sm90")


@TRT
def test_an_engine_is_refused_where_there_is_no_gpu(graph: Graph, fp32: bytes, workspace: Any) -> None:
    from handlers.runtimes import cuda

    if cuda.compute_capability() is not None:
        pytest.skip("this machine has a CUDA device")
    engine = build_engine(fp32, graph.spec, "sm89").data
    with pytest.raises(SessionError, match="a TensorRT engine needs a CUDA device, and this machine has none"):
        open_session("tensorrt", engine, graph.spec, 1)


@pytest.mark.gpu
def test_an_engine_computes_what_the_file_does(graph: Graph, fp32: bytes, workspace: Any) -> None:
    from handlers.runtimes import cuda

    capability = cuda.compute_capability()
    if capability is None:
        pytest.skip("no CUDA device")
    engine = build_engine(fp32, graph.spec, capability).data
    found = open_session("tensorrt", engine, graph.spec, 1).run(graph.example(8, 3))["image"].astype(int)
    wanted = open_session("onnxruntime", fp32, graph.spec, 1).run(graph.example(8, 3))["image"].astype(int)
    assert np.abs(found - wanted).max() <= 2
    with pytest.raises(SessionError, match="damaged or for another GPU"):
        open_session("tensorrt", engine[: len(engine) // 2], graph.spec, 1)


def test_every_variant_is_made_or_says_why(graph: Graph, fp32: bytes) -> None:
    made = {}
    for name in VARIANTS:
        try:
            made[name] = len(make(name, graph, fp32, rows(graph), lambda data: 1.0).data) / len(fp32)
        except VariantError as error:
            made[name] = str(error)  # type: ignore[assignment]
    assert made["fp32"] == 1
    assert made["fp16"] < 0.75
    assert "no MatMul, Gemm, LSTM or GRU" in str(made["int8_rowwise"])


def test_weights_of_seven_bits_are_a_form_where_products_saturate(graph: Graph, fp32: bytes) -> None:
    made = make(SEVEN_BIT_FORM, graph, fp32, rows(graph), lambda data: 1.0)
    usual = make("int8_rewritten", graph, fp32, rows(graph), lambda data: 1.0)
    largest = {}
    for name, data in (("seven", made.data), ("usual", usual.data)):
        initial = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(data).graph.initializer]
        largest[name] = max(int(np.abs(array.astype(int)).max()) for array in initial if array.dtype == np.int8)
    assert largest == {"seven": 64, "usual": 127}
    assert made.how["weights"] == "7 bits, activations unsigned"
    assert "ConvTranspose" not in operators(made.data)
    for cpu in ("avx2", "avx512"):
        assert SEVEN_BIT_FORM in tried_on(cpu, VARIANTS)
        assert search_seconds("int8_rewritten", cpu, 20.0) == 0
    for cpu in ("avx512-vnni", "avx2-vnni", "amx-int8", "aarch64"):
        assert SEVEN_BIT_FORM not in tried_on(cpu, VARIANTS)
        assert search_seconds("int8_rewritten", cpu, 20.0) == 20
    assert tried_on("avx2", ("int8_static",)) == ["fp32", "int8_static"]
    assert {search_seconds(name, "avx2", 20.0) for name in ("int8_static", SEVEN_BIT_FORM)} == {20.0}


def test_a_search_ends_when_its_time_is_up_and_says_so(graph: Graph, fp32: bytes) -> None:
    asked: list[bytes] = []

    def score(data: bytes) -> float:
        asked.append(data)
        return float(len(asked)) - 100  # every trial is better and none is inside the budget

    made = make("int8_static", graph, fp32, rows(graph), score, 0.0)
    assert len(asked) == 1
    assert made.how["stopped"] == "the search was bounded to 0 s"
    assert made.how["kept_fp32"] == []
    asked.clear()
    whole = make("int8_static", graph, fp32, rows(graph), score)
    assert len(asked) > len(METHODS)
    assert "stopped" not in whole.how
