"""Counters of the gateway, in a registry of their own."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

disable_created_metrics()  # type: ignore[no-untyped-call]  # nobody asked when counters began


class Metrics:
    """What `/metrics` tells; docs/metrics.md explains each."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.answers = Counter(
            "atelier_gateway_answers", "answers to callers", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "atelier_gateway_answer_seconds",
            "from a request's head to the end of its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("atelier_gateway_in_flight_requests", "requests in hand", registry=self.registry)
        self.held = Gauge(
            "atelier_gateway_upstream_requests", "requests that a model has in hand", ["model"], registry=self.registry
        )
        self.waiting = Gauge(
            "atelier_gateway_waiting_requests", "requests that wait for a model", ["model"], registry=self.registry
        )
        self.left = Counter(
            "atelier_gateway_departures", "callers who left before their answer", registry=self.registry
        )
        self.unread = Gauge(
            "atelier_gateway_unread_bytes", "large answers that are not read to their end", registry=self.registry
        )
        self.connections = Gauge("atelier_gateway_connections", "open connections of callers", registry=self.registry)
        self.ended = Counter(
            "atelier_gateway_connections_ended", "connections ended by a bound", ["bound"], registry=self.registry
        )
        self.moderation = Counter(
            "atelier_gateway_moderation_decisions",
            "texts and images that a rule was met by",
            ["category", "action", "stage"],
            registry=self.registry,
        )
        self.draining = Gauge("atelier_gateway_draining", "1 while the gateway stops", registry=self.registry)

        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}  # looking one up by its labels costs more

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        found = self._known.get((route, status))
        if found is None:
            found = (self.answers.labels(route, str(status)), self.seconds.labels(route))
            self._known[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def moderated(self, category: str, action: str, stage: str) -> None:
        """Count one decision of moderation."""
        self.moderation.labels(category, action, stage).inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
