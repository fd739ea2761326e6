"""ONNX files hold all of themselves: walked without a runtime, and refused if numbers lie in another file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from handlers import bundle as bundles
from handlers.manifest import BundleError, file_spec
from handlers.onnx_file import OnnxError, check_onnx
from tests.conftest import Tiny

OUTSIDE = "keeps numbers of a tensor in another file"


def external(name: str = "w") -> Any:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return tensor


def model(*nodes: Any, initializer: Any = (), name: str = "g") -> Any:
    graph = helper.make_graph(list(nodes), name, [], [], initializer=list(initializer))
    return helper.make_model(graph)


def in_initializer() -> Any:
    return model(initializer=[external()])


def in_constant() -> Any:
    return model(helper.make_node("Constant", [], ["c"], value=external()))


def in_list_of_tensors() -> Any:
    return model(helper.make_node("X", [], ["c"], tensors=[external()]))


def in_branch() -> Any:
    return model(helper.make_node("If", ["c"], ["y"], then_branch=in_initializer().graph))


def in_sparse() -> Any:
    sparse = onnx.SparseTensorProto()
    sparse.values.CopyFrom(external())
    made = model()
    made.graph.sparse_initializer.append(sparse)
    return made


def in_function() -> Any:
    made = model()
    node = helper.make_node("Constant", [], ["c"], value=external())
    made.functions.append(helper.make_function("d", "f", [], ["c"], [node], [helper.make_opsetid("", 17)]))
    return made


def location_alone() -> Any:
    tensor = external()
    del tensor.external_data[:]
    return model(initializer=[tensor])


def data_alone() -> Any:
    tensor = external()
    tensor.ClearField("data_location")
    return model(initializer=[tensor])


@pytest.mark.parametrize(
    "make",
    [in_initializer, in_constant, in_list_of_tensors, in_branch, in_sparse, in_function, location_alone, data_alone],
)
def test_numbers_in_another_file_are_found(make: Callable[[], Any]) -> None:
    with pytest.raises(OnnxError, match=OUTSIDE):
        check_onnx(make().SerializeToString())


def test_words_in_weights_are_no_other_file() -> None:
    weights = np.frombuffer(b"\n\x08location\x12\x01xp\x01j\x00" * 4, np.uint8)
    check_onnx(model(initializer=[numpy_helper.from_array(weights, "w")]).SerializeToString())


def test_every_graph_of_ours_passes(tiny: Tiny, tiny_text: Tiny) -> None:
    for bundle in (tiny.bundle, tiny_text.bundle):
        for key, spec in bundle.manifest.files.items():
            if spec.path.endswith(".onnx"):
                check_onnx(bundle.read_file(key))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has no graph"),
        (b"\x08\x07", "it has no graph"),
        (b"no onnx", "is written in the way 6"),
        (b"\x3a\xff", "does not end"),
        (b"\x3a\x7f", "a field of 127 bytes goes over its end"),
        (b"\xff" * 20, "does not end"),
        (b"\x3a\x02\x0b\x00", "is written in the way 3"),
    ],
)
def test_what_is_no_onnx_file_is_told(data: bytes, message: str) -> None:
    with pytest.raises(OnnxError, match=message):
        check_onnx(data)


def test_graphs_without_end_are_refused() -> None:
    made = model()
    for _ in range(24):
        made = model(helper.make_node("If", ["c"], ["y"], then_branch=made.graph))
    with pytest.raises(OnnxError, match="lie in one another over 64 deep"):
        check_onnx(made.SerializeToString())


def test_a_bundle_with_such_a_graph_is_neither_written_nor_read(tiny: Tiny, tmp_path: Path) -> None:
    """Whatever runtime would open it, and whatever the file is called."""
    manifest, data = tiny.bundle.manifest, in_initializer().SerializeToString()
    spec = file_spec("files/weights.bin", data)
    changed = dataclasses.replace(manifest, files={**manifest.files, "generator-fp32": spec})
    contents = {spec.path: data}
    contents[manifest.certificate.path] = (tiny.bundle.directory / manifest.certificate.path).read_bytes()
    with pytest.raises(BundleError, match=rf"files/weights\.bin {OUTSIDE} .*; build the bundle again"):
        bundles.write(tmp_path / "tiny", changed, contents)
    assert not (tmp_path / "tiny").exists()
