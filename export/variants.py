"""The forms a graph is tried in. Each fails alone, with its reason; nothing is silently dropped."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from export.graphs import Graph
from export.quantize import (
    QUANTIZED_OPS,
    SEVEN_BITS,
    SIGNED,
    Scheme,
    Score,
    VariantError,
    has_int8_kernel,
    quantizable,
    quantize_dynamic,
    quantize_static,
)
from export.rewrite import rewrite_transposed
from export.rowwise import quantize_rowwise
from handlers.runtimes.runtime import Arrays, first_line

# Of copying: too small for half precision, and CPUs add no FP16 there.
PROBABILITIES = ("ScatterElements", "Clip", "Log")
CALIBRATION_SEED = 100_000  # of the first latent; far from those of parity and quality
FP32_FORMS = ("fp32", "fp32_rewritten")  # nothing in them is quantized or halved
SEVEN_BIT_FORM = "int8_7bit"
SATURATING = ("avx512", "avx2", "x86-baseline")  # the device classes without VNNI: elsewhere 8 bits lose nothing
VARIANTS = (
    "fp32",
    "fp32_rewritten",
    "fp16",
    "int8_static",
    "int8_rewritten",
    SEVEN_BIT_FORM,
    "int8_rowwise",
    "int8_dynamic",
)


def tried_on(cpu: str, wanted: Sequence[str]) -> list[str]:
    """The wanted forms that make sense on a device class, FP32 first."""
    names = dict.fromkeys(("fp32", *wanted))
    return [name for name in names if name != SEVEN_BIT_FORM or cpu in SATURATING]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One form of one graph, and how it came about (calibration, nodes kept in FP32, nodes left alone)."""

    data: bytes
    how: dict[str, object]


def search_seconds(name: str, cpu: str, usual: float) -> float:
    """How long a form may be searched for: where weights of 7 bits are tried, not for the rescue of the same with 8."""
    return 0.0 if name == "int8_rewritten" and cpu in SATURATING else usual


def make(
    name: str,
    graph: Graph,
    fp32: bytes,
    rows: Arrays,
    score: Score,
    seconds: float = math.inf,
    others: Sequence[bytes] = (),
) -> Variant:
    """Make one variant of an FP32 ONNX file, searching for `seconds` where there is a choice.

    `others` are the FP32 files of the bundle's other roles: where one of them can be rewritten, one that cannot be is
    no failure of the rewritten forms. Raises `VariantError` with the reason it cannot be made.
    """
    makers: Mapping[str, Callable[[], Variant]] = {
        "fp32": lambda: Variant(fp32, {}),
        "fp16": lambda: _fp16(graph, fp32),
        "fp32_rewritten": lambda: _rewritten_fp32(fp32, others),
        "int8_static": lambda: _static(onnx.load_from_string(fp32), rows, score, seconds, {}, SIGNED),
        "int8_rewritten": lambda: _rewritten_int8(fp32, others, rows, score, seconds),
        SEVEN_BIT_FORM: lambda: _seven_bits(fp32, rows, score, seconds),
        "int8_rowwise": lambda: Variant(quantize_rowwise(onnx.load_from_string(fp32)), {}),
        "int8_dynamic": lambda: _dynamic(graph, fp32),
    }
    if name not in makers:
        raise VariantError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}")
    try:
        return makers[name]()
    except VariantError:
        raise
    except Exception as error:  # a converter's own failure (an operator it does not know) costs this variant alone
        raise VariantError(f"{type(error).__name__}: {first_line(error)}") from error


def _fp16(graph: Graph, fp32: bytes) -> Variant:
    model = onnx.load_from_string(fp32)
    nodes = range(len(model.graph.node))
    produced = next((i for i in nodes if graph.tap in model.graph.node[i].output), len(nodes))
    tail = [node.name for node in model.graph.node[produced:]]  # the tap, scaling and rounding stay exact
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values below FP16's smallest are expected, and counted in the quality
        half = convert_float_to_float16(
            model, keep_io_types=True, node_block_list=tail, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *PROBABILITIES]
        )
    ordered = ONNXModel(half)  # the converter appends its casts at the end
    ordered.topological_sort()
    onnx.checker.check_model(ordered.model)
    return Variant(ordered.model.SerializeToString(deterministic=True), {"fp32_tail": tail})


def _static(
    model: onnx.ModelProto, rows: Arrays, score: Score, seconds: float, how: dict[str, object], scheme: Scheme
) -> Variant:
    made = quantize_static(model, rows, score, seconds, scheme)
    count = len(next(iter(rows.values())))
    how = {
        **how,
        "calibration": made.method,
        "calibration_rows": count,
        "calibration_seed": CALIBRATION_SEED,
        "margins": made.margins,
        "kept_fp32": list(made.kept_fp32),
    }
    if made.stopped:
        how["stopped"] = f"the search was bounded to {seconds:g} s"
    return Variant(made.data, how)


def _dynamic(graph: Graph, fp32: bytes) -> Variant:
    data, cell = quantize_dynamic(onnx.load_from_string(fp32)), graph.written_out
    if cell is None:
        return Variant(data, {})
    # Else a report would look as if the runtime had such a kernel, or as if the one it has had been measured.
    kernel = f"an INT8 {cell} kernel, not used here" if has_int8_kernel(cell) else f"no INT8 {cell} kernel"
    return Variant(
        data,
        {"cell": f"ONNX Runtime has {kernel}: the matrix products of the written-out cell are quantized one by one"},
    )


def _rewrite(fp32: bytes, others: Sequence[bytes]) -> tuple[onnx.ModelProto, dict[str, object]]:
    rewritten = rewrite_transposed(onnx.load_from_string(fp32))
    if rewritten.done:
        return rewritten.model, {"rewritten": list(rewritten.done), "left_alone": rewritten.left}
    reasons = "; ".join(f"{name}: {reason}" for name, reason in rewritten.left.items()) or "the graph has none"
    if not any(rewrite_transposed(onnx.load_from_string(other)).done for other in others):
        raise VariantError(f"no ConvTranspose could be rewritten ({reasons})")
    return rewritten.model, {"unchanged": f"no ConvTranspose to rewrite ({reasons})"}


def _rewritten_fp32(fp32: bytes, others: Sequence[bytes]) -> Variant:
    model, how = _rewrite(fp32, others)
    return Variant(fp32 if "unchanged" in how else model.SerializeToString(deterministic=True), how)


def _rewritten_int8(fp32: bytes, others: Sequence[bytes], rows: Arrays, score: Score, seconds: float) -> Variant:
    model, how = _rewrite(fp32, others)
    if "unchanged" in how and not quantizable(model):
        return Variant(fp32, {"unchanged": f"{how['unchanged']}, and none of {', '.join(QUANTIZED_OPS)} to quantize"})
    return _static(model, rows, score, seconds, how, SIGNED)


def _seven_bits(fp32: bytes, rows: Arrays, score: Score, seconds: float) -> Variant:
    rewritten = rewrite_transposed(onnx.load_from_string(fp32))  # a graph that has nothing to rewrite stays as it is
    how: dict[str, object] = {"rewritten": list(rewritten.done), "weights": "7 bits, activations unsigned"}
    return _static(rewritten.model, rows, score, seconds, how, SEVEN_BITS)
