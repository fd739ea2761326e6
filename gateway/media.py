"""Images, sounds, a model's own words and jobs: their routes, and what they keep while the gateway runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import State
from starlette.routing import BaseRoute

from gateway.native import generate, job_routes
from gateway.native import models as native_models
from gateway.native.jobs import Jobs
from gateway.results import Results
from gateway.spool_folder import Folder
from gateway.v1 import image_edits, images, results, speech, voices

routes: list[BaseRoute] = [
    *images.routes,
    *speech.routes,
    *generate.routes,
    *image_edits.routes,
    *results.routes,
    *voices.routes,
    *native_models.routes,
    *job_routes.routes,
]


@asynccontextmanager
async def parts(state: State) -> AsyncIterator[None]:
    """`results`, `jobs` and `sizes` of a state that has a `spool`. Raises `OSError` where files cannot lie."""
    settings = state.settings
    state.results = Results(Folder(state.spool.folder / "results"), settings.results_bytes, settings.results_seconds)
    state.jobs = Jobs(state, state.results, settings.results_seconds)
    state.sizes = images.Sizes()
    try:
        yield
    finally:
        await state.jobs.close()
        state.results.close()
