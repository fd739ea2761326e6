"""One `/metrics` for a server: what its workers count, what TorchServe's front end counts, what the launcher knows.

docs/metrics.md explains every name. Workers write memory-mapped files, so a scrape asks none of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from serving.client import request
from serving.status import Status
from serving.torchserve import TorchServe

CLASSES = ("2xx", "4xx", "5xx")


class Merged:
    """Collects everything at every scrape."""

    def __init__(self, torchserve: TorchServe, status: Status, models: list[str]) -> None:
        self._torchserve, self._status, self._models = torchserve, status, models
        self._own = dict.fromkeys(CLASSES, 0.0)
        self._lock = threading.Lock()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        workers = CollectorRegistry()
        folder = self._torchserve.metrics_folder
        if folder.is_dir():
            MultiProcessCollector(workers, str(folder))  # type: ignore[no-untyped-call]
        families = list(workers.collect())
        merged = CollectorRegistry()
        merged.register(_Fixed([*families, *self._launcher(), *self._front_end(families)]))
        return generate_latest(merged)

    def _launcher(self) -> Iterator[Metric]:
        ready, _ = self._status.get()
        yield GaugeMetricFamily("atelier_ready", "1 while everything of the store answers", float(ready))
        yield CounterMetricFamily(
            "atelier_torchserve_restarts", "Times TorchServe had to be started again", self._status.torchserve_restarts
        )

    def _front_end(self, workers: list[Metric]) -> Iterator[Metric]:
        """Answers by class, and those that no worker saw: the front end's own refusals."""
        seen = dict.fromkeys(CLASSES, 0.0)
        for family in workers:
            if family.name == "atelier_answers":
                for sample in family.samples:
                    if sample.name.endswith("_total"):
                        seen[f"{sample.labels['status'][0]}xx"] = (
                            seen.get(f"{sample.labels['status'][0]}xx", 0) + sample.value
                        )
        answered = self._answered()
        if answered is None:
            return
        total = CounterMetricFamily("atelier_front_end_answers", "HTTP answers of the front end", labels=["class"])
        own = CounterMetricFamily(
            "atelier_front_end_rejections", "Answers that the front end gave without a worker", labels=["class"]
        )
        with self._lock:
            for name in CLASSES:
                total.add_metric([name], answered[name])
                if (
                    name != "2xx"
                ):  # pings and the launcher's own questions are answered with 200, and nobody counts those
                    # A worker counts an answer a moment before the front end does: a difference never goes down again.
                    self._own[name] = max(self._own[name], answered[name] - seen[name])
                    own.add_metric([name], self._own[name])
        yield total
        yield own

    def _answered(self) -> dict[str, float] | None:
        """The front end's counts by class of status, or None while it does not answer."""
        try:
            answer = request(self._torchserve.addresses.metrics, "GET", "/metrics", timeout=5)
        except OSError:
            return None
        counts = dict.fromkeys(CLASSES, 0.0)
        for family in text_string_to_metric_families(answer.body.decode()):
            name = family.name.removeprefix("Requests").lower()
            if name in counts:
                counts[name] = sum(sample.value for sample in family.samples if not sample.name.endswith("_created"))
        return counts


class _Fixed:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """What was collected before."""
        yield from self._families
