"""The process: uvicorn on one event loop."""

from __future__ import annotations

import uvicorn

from gateway.app import build
from gateway.settings import Settings


def server(settings: Settings) -> uvicorn.Server:
    """A server of these settings, to be run by `run()`."""
    config = uvicorn.Config(
        build(settings),
        host=settings.host,
        port=settings.port,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    return uvicorn.Server(config)
