"""The graphs of music: parity with PyTorch, rows that depend on themselves alone, and the budget of variants."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest

from export import variants
from export.graphs import GeneratorKind, Graph
from export.graphs.windowed_audio import FRAMES, RENDERED, params, plan
from export.parity import batch_invariant, compare, reference, tapped_spec
from export.quality import margin
from export.quantize import VariantError
from export.to_onnx import onnx_from_graph
from handlers.runtimes.session import Session, open_session
from tests.support.music import CONFIG, described
from training.models.music import HOP


@functools.cache
def kind() -> GeneratorKind:
    return described()


@functools.cache
def onnx_of(role: str) -> bytes:
    return onnx_from_graph(kind().graphs[role])


def opened(role: str, graph: Graph | None = None) -> Session:
    spec = kind().graphs[role].spec if graph is None else tapped_spec(graph, reference(graph, seed=3))
    return open_session("onnxruntime", onnx_of(role), spec, 1, "f32")


@pytest.mark.slow
@pytest.mark.parametrize("role", ["generator", "decoder"])
def test_the_onnx_file_computes_what_pytorch_does(role: str) -> None:
    graph = kind().graphs[role]
    (difference,) = compare(graph, opened(role, graph), reference(graph, seed=3), seed=3)
    assert difference.max_abs <= 1e-4
    assert difference.values > 1000


@pytest.mark.slow
@pytest.mark.parametrize("role", ["generator", "decoder"])
def test_a_row_is_the_same_bits_beside_any_others(role: str) -> None:
    assert batch_invariant(kind().graphs[role], opened(role), 16, seed=1)


@pytest.mark.slow
def test_both_graphs_together_sound_as_pytorch_does() -> None:
    sessions = {role: opened(role) for role in kind().graphs}
    exact = {role: graph.torch_session() for role, graph in kind().graphs.items()}
    wanted, found = (kind().render(each, 3, 50) for each in (exact, sessions))
    assert wanted.shape == (3, RENDERED * FRAMES * HOP)
    assert np.abs(wanted).max() > 0.05
    figures = kind().quality(wanted, found)
    assert figures["log_mel_db"] > -0.01
    assert margin(figures, kind().budget) > 0
    noisy = found + np.random.default_rng(0).normal(0, 0.02, found.shape).astype(np.float32)
    assert margin(kind().quality(wanted, noisy), kind().budget) < 0


def test_keys_and_tempos_are_those_of_the_data() -> None:
    known = {spec.name: spec for spec in params(CONFIG)}
    assert known["key"].choices == CONFIG.keys
    assert (known["tempo"].minimum, known["tempo"].default, known["tempo"].maximum) == (80, 115, 150)


def test_inputs_are_windows_of_pieces_at_several_tempos() -> None:
    rows = kind().graphs["generator"].example(8, seed=1)
    division = plan(CONFIG)
    assert rows["noise"].shape == (8, 4 * CONFIG.noise, division.read_frames)
    assert set(rows["key"]) == set(range(len(CONFIG.keys)))
    assert len({round(float(np.median(np.diff(beats))), 5) for beats in rows["beats"]}) == 8
    assert rows["beats"].min() >= 0
    assert rows["beats"].max() < 8


def made(form: str, role: str, others: tuple[str, ...]) -> variants.Variant:
    """A form of a role, in a bundle with these other roles."""
    graph = kind().graphs[role]
    rows = graph.example(16, variants.CALIBRATION_SEED)
    files = [onnx_of(other) for other in others]
    return variants.make(form, graph, onnx_of(role), rows, lambda _: 1.0, others=files)


def operators(data: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(data).graph.node}


@pytest.mark.slow
def test_the_generator_goes_as_it_is_into_the_rewritten_form_of_the_decoder() -> None:
    decoder, generator = (
        made("fp32_rewritten", "decoder", ("generator",)),
        made("fp32_rewritten", "generator", ("decoder",)),
    )
    assert "ConvTranspose" in operators(onnx_of("decoder")) - operators(decoder.data)
    assert len(decoder.how["rewritten"]) == 5  # type: ignore[arg-type]
    assert generator == variants.Variant(
        onnx_of("generator"), {"unchanged": "no ConvTranspose to rewrite (the graph has none)"}
    )


@pytest.mark.slow
def test_the_generator_is_quantized_as_it_is_beside_the_rewritten_decoder() -> None:
    found = made("int8_rewritten", "generator", ("decoder",))
    assert found.how["unchanged"] == "no ConvTranspose to rewrite (the graph has none)"
    assert found.how["calibration"] in ("minmax", "percentile", "entropy")
    assert "QuantizeLinear" in operators(found.data)


def test_a_role_with_nothing_to_rewrite_and_nothing_to_quantize_stays_fp32() -> None:
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"], "bend")], "g", value[:1], value[1:])
    fp32 = onnx.helper.make_model(graph, ir_version=10).SerializeToString()
    rows = {"x": np.zeros((16, 4), np.float32)}
    found = variants.make(
        "int8_rewritten", kind().graphs["decoder"], fp32, rows, lambda _: 1.0, others=[onnx_of("decoder")]
    )
    assert found.data == fp32
    reason = "no ConvTranspose to rewrite (the graph has none), and none of Conv, ConvTranspose, MatMul to quantize"
    assert found.how == {"unchanged": reason}


@pytest.mark.parametrize("form", ["fp32_rewritten", "int8_rewritten"])
@pytest.mark.parametrize("others", [(), ("generator",)])
def test_a_bundle_that_has_nothing_to_rewrite_has_no_rewritten_form(form: str, others: tuple[str, ...]) -> None:
    with pytest.raises(VariantError, match=r"^no ConvTranspose could be rewritten \(the graph has none\)$"):
        made(form, "generator", others)
