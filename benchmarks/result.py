"""The result of one load: samples summed up; JSON on its way from the load generator to the process that started it."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from benchmarks.response import Sample
from benchmarks.summary import Latency, latency, percentiles_ms, series

# An open loop whose generator took up one request in a hundred later than this is not valid: its arrivals are bursts,
# and its latencies the generator's own. It is a fifth of the 50 ms within which a refusal is to come under overload.
MAX_BEHIND_MS = 10.0


@dataclasses.dataclass(frozen=True)
class Result:
    """Counts, throughput and latencies of one load.

    Latencies are in milliseconds, of responses with status 200 where nothing else is said. NaN: there were none.
    """

    seconds: float
    counts: dict[str, int]  # by status; "error": no whole response; "unsent": no connection came free in time
    good_per_s: float  # responses with status 200 that were whole within `seconds`
    responses_per_s: float  # responses with any status
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    first_byte_p50_ms: float  # of the body
    first_byte_p99_ms: float
    refused_p99_ms: float  # of responses with 503
    overall: Latency  # every request: those refused, failed or never sent, too
    by_status: dict[str, Latency]  # as `counts`
    body_bytes: int
    chunks: float  # of a streamed response, on average; NaN: none was streamed
    behind_p99_ms: float  # how late after `due` the generator itself took up a request; NaN in a closed loop
    behind_max_ms: float
    series: list[tuple[float, float, float]]  # (second, median ms, worst ms) over time, all requests

    @property
    def late(self) -> bool:
        """Whether the generator was too late for an open loop: nothing that it measured is valid."""
        return self.behind_p99_ms > MAX_BEHIND_MS


def summed(
    samples: Sequence[Sample], behind: Sequence[tuple[float, float]], counted_from: float, seconds: float
) -> Result:
    """Sum up the samples of requests that were due from `counted_from` (perf_counter) on, for `seconds`.

    `behind` is (due, seconds that the generator was late) of every request of an open loop.
    """
    until = counted_from + seconds
    counted = [sample for sample in samples if sample.due >= counted_from]
    good = [sample for sample in counted if sample.outcome == "200"]
    chunks = [sample.chunks for sample in good if sample.chunks]
    took: dict[str, list[float]] = collections.defaultdict(list)
    for sample in counted:
        took[sample.outcome].append(sample.took)
    by_status = {outcome: latency(times) for outcome, times in sorted(took.items())}
    # By when it ended, not by when it was due: otherwise a block would lose what its warm-up had begun.
    ends = [(sample.due + sample.took, sample.outcome) for sample in samples if sample.outcome.isdigit()]
    inside = [outcome for end, outcome in ends if counted_from <= end <= until]
    of_good = latency(took.get("200", []))
    first_p50, first_p99 = percentiles_ms([sample.first for sample in good], (50, 99))
    behind_p99, behind_max = percentiles_ms([late for due, late in behind if due >= counted_from], (99, 100))
    return Result(
        seconds=seconds,
        counts={outcome: of.count for outcome, of in by_status.items()},
        good_per_s=round(inside.count("200") / seconds, 2),
        responses_per_s=round(len(inside) / seconds, 2),
        p50_ms=of_good.p50_ms,
        p90_ms=of_good.p90_ms,
        p95_ms=of_good.p95_ms,
        p99_ms=of_good.p99_ms,
        max_ms=of_good.max_ms,
        first_byte_p50_ms=first_p50,
        first_byte_p99_ms=first_p99,
        refused_p99_ms=percentiles_ms(took.get("503", []), (99,))[0],
        overall=latency([sample.took for sample in counted]),
        by_status=by_status,
        body_bytes=sum(sample.size for sample in good),
        chunks=round(sum(chunks) / len(chunks), 2) if chunks else math.nan,
        behind_p99_ms=behind_p99,
        behind_max_ms=behind_max,
        series=series([(sample.due - counted_from, sample.took) for sample in counted], seconds),
    )


def to_json(result: Result) -> str:
    """One line; NaN becomes null."""
    return json.dumps(null_for_nan(dataclasses.asdict(result)), allow_nan=False)


def from_json(text: str) -> Result:
    """Read what `to_json` wrote."""
    fields: dict[str, Any] = _nan_for_null(json.loads(text))
    fields["overall"] = Latency(**fields["overall"])
    fields["by_status"] = {status: Latency(**of) for status, of in fields["by_status"].items()}
    fields["series"] = [tuple(point) for point in fields["series"]]
    return Result(**fields)


def null_for_nan(value: Any) -> Any:
    """A copy with None in place of NaN, at any depth: NaN is no JSON."""
    if isinstance(value, dict):
        return {key: null_for_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [null_for_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _nan_for_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_for_null(item) for key, item in value.items()}
    return math.nan if value is None else value
