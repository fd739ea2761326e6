"""The graphs of music: parity with PyTorch, rows that depend on themselves alone, and the budget of variants."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from export.graphs import GeneratorKind, Graph
from export.graphs.windowed_audio import FRAMES, RENDERED, params, plan
from export.parity import batch_invariant, compare, reference, tapped_spec
from export.quality import margin
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
