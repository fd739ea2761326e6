"""Ten minutes of mixed load on one server: failures and growth of memory.

Tiny models, because a leak per request does not depend on their size: images of every kind and texts, streamed and
whole, from a closed loop of each. Memory is the sum over TorchServe, proxies and engines, compared after the first
fifth and at the end.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import page
from benchmarks.load import SEED, Load, send
from benchmarks.sabotage import renamed
from benchmarks.server import Server, running
from benchmarks.tiny import tiny_models

MIXED = (
    ("image", f'{{"seed": {SEED}}}', 2),
    ("image", f'{{"seed": {SEED}, "n": 4, "format": "jpeg"}}', 2),
    ("image", f'{{"seed": {SEED}, "n": 9, "grid": true, "format": "webp"}}', 1),
    ("text", f'{{"seed": {SEED}, "max_tokens": 200, "stream": true}}', 8),
    ("text", f'{{"seed": {SEED}, "max_tokens": 50, "temperature": 0}}', 4),
)


def run(quick: bool) -> dict[str, Any]:
    """All figures; one minute with `quick`, else ten."""
    seconds = 60.0 if quick else 600.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "store"
        store.mkdir()
        for model, bundle in tiny_models(folder).items():
            renamed(bundle, model, store)
        with running(store, folder / "run") as server:
            counts, memory = soak(server, seconds)
            restarts = sum(v for k, v in server.metrics().items() if "restarts_total" in k)
    settled = [point for point in memory if point[0] > seconds / 5]
    half = max(1, len(settled) // 4)
    before, after = (statistics.median(mb for _, mb in part) for part in (settled[:half], settled[-half:]))
    figures = {
        "requests": sum(counts.values()),
        "failed": sum(count for status, count in counts.items() if status != "200"),
        "counts": counts,
        "memory_mb_after_a_fifth": round(before),
        "memory_mb_at_the_end": round(after),
        "growth": round(after / before - 1, 4),
        "restarts": restarts,
    }
    picture = page.curves({"all processes": memory}, "seconds", "resident memory, MB")
    print(f"report: {page.write('soak', figures, [page.Section('Memory', 'Every process of the server.', picture)])}")
    return figures


def soak(server: Server, seconds: float) -> tuple[dict[str, int], list[tuple[float, float]]]:
    """(responses by status, (second, resident memory in MB) over time) of the mixed load."""
    counts: dict[str, int] = {}
    lock = threading.Lock()

    def one(number: int, model: str, body: str, clients: int) -> None:
        load = Load(
            server.inference, f"/predictions/{model}", body, seconds, 0.01, clients, first_seed=1 + number * 10**9
        )
        for status, count in send(load).counts.items():
            with lock:
                counts[status] = counts.get(status, 0) + count

    threads = [threading.Thread(target=one, args=(i, *mixed)) for i, mixed in enumerate(MIXED)]
    for thread in threads:
        thread.start()
    began, memory = time.monotonic(), []
    while any(thread.is_alive() for thread in threads):
        memory.append((round(time.monotonic() - began, 1), resident_mb(server)))
        time.sleep(2.0)
    for thread in threads:
        thread.join()
    return counts, memory


def resident_mb(server: Server) -> float:
    """Resident memory of TorchServe, its workers and their engines."""
    total = 0
    for process in server.processes():
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return round(total / 2**20, 1)
