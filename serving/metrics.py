"""One `/metrics` for a server: what its workers count, what TorchServe's front end counts, what the launcher knows.

docs/metrics.md explains every name. Workers write memory-mapped files, so a scrape asks none of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from handlers.metric_files import MetricFiles
from serving.client import request
from serving.status import Status
from serving.torchserve import TorchServe

CLASSES = ("2xx", "4xx", "5xx")


class Merged:
    """Collects everything at every scrape."""

    def __init__(self, torchserve: TorchServe, status: Status) -> None:
        self._torchserve, self._status = torchserve, status
        self._files, self._reading = MetricFiles(torchserve.metrics_folder), threading.Lock()
        self._own = dict.fromkeys(CLASSES, 0.0)  # of this front end, at the last scrape
        self._of_earlier = dict.fromkeys(CLASSES, 0.0)  # of those before it
        self._seen_before = dict.fromkeys(CLASSES, 0.0)  # by workers, before this front end began
        self._lock = threading.Lock()

    def front_end_begins(self) -> None:
        """Call before TorchServe is started: a new front end counts from 0, while the files of the workers go on."""
        with self._lock:
            self._of_earlier = {name: self._of_earlier[name] + self._own[name] for name in CLASSES}
            self._own = dict.fromkeys(CLASSES, 0.0)
            self._seen_before = _by_class(self._workers())

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        families = self._workers()
        merged = CollectorRegistry()
        merged.register(_Fixed([*families, *self._launcher(), *self._front_end(families)]))
        return generate_latest(merged)

    def tidy(self) -> None:
        """Put together what ended processes counted, so that they leave no more files behind. Raises `OSError`."""
        with self._reading:
            self._files.tidy()

    def _workers(self) -> list[Metric]:
        with self._reading:
            return self._files.collect()

    def _launcher(self) -> Iterator[Metric]:
        ready, _ = self._status.get()
        yield GaugeMetricFamily("atelier_ready", "1 while everything of the store answers", float(ready))
        yield CounterMetricFamily(
            "atelier_torchserve_restarts", "Times TorchServe had to be started again", self._status.torchserve_restarts
        )
        yield CounterMetricFamily(
            "atelier_gateway_restarts", "Times the gateway had to be started again", self._status.gateway_restarts
        )
        skipped = "Files of counters of which something could not be read"
        yield CounterMetricFamily("atelier_metric_files_skipped", skipped, self._files.skipped)

    def _front_end(self, workers: list[Metric]) -> Iterator[Metric]:
        """Answers by class, and those that no worker saw: the front end's own refusals."""
        seen, answered = _by_class(workers), self._answered()
        if answered is None:
            return
        total = CounterMetricFamily("atelier_front_end_answers", "HTTP answers of the front end", labels=["class"])
        own = CounterMetricFamily(
            "atelier_front_end_rejections", "Answers that the front end gave without a worker", labels=["class"]
        )
        with self._lock:
            for name in CLASSES:
                total.add_metric([name], answered[name])
                # Pings and the launcher's own questions are answered with 200, and nobody counts those.
                if name != "2xx":
                    # A worker counts an answer a moment before the front end does: a difference never goes down again.
                    difference = answered[name] - (seen[name] - self._seen_before[name])
                    self._own[name] = max(self._own[name], difference)
                    own.add_metric([name], self._of_earlier[name] + self._own[name])
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


def _by_class(workers: list[Metric]) -> dict[str, float]:
    """The answers that workers have counted, by class of status."""
    counts = dict.fromkeys(CLASSES, 0.0)
    for family in workers:
        if family.name == "atelier_answers":
            for sample in family.samples:
                name = f"{sample.labels['status'][0]}xx"
                if sample.name.endswith("_total") and name in counts:
                    counts[name] += sample.value
    return counts


class _Fixed:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """The families that were collected before."""
        yield from self._families
