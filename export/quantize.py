"""FP32 ONNX -> INT8 ONNX that ONNX Runtime, OpenVINO and TensorRT all accept: one file, static ranges, QDQ form.

Symmetric activations and weights, one scale per output channel, biases left in FP32 (TensorRT refuses unsigned zero
points and INT32 biases), and only Conv, ConvTranspose and MatMul (a quantized uint8 tail is refused, too). Ranges come
from calibration inputs; three ways of choosing them are tried and the best is kept. Where the quality budget still
fails, the nodes that cost most go back to FP32, one at a time (Wu et al. 2020, arXiv:2004.09602, partial quantization).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization import quantize_dynamic as ort_quantize_dynamic
from onnxruntime.quantization import quantize_static as ort_quantize_static
from onnxruntime.quantization.registry import IntegerOpsRegistry

from export.unsigned import unsigned_shuffles
from handlers.runtimes.runtime import Arrays

QUANTIZED_OPS = ("Conv", "ConvTranspose", "MatMul")
DYNAMIC_OPS = ("MatMul", "Gemm", "LSTM", "Conv")
DYNAMIC_KERNELS = {"MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM"}  # what dynamic quantization makes of them
METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
MIN_CALIBRATION = 16  # rows; fewer say nothing about ranges
CALIBRATION_TILE = 16


@dataclasses.dataclass(frozen=True)
class Scheme:
    """The integers that a graph is computed in."""

    activations: QuantType
    symmetric: bool  # activations around 0
    seven_bits: bool  # weights of 7 bits


# One file for ONNX Runtime, OpenVINO and TensorRT.
SIGNED = Scheme(QuantType.QInt8, symmetric=True, seven_bits=False)
# Without VNNI two products of 8 bits are added in 16 (vpmaddubsw), which saturates: with 7 bits of weight they fit.
SEVEN_BITS = Scheme(QuantType.QUInt8, symmetric=False, seven_bits=True)

Score = Callable[[bytes], float]  # margin to the quality budget: at least 0 is inside


class VariantError(ValueError):
    """A variant that cannot be made, with the reason; it fails alone."""


@dataclasses.dataclass(frozen=True)
class Quantized:
    """A quantized file and how it came about."""

    data: bytes
    method: str
    margins: dict[str, float]  # calibration method -> margin to the budget
    kept_fp32: tuple[str, ...]  # nodes that went back to FP32
    stopped: bool  # whether time was up before the search had ended


def quantizable(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that static quantization knows."""
    return [node.name for node in model.graph.node if node.op_type in QUANTIZED_OPS]


def quantize_static(
    model: onnx.ModelProto, rows: Arrays, score: Score, seconds: float = math.inf, scheme: Scheme = SIGNED
) -> Quantized:
    """Quantize with the best calibration method, then give nodes back to FP32 until `score` is at least 0.

    After `seconds` no trial begins any more: the best file so far is the result, and says so.

    `rows` are calibration inputs (N, ...) by name. Raises `VariantError` when there are too few, when nothing can be
    quantized, or when every variant is outside the budget or NaN.
    """
    count = min((len(array) for array in rows.values()), default=0)
    if count < MIN_CALIBRATION:
        raise VariantError(
            f"the calibration set has {count} rows, wanted at least {MIN_CALIBRATION}: raise --calibration"
        )
    nodes = quantizable(model)
    if not nodes:
        raise VariantError(f"the graph has none of {', '.join(QUANTIZED_OPS)} to quantize")
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "fp32.onnx")
        stop = time.monotonic() + seconds
        files: dict[str, bytes] = {}
        margins: dict[str, float] = {}
        for name in METHODS:
            if not files or time.monotonic() < stop:
                files[name] = _static(Path(folder), rows, name, (), scheme)
                margins[name] = score(files[name])
        usable = {method: margin for method, margin in margins.items() if np.isfinite(margin)}
        if not usable:
            raise VariantError("its results are NaN with every calibration method")
        method = max(usable, key=lambda name: usable[name])
        kept: list[str] = []
        best, margin = files[method], usable[method]
        while margin < 0 and len(kept) < len(nodes) - 1:
            trials, scores = {}, {}
            for node in nodes:
                if node not in kept and time.monotonic() < stop:
                    trials[node] = _static(Path(folder), rows, method, (*kept, node), scheme)
                    scores[node] = score(trials[node])
            if not scores:
                break
            node = max(scores, key=lambda name: scores[name])
            if not scores[node] > margin:
                break
            kept.append(node)
            best, margin = trials[node], scores[node]
        stopped = time.monotonic() >= stop and (margin < 0 or len(files) < len(METHODS))
    return Quantized(best, method, margins, tuple(kept), stopped)


def quantize_dynamic(model: onnx.ModelProto) -> bytes:
    """The stock dynamic form: one activation scale per tensor and call, so rows of a batch depend on each other.

    Raises `VariantError` when the graph has nothing that it could quantize.
    """
    operators = {node.op_type for node in model.graph.node}
    present = operators & set(DYNAMIC_OPS)
    if not present:
        lacking = "".join(f"; ONNX Runtime has no INT8 {cell} kernel" for cell in sorted(operators & {"GRU", "RNN"}))
        known = ", ".join(DYNAMIC_OPS)
        raise VariantError(f"the graph has none of {known}, which is what dynamic quantization knows{lacking}")
    if "Gemm" in present:
        present |= {"MatMul"}  # a Gemm is taken apart into MatMul and Add before anything is quantized
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        ort_quantize_dynamic(
            source, target, op_types_to_quantize=sorted(present), per_channel=True, weight_type=QuantType.QInt8
        )
        data = target.read_bytes()
    if not DYNAMIC_KERNELS & {node.op_type for node in onnx.load_from_string(data).graph.node}:
        raise VariantError(
            f"dynamic quantization left all of {', '.join(sorted(present))} as they were: no constant weights"
        )
    return data


def has_int8_kernel(operator: str) -> bool:
    """Whether ONNX Runtime's dynamic quantization knows an operator as a whole: of the recurrent ones LSTM alone.

    GRU was asked for and declined: https://github.com/microsoft/onnxruntime/issues/9796.
    """
    return operator in IntegerOpsRegistry


def _static(folder: Path, rows: Arrays, method: str, excluded: Sequence[str], scheme: Scheme) -> bytes:
    target = folder / "int8.onnx"
    with _quiet():
        ort_quantize_static(
            folder / "fp32.onnx",
            target,
            _Rows(rows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED_OPS),
            per_channel=True,
            reduce_range=scheme.seven_bits,
            activation_type=scheme.activations,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(excluded),
            calibrate_method=METHODS[method],
            extra_options={"ActivationSymmetric": scheme.symmetric, "WeightSymmetric": True, "QuantizeBias": False},
        )
    return unsigned_shuffles(target.read_bytes())


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, rows: Arrays) -> None:
        count = min(len(array) for array in rows.values())
        self._tiles = iter(
            {name: array[at : at + CALIBRATION_TILE] for name, array in rows.items()}
            for at in range(0, count - count % CALIBRATION_TILE, CALIBRATION_TILE)
        )

    def get_next(self) -> Arrays | None:
        """The next tile, or None at the end (the interface of onnxruntime)."""
        return next(self._tiles, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer prints its progress and warns about pre-processing on the root logger: not for a terminal."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
