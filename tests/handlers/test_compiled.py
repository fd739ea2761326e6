"""The compiled step: the same file as every runtime, the same scores within a bound, bits that no neighbour changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from handlers.runtimes.blocks import Block, by_steps
from handlers.runtimes.compiled import spread
from handlers.runtimes.runtime import SessionError
from handlers.runtimes.session import open_session
from handlers.runtimes.wavenet_kernel import drawing, functions
from handlers.sampling.next_token import Rule, draw
from tests.support import tiny_wavenet as tiny

pytestmark = pytest.mark.slow  # compiling the step takes ten seconds

BOUND = 2e-5  # of a score, to ONNX Runtime's


def one(whole: Block, index: int) -> Block:
    """One sound of a block, alone, in rings of its own."""
    fields = ("samples", "times", "conditions", "uniforms", "temperatures")
    alone = {name: getattr(whole, name)[index : index + 1].copy() for name in fields}
    row = int(whole.rows[index])
    return dataclasses.replace(whole, **alone, rings=whole.rings[row : row + 1].copy(), rows=np.zeros(1, np.int64))


def test_scores_and_pushes_are_those_of_onnx_runtime() -> None:
    inputs = tiny.kind().graphs["step"].example(7, seed=3)
    found, wanted = (tiny.session(runtime).run(inputs) for runtime in ("compiled", "onnxruntime"))
    assert np.abs(wanted["logits"]).max() > 0.1
    for name in ("logits", "push"):
        assert np.abs(found[name] - wanted[name]).max() < BOUND


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_block_is_what_single_steps_draw(temperature: float) -> None:
    native, stepped, reference = (tiny.block(3, temperature=temperature) for _ in range(3))
    levels = tiny.session().block(native)
    assert np.array_equal(levels, by_steps(tiny.session().run, stepped))
    assert np.array_equal(native.rings, stepped.rings)
    assert np.array_equal(levels, tiny.session("onnxruntime").block(reference))
    assert np.abs(native.rings - reference.rings).max() < BOUND
    assert len(np.unique(levels)) > 5 or temperature == 0.0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sound_is_the_same_bits_alone_and_among_others(threads: int) -> None:
    for count in (2, 3, 6):
        whole = tiny.block(count)
        alone = [one(whole, index) for index in range(count)]
        levels = tiny.session(threads=threads).block(whole)
        for index, sound in enumerate(alone):
            assert np.array_equal(tiny.session().block(sound)[0], levels[index])
            assert sound.rings[0].tobytes() == whole.rings[whole.rows[index]].tobytes()


def test_scores_of_a_row_are_the_same_bits_in_every_batch() -> None:
    inputs = tiny.kind().graphs["step"].example(5, seed=4)
    whole = tiny.session().run(inputs)
    for row in range(5):
        alone = tiny.session().run({name: array[row : row + 1] for name, array in inputs.items()})
        assert all(alone[name][0].tobytes() == whole[name][row].tobytes() for name in whole)


def test_blocks_one_after_the_other_are_one_long_block() -> None:
    whole, part = tiny.silent(2, 4), tiny.silent(2, 4)
    wanted = tiny.session().block(whole)
    half = part.count // 2
    first = dataclasses.replace(part, conditions=part.conditions[:, :2], uniforms=part.uniforms[:, :half])
    begun = tiny.session().block(first)
    second = dataclasses.replace(
        part,
        samples=begun[:, -1].copy(),
        times=part.times + half,
        conditions=part.conditions[:, 2:],
        uniforms=part.uniforms[:, half:],
    )
    assert np.array_equal(np.concatenate([begun, tiny.session().block(second)], axis=1), wanted)


def test_functions_keep_their_bounds() -> None:
    tanh, exp = functions()
    for x in np.linspace(-12, 12, 4001, dtype=np.float32):
        assert abs(tanh(x) - np.tanh(np.float64(x))) < 6e-7
    for x in np.linspace(-80, 0, 4001, dtype=np.float32):
        assert abs(exp(x) / np.exp(np.float64(x)) - 1) < 3e-7


def test_it_draws_by_the_rule_of_every_kind() -> None:
    rng, weights, compiled = np.random.default_rng(0), np.empty(256, np.float32), drawing()
    for _ in range(300):
        scores, uniform = (rng.standard_normal(256) * 5).astype(np.float32), float(rng.random())
        temperature = float(rng.choice([0.3, 0.8, 1.5]))
        assert compiled(scores, temperature, uniform, weights) == draw(scores, Rule(temperature), uniform)
        assert compiled(scores, 0.0, uniform, weights) == scores.argmax()


def test_sounds_are_spread_in_whole_pairs() -> None:
    assert spread(1, 2) == [range(1)]
    assert spread(2, 2) == [range(1), range(1, 2)]
    assert spread(6, 2) == [range(2), range(2, 6)]
    for count in range(1, 20):
        for threads in (1, 2, 3):
            assert [sound for share in spread(count, threads) for sound in share] == list(range(count))


def changed(change: Callable[[onnx.GraphProto], None]) -> bytes:
    model = onnx.load_from_string(tiny.file())
    change(model.graph)
    return bytes(model.SerializeToString())


def other_activation(graph: onnx.GraphProto) -> None:
    next(node for node in graph.node if node.op_type == "Tanh").op_type = "Relu"


def swapped_halves(graph: onnx.GraphProto) -> None:
    split = next(node for node in graph.node if node.op_type == "Split")
    split.output[:] = [split.output[1], split.output[0]]


def other_layer(graph: onnx.GraphProto) -> None:
    pasts = [node for node in graph.node if node.op_type == "Gather" and node.input[0] == "past"]
    pasts[1].input[1] = pasts[0].input[1]


def scaled(graph: onnx.GraphProto) -> None:
    gemm = next(node for node in graph.node if node.op_type == "Gemm")
    kept = [attribute for attribute in gemm.attribute if attribute.name != "alpha"]
    del gemm.attribute[:]
    gemm.attribute.extend([*kept, helper.make_attribute("alpha", 0.5)])


def more(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Relu", ["logits"], ["spare"]))


def huge(graph: onnx.GraphProto) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name.endswith("head.weight"))
    array = numpy_helper.to_array(tensor).copy()
    array[0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_activation, "comes from Relu, wanted Tanh"),
        (swapped_halves, "tanh and sigmoid of layer . do not read the two halves of its gates in order"),
        (other_layer, "layer 1 reads the past or the condition of another one"),
        (scaled, "is a scaled or turned product"),
        (more, r"of \d+ nodes \d+ are a WaveNet's step"),
        (huge, r"head holds a number that is not below 1e\+06"),
    ],
)
def test_another_network_is_refused(change: Callable[[onnx.GraphProto], None], message: str) -> None:
    with pytest.raises(
        SessionError, match=f"^the graph is not the step of a WaveNet that is compiled here: .*{message}"
    ):
        open_session("compiled", changed(change), tiny.spec(), 1)


def test_what_is_no_onnx_file_is_refused() -> None:
    with pytest.raises(SessionError, match=r"^the file is no ONNX file: "):
        open_session("compiled", b"\x0a\xff", tiny.spec(), 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("uniforms", np.full((2, 65), 0.5), "a block has 2 sounds of 65 samples in 3 frames"),
        ("rows", np.array([0, 0]), r"rows \[0, 0\] of a block are not 2 of 2 rows"),
        ("rows", np.array([0, 5]), r"rows \[0, 5\] of a block are not 2 of 2 rows"),
        ("samples", np.array([0, 256]), r"samples are \[0, 256\], wanted 0 to 255"),
        ("times", np.array([-1, 0]), "a dilation, a time or a sample below its range"),
        ("temperatures", np.array([0.5, np.nan]), "a temperature of a block is not a number"),
        ("dilations", np.array([30]), "1 layers and 41 numbers of condition, the step 8 and 41"),
        ("rings", np.zeros((2, 29, 6), np.float32), r"rings of a block is \[2, 29, 6\], wanted \[2, 30, 6\]"),
        ("rings", np.zeros((2, 30, 5), np.float32), r"rings are \[2, 30, 5\], wanted 6 wide"),
    ],
)
def test_a_block_that_does_not_fit_is_refused_and_changes_nothing(field: str, value: object, message: str) -> None:
    block = dataclasses.replace(tiny.block(2), **{field: value})  # type: ignore[arg-type]
    before = block.rings.copy()
    with pytest.raises(SessionError, match=message):
        tiny.session().block(block)
    assert np.array_equal(before, block.rings)
