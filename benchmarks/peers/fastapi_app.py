"""FastAPI on uvicorn with an asyncio batcher: what queued while the engine was busy is the next batch, up to 32.

The strongest server that one writes by hand: our engine and encoder, no front end process. Started as
`python -m benchmarks.peers.fastapi_app PORT BUNDLE`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.peers.files import files
from handlers.bundle import read
from handlers.engine.choice import open_model
from handlers.generator import Request as Parameters

BATCH = 32


def application(bundle: Path) -> Any:
    """The application over one bundle."""
    from fastapi import FastAPI, Request, Response

    generator = open_model(read(bundle)).generator
    queue: asyncio.Queue[tuple[Any, asyncio.Future[tuple[bytes, str]]]] = asyncio.Queue()
    pool = ThreadPoolExecutor(1)

    async def batches() -> None:
        loop = asyncio.get_running_loop()
        while True:
            taken = [await queue.get()]
            while len(taken) < BATCH and not queue.empty():
                taken.append(queue.get_nowait())
            try:
                answers = await loop.run_in_executor(pool, files, generator, [params for params, _ in taken])
            except Exception as error:  # whoever waits must hear of it
                for _, future in taken:
                    future.set_exception(error)
                continue
            for (_, future), item in zip(taken, answers, strict=True):
                if not future.cancelled():
                    future.set_result(item)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(batches())
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)

    async def predict(request: Request) -> Response:
        params = generator.parse(Parameters(await request.json()))
        future: asyncio.Future[tuple[bytes, str]] = asyncio.get_running_loop().create_future()
        await queue.put((params, future))
        body, content_type = await future
        return Response(body, media_type=content_type)

    predict.__annotations__ = {"request": Request, "return": Response}  # FastAPI reads them as objects
    app.post("/predict", response_model=None)(predict)
    return app


def main() -> None:
    """Serve until SIGTERM."""
    import uvicorn

    port, bundle = sys.argv[1:]
    uvicorn.run(application(Path(bundle)), host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
