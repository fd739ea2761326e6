"""Metrics of a worker: units in the names, and figures equal to what happened, over both of its processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector

from handlers import metric_files, metrics
from tests.conftest import ROOT, Tiny

OURS: list[MetricWrapperBase] = [m for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)]
# What a name ends with: the unit of its figures, or what is counted by a counter (which gets _total).
UNITS = re.compile(r"atelier_[a-z_]+_(seconds|requests|bytes|info|ratio)")


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: next(iter(metric.describe())).name)
def test_names_end_with_their_units(metric: MetricWrapperBase) -> None:
    (family,) = metric.describe()
    assert UNITS.fullmatch(family.name) or family.type == "counter"
    assert family.name.startswith("atelier_")
    assert family.type != "counter" or not family.name.endswith("_total")  # the library adds it
    assert family.documentation


def test_no_label_holds_what_a_user_chooses() -> None:
    assert {label for metric in OURS for label in metric._labelnames} <= {
        "model",
        "version",
        "role",
        "candidate",
        "status",
        "reason",
    }


PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from handlers import bundle
from tests.support.frontend import front_end
with front_end(bundle.read(Path(sys.argv[1]))) as front:
    replies = front.ask_all([json.loads(body) for body in sys.argv[2:]])
    replies.append(front.ask(b"["))
    print(json.dumps([reply.status for reply in replies]))
    os.kill(front.service.engine.pid, signal.SIGKILL)
    front.ask(json.loads(sys.argv[2]))
"""


def counted(bundle: Path, folder: Path, *bodies: dict[str, Any]) -> tuple[list[int], dict[str, float]]:
    """Statuses of the bodies and of nonsense asked together, then the first again of a new engine; and all samples."""
    folder.mkdir()
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(bundle), *map(json.dumps, bodies)],
        cwd=ROOT,
        env={**os.environ, metric_files.VARIABLE: str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    samples = {
        " ".join(
            [sample.name, *(v for k, v in sorted(sample.labels.items()) if k not in ("model", "pid"))]
        ): sample.value
        for family in registry.collect()
        for sample in family.samples
    }
    return json.loads(answer.stdout), samples


def test_both_processes_are_counted(tiny: Tiny, tmp_path: Path) -> None:
    bodies = [{"seed": 1}, {"seed": 2, "n": 5}, {"n": 99}, {"seed": 3, "n": 4, "grid": True}]
    statuses, samples = counted(tiny.bundle.directory, tmp_path / "metrics", *bodies)
    assert statuses == [200, 200, 400, 200, 400]
    assert samples["atelier_answers_total 200"] == 4
    assert samples["atelier_answers_total 400"] == 2
    assert samples["atelier_rejections_total bad_request"] == 2
    assert samples["atelier_items_total"] == 1 + 5 + 4 + 1
    assert samples["atelier_engine_restarts_total"] == 1
    assert samples["atelier_batch_size_requests_sum"] == 4
    calls = samples["atelier_batch_size_requests_count"]
    assert 2 <= calls <= 4
    for name in ("engine", "encode"):
        assert samples[f"atelier_{name}_seconds_count"] == calls
        assert 0 < samples[f"atelier_{name}_seconds_sum"] < 60
    for name in ("first_byte", "answer"):
        assert samples[f"atelier_{name}_seconds_count"] == 4
        assert samples[f"atelier_{name}_seconds_sum"] > 0
    assert samples["atelier_answer_seconds_sum"] >= samples["atelier_first_byte_seconds_sum"]
    for name in ("in_flight_requests", "queue_depth_requests", "queued_work_seconds"):
        assert samples[f"atelier_{name}"] == 0
    version = tiny.version
    assert samples[f"atelier_variant_info generator-fp32-onnxruntime generator {version}"] == 1


def test_tokens_and_steps_are_counted(tiny_text: Tiny, tmp_path: Path) -> None:
    request = {"temperature": 0, "seed": 1, "max_tokens": 10}
    statuses, samples = counted(
        tiny_text.bundle.directory, tmp_path / "metrics", request, {**request, "prompt": "abcde"}
    )
    assert statuses == [200, 200, 400]
    assert samples["atelier_items_total"] == 30
    assert samples["atelier_batch_size_requests_sum"] == 10 + (5 + 10) + 10  # a prompt's bytes are read in steps
    assert samples["atelier_engine_seconds_count"] == samples["atelier_batch_size_requests_count"]


def test_every_name_is_explained() -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    assert len(OURS) > 10
    for metric in OURS:
        (family,) = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"`{name}`" in text, f"docs/metrics.md does not explain {name}"
