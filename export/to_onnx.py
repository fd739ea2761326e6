"""PyTorch module -> ONNX file, with the batch dimension free and the tap a named tensor inside."""

from __future__ import annotations

import inspect
import logging
import re
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from numpy.typing import NDArray

from export.graphs import Graph
from handlers.graph_spec import TensorSpec

OPSET = 18
TRACED = 8  # positions of a free dimension


def onnx_from_graph(graph: Graph) -> bytes:
    """The ONNX file of `graph`: its outputs are those of the spec, the tap stays a named inner tensor."""
    example = {name: torch.from_numpy(array) for name, array in _short(graph).items()}
    names = graph.names
    names_of_sizes = {size for spec in graph.spec.inputs for size in spec.shape if isinstance(size, str)}
    sizes = {name: torch.export.Dim(name, min=1) for name in sorted(names_of_sizes)}
    free = [
        {i: sizes[size] for i, size in enumerate(spec.shape) if isinstance(size, str)} for spec in graph.spec.inputs
    ]
    # By parameter of `forward`, as torch.export wants them: what a *parameter takes is a tuple of its own.
    shapes = tuple(inspect.signature(graph.module.forward).bind(*free).arguments.values())
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        path = Path(folder) / "graph.onnx"
        _export(
            graph.module.eval(),
            tuple(example[spec.name] for spec in graph.spec.inputs),
            path,
            input_names=[spec.name for spec in graph.spec.inputs],
            output_names=names,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        model = onnx.load(path)
    return _serialize(_with_outputs(model, graph.spec.outputs))


def _short(graph: Graph) -> dict[str, NDArray[Any]]:
    """Two example rows, their free dimensions cut to `TRACED` positions.

    Only shapes are traced, and a recurrent layer costs time for every step.
    """
    rows = graph.example(2, seed=0)
    cuts = {
        spec.name: tuple(slice(TRACED if size in graph.free else None) for size in spec.shape)
        for spec in graph.spec.inputs
    }
    return {name: array[cuts[name]] for name, array in rows.items()}


class ExportError(ValueError):
    """PyTorch's exporter has no ONNX form for an operator; the message names it."""


def _export(module: torch.nn.Module, *arguments: Any, **options: Any) -> None:
    try:
        torch.onnx.export(module, *arguments, **options)
    except torch.onnx.OnnxExporterError as error:
        causes: list[BaseException] = [error]
        while (cause := causes[-1].__cause__) is not None:
            causes.append(cause)
        text = " ".join(str(causes[-1]).split())[:400]
        node = next((found[1] for c in causes if (found := re.search(r"node (%\w+)", str(c)))), "of unknown name")
        raise ExportError(
            f"the ONNX exporter does not know an operator of {type(module).__name__}, at graph node {node}: {text}. "
            "Write that part of the model with operators ONNX has, or give the exporter a translation"
        ) from error


def expose_tap(data: bytes, tap: str | None) -> bytes:
    """The file with the inner tensor `tap`, if there is one, as its first output: for comparing, in memory only.

    Raises `ValueError` for a graph without that tensor.
    """
    if tap is None:
        return data
    model = onnx.load_from_string(data)
    value = onnx.helper.make_tensor_value_info(tap, _element_type(model, tap), None)
    model.graph.output.insert(0, value)
    return _serialize(model)


def tap_dtype(data: bytes, tap: str) -> Literal["float32", "float16"]:
    """The element type of the tap in this file: a converted graph may have made it FP16."""
    half = _element_type(onnx.load_from_string(data), tap) == onnx.TensorProto.FLOAT16
    return "float16" if half else "float32"


def _element_type(model: onnx.ModelProto, tensor: str) -> int:
    if not any(tensor in node.output for node in model.graph.node):
        raise ValueError(f"the graph has no tensor called {tensor!r} to compare before rounding")
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    return next((v.type.tensor_type.elem_type for v in values if v.name == tensor), int(onnx.TensorProto.FLOAT))


def _with_outputs(model: onnx.ModelProto, specs: Sequence[TensorSpec]) -> onnx.ModelProto:
    names = [spec.name for spec in specs]
    kept = [output for output in model.graph.output if output.name in names]
    if [output.name for output in kept] != names:
        raise ValueError(f"the exporter gave outputs {[o.name for o in model.graph.output]}, wanted {names} among them")
    del model.graph.output[:]
    for value, spec in zip(kept, specs, strict=True):  # a free dimension behind an LSTM comes out as the example's
        value.CopyFrom(onnx.helper.make_tensor_value_info(spec.name, value.type.tensor_type.elem_type, spec.shape))
    model.graph.output.extend(kept)
    for node in model.graph.node:  # source paths and stack traces of the exporting machine do not belong in the file
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _serialize(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))
