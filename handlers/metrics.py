"""The metrics of a worker, for Prometheus; docs/metrics.md explains every name.

The processes of a worker (and all workers of a server) share a folder, named by PROMETHEUS_MULTIPROC_DIR, through
memory-mapped files: the launcher reads them without asking anybody, so a busy or a dead worker does not hold up a
scrape.
"""

from __future__ import annotations

from handlers import metric_files

metric_files.reserve()  # before the library opens its files

from prometheus_client import Counter, Gauge, Histogram  # noqa: E402

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SHORT_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_FACTORS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)

ANSWERS = Counter("atelier_answers", "Answers by HTTP status", ["model", "status"])
REJECTIONS = Counter("atelier_rejections", "Requests that got no media, by reason", ["model", "reason"])
ITEMS = Counter("atelier_items", "Images, tokens or samples generated", ["model"])
RESTARTS = Counter("atelier_engine_restarts", "Engine processes that had to be replaced", ["model"])
BATCH_SIZE = Histogram("atelier_batch_size_requests", "Requests computed together", ["model"], buckets=_SIZES)
ENGINE_SECONDS = Histogram("atelier_engine_seconds", "One call of the engine", ["model"], buckets=_SHORT_SECONDS)
ENCODE_SECONDS = Histogram(
    "atelier_encode_seconds",
    "Making files or text of what the engine computed, per call",
    ["model"],
    buckets=_SHORT_SECONDS,
)
READ_SECONDS = Histogram(
    "atelier_read_seconds", "Reading the sources of a few requests, beside the steps", ["model"], buckets=_SHORT_SECONDS
)
FIRST_BYTE_SECONDS = Histogram(
    "atelier_first_byte_seconds",
    "From a request's arrival at the worker to the first byte of its answer",
    ["model"],
    buckets=_SECONDS,
)
ANSWER_SECONDS = Histogram(
    "atelier_answer_seconds",
    "From a request's arrival at the worker to the end of its answer",
    ["model"],
    buckets=_SECONDS,
)
FIRST_AUDIO_SECONDS = Histogram(
    "atelier_first_audio_seconds",
    "Of a stream, from a request's arrival at the engine to the first piece with sound",
    ["model"],
    buckets=_SECONDS,
)
REAL_TIME_FACTOR = Histogram(
    "atelier_real_time_factor_ratio",
    "Seconds of steps for a second of sound, per answer: under 1 it is made faster than it is heard",
    ["model"],
    buckets=_FACTORS,
)
IN_FLIGHT = Gauge("atelier_in_flight_requests", "Requests being computed", ["model"], multiprocess_mode="livesum")
QUEUE_DEPTH = Gauge(
    "atelier_queue_depth_requests", "Requests waiting in the worker", ["model"], multiprocess_mode="livesum"
)
QUEUED_SECONDS = Gauge(
    "atelier_queued_work_seconds",
    "Time until what waits now will have been computed",
    ["model"],
    multiprocess_mode="livemax",
)
VARIANT = Gauge(
    "atelier_variant_info",
    "1 for the candidate that is served in each role",
    ["model", "version", "role", "candidate"],
    multiprocess_mode="livemax",
)
FALLBACK = Gauge(
    "atelier_fallback_info",
    "1 while a candidate is served in the place of one that was chosen for this machine",
    ["model"],
    multiprocess_mode="livemax",
)


def tell_variant(model: str, version: str, candidate: dict[str, str], fallback: bool) -> None:
    """Publish which candidates a worker serves, and whether others were chosen for this machine."""
    FALLBACK.labels(model).set(fallback)
    for role, identifier in candidate.items():
        VARIANT.labels(model, version, role, identifier).set(1)
