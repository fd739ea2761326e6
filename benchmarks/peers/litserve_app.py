"""LitServe with the same engine and encoder, batches of up to 32 within 1 ms.

Started as `python -m benchmarks.peers.litserve_app PORT BUNDLE`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import litserve
from fastapi import Response

from benchmarks.peers.files import files
from handlers.generator import Request as Parameters

BUNDLE = "ATELIER_BENCH_BUNDLE"  # LitServe's workers are spawned: they know the environment, not the arguments


class Images(litserve.LitAPI):  # type: ignore[misc]
    """Its hooks: decode, predict a batch, encode."""

    def setup(self, device: str) -> None:
        """Open the engine in the worker."""
        from handlers.bundle import read
        from handlers.engine.choice import open_model

        self.generator = open_model(read(Path(os.environ[BUNDLE]))).generator

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """The parsed JSON body."""
        return request

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Requests stay a list: the generator takes them as they are."""
        return list(inputs)

    def predict(self, batch: list[Any]) -> list[tuple[bytes, str]]:
        """Engine and encoder."""
        return files(self.generator, [self.generator.parse(Parameters(item)) for item in batch])

    def unbatch(self, output: list[tuple[bytes, str]]) -> list[tuple[bytes, str]]:
        """One answer per request already."""
        return output

    def encode_response(self, output: tuple[bytes, str]) -> Response:
        """The file."""
        body, content_type = output
        return Response(body, media_type=content_type)


def main() -> None:
    """Serve until SIGTERM."""
    port, os.environ[BUNDLE] = sys.argv[1:]
    # Its default of 0 spins on a whole core while idle; longer ones were slower from one client to 32.
    api = Images(max_batch_size=32, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
