"""The step graph of a WaveNet: inputs that occur in service, figures that tell variants apart, speed of blocks."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from export import graphs
from export.graphs.step_audio import describe, expected
from export.measure import served
from export.parity import batch_invariant, compare, reference
from handlers.runtimes.blocks import Block, by_steps
from tests.support import tiny_wavenet as tiny
from training.models.wavenet import SILENCE, WaveNet, build, decode


@pytest.mark.slow
def test_parity_of_every_runtime_with_pytorch() -> None:
    graph = tiny.kind().graphs["step"]
    wanted = reference(graph, seed=1, rows=20)
    for runtime in ("onnxruntime", "compiled"):
        differences = compare(graph, tiny.session(runtime), wanted, seed=1)
        assert {difference.tensor for difference in differences} == {"logits", "push"}


@pytest.mark.slow
def test_rows_do_not_depend_on_their_batch() -> None:
    assert batch_invariant(tiny.kind().graphs["step"], tiny.session(), 4, seed=2)


def test_example_inputs_are_those_after_two_frames_of_drawing() -> None:
    kind = tiny.kind()
    found = kind.graphs["step"].example(3, seed=5)
    block = kind.blocks["step"](3, 5)
    levels = by_steps(kind.graphs["step"].torch_session().run, block)
    assert levels.shape == (3, 2 * tiny.CONFIG.frame)
    assert np.array_equal(found["sample"], levels[:, -1])
    for layer, dilation in enumerate(tiny.CONFIG.dilations):
        oldest = int(block.starts[layer]) + levels.shape[1] % dilation
        assert np.array_equal(found["past"][:, layer], block.rings[:, oldest])


def test_cached_steps_draw_what_full_recomputation_draws() -> None:
    """Equal samples, not nearly equal ones: the network over all samples so far, anew for each one."""
    block = tiny.silent(2, 3)
    network = tiny.network()
    levels = np.full((2, 1), SILENCE)
    conditions = torch.from_numpy(block.conditions)
    uniforms = torch.from_numpy(block.uniforms)
    with torch.inference_mode():
        for at in range(block.count):
            padded = np.pad(levels, ((0, 0), (0, block.count - levels.shape[1])))
            scores = network(torch.from_numpy(padded), conditions)[:, at].double()
            upto = torch.softmax(scores, dim=1).cumsum(dim=1)
            drawn = (upto <= uniforms[:, at : at + 1] * upto[:, -1:]).sum(dim=1)
            levels = np.concatenate([levels, drawn.numpy()[:, None]], axis=1)
    assert np.array_equal(tiny.session().block(block), levels[:, 1:])


def test_quality_is_perfect_for_equal_scores_and_tells_noise() -> None:
    kind = tiny.kind()
    wanted = kind.render({"step": kind.graphs["step"].torch_session()}, 4, 7)
    assert wanted.shape == (4, 8 * tiny.CONFIG.frame, 256)
    same = kind.render({"step": tiny.session()}, 4, 7)
    figures = kind.quality(wanted, same)
    assert all(figures[name] >= bound for name, bound in kind.budget.items())
    noise = np.random.default_rng(0).standard_normal(wanted.shape).astype(np.float32)
    worse = kind.quality(wanted, wanted + 0.5 * noise)
    assert all(worse[name] < bound for name, bound in kind.budget.items() if name != "log_mel_db_worst")


def test_the_expected_wave_is_the_mean_over_levels() -> None:
    sure = np.full((1, 2, 256), -100.0, np.float32)
    sure[0, 0, 10] = sure[0, 1, 200] = 100.0
    assert np.allclose(expected(sure)[0], decode(torch.tensor([10, 200])).numpy())
    assert abs(expected(np.zeros((1, 1, 256), np.float32))[0, 0]) < 1e-6


def test_speed_is_measured_on_blocks() -> None:
    kind = tiny.kind()
    inputs = kind.served_inputs(4, 0)["step"]
    assert isinstance(inputs, Block)
    assert inputs.uniforms.shape == (4, 2 * tiny.CONFIG.frame)
    assert served(tiny.session())(inputs).shape == (4, 2 * tiny.CONFIG.frame)
    rows = kind.graphs["step"].example(2, 0)
    assert served(tiny.session())(rows).keys() == {"logits", "push"}


def test_what_serving_needs_is_an_asset() -> None:
    about = json.loads(tiny.kind().assets["wavenet"])
    assert about["dilations"] == [1, 2, 4, 8, 1, 2, 4, 8]
    assert (about["frame"], about["parts"], about["silence"], len(about["levels"])) == (64, 4, 128, 256)
    assert np.array_equal(np.array(about["levels"], np.float32), decode(torch.arange(256)).numpy())


def test_text_is_offered_where_all_classes_are_digits() -> None:
    assert "text" in {spec.name for spec in tiny.kind().params}
    other = dataclasses.replace(tiny.CONFIG, classes=("cat", "dog"))
    assert "text" not in {spec.name for spec in describe(build(other, 0)).params}


def test_a_vocoder_is_not_served() -> None:
    vocoder = WaveNet(dataclasses.replace(tiny.CONFIG, condition="mel"))
    with pytest.raises(ValueError, match="a log-mel spectrogram, which no parameter of a request holds"):
        graphs.load("step_audio", vocoder)
