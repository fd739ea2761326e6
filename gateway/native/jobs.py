"""All jobs: a queue a caller, some at work, the ended ones kept for a while. In memory: they end with the process."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import time
from collections import Counter, deque

import structlog
from starlette.datastructures import State

from gateway.accounts.records import CURRENT
from gateway.errors import ApiError, overloaded
from gateway.history.keeper import Making
from gateway.native.job import Job
from gateway.results import Results
from gateway.work import Made, Order, answered

MAX_UNFINISHED = 256  # of all callers
MAX_QUEUED = 16  # of one caller that have not ended
MAX_RUNNING = 2  # of one caller at work at once
MAX_AT_WORK = 16  # of all callers: each holds its result in memory until it is whole
MAX_ENDED = 64  # of one caller that are remembered; the oldest goes first
MAX_KEPT = 4096  # of all callers, those that have not ended included
MAX_TRIES = 30  # of a model that is busy
MAX_PAUSE = 10.0  # seconds between two tries
log = structlog.get_logger("gateway.jobs")


class Jobs:
    """Every job that is there, by its id. `state` is the application's; ended jobs are kept for `seconds`."""

    def __init__(self, state: State, results: Results, seconds: float) -> None:
        self._state, self._results, self._seconds = state, results, seconds
        self._jobs: dict[str, Job] = {}
        self._orders: dict[str, Order] = {}  # of those that have not ended
        self._makings: dict[str, Making] = {}  # of those that have not ended: their room in the history
        self._contexts: dict[str, contextvars.Context] = {}  # of those that have not begun
        self._ends: dict[str, asyncio.TimerHandle] = {}  # of those that have ended: when they are forgotten
        self._queues: dict[str, deque[Job]] = {}  # by caller
        self._running: Counter[str] = Counter()  # by caller
        self._tasks: dict[str, asyncio.Task[None]] = {}
        state.limits.freed = self._begin

    def add(self, order: Order) -> Job:
        """A new job, which has the order's files from now on. Raises `ApiError` where there are too many."""
        owner = order.caller.owner
        order.caller.need(order.model.medium)
        mine = sum(job.owner == owner and not job.over for job in self._jobs.values())
        if mine >= MAX_QUEUED:
            raise ApiError(
                429,
                f"{mine} of your jobs have not ended, which is all you may have: wait for one, or cancel it",
                code="too_many_jobs",
                retry_after=2,
            )
        if len(self._orders) >= MAX_UNFINISHED:
            raise overloaded(f"{MAX_UNFINISHED} jobs have not ended, which is all that are taken; come again later", 5)
        job = Job(owner, order.model.name)
        order = dataclasses.replace(order, job=job.id)
        self._makings[job.id] = self._state.history.making(order)
        self._jobs[job.id] = job
        self._orders[job.id] = dataclasses.replace(order, kept=order.kept.handed_over())
        # What it uses is counted by itself: the record of the request that began it has ended by then.
        context = self._contexts[job.id] = contextvars.copy_context()
        context.run(CURRENT.set, None)
        self._queues.setdefault(owner, deque()).append(job)
        self._begin()
        return job

    def find(self, owner: str, identity: str) -> Job:
        """A caller's job. Raises `ApiError` (404), the same for another's as for one that never was."""
        job = self._jobs.get(identity)
        if job is None or job.owner != owner:
            raise ApiError(404, "there is no such job: it never was, was removed, or was kept long enough", param="id")
        return job

    def mine(self, owner: str) -> list[Job]:
        """A caller's jobs, the oldest first."""
        return [job for job in self._jobs.values() if job.owner == owner]

    async def remove(self, job: Job) -> None:
        """Cancel what has not ended; forget what has, with its result."""
        if job.over:
            self._forget(job.id)
        elif (task := self._tasks.get(job.id)) is not None:
            task.cancel()
            await asyncio.wait([task])
            if not job.over:
                job.to("cancelled")
        else:
            self._queues[job.owner].remove(job)
            job.to("cancelled")
            self._end(job)

    async def close(self) -> None:
        """Cancel everything that has not ended."""
        self._queues.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for order in self._orders.values():
            order.kept.close()
        for making in self._makings.values():
            making.end("cancelled")

    def _begin(self) -> None:
        """Begin what may begin, one of each caller in turn."""
        begun = True
        while begun:
            begun = False
            for owner in list(self._queues):
                queue = self._queues[owner]
                if queue and len(self._tasks) < MAX_AT_WORK and self._may_begin(queue[0]):
                    self._queues[owner] = self._queues.pop(owner)  # to the end of the row
                    self._start(queue.popleft())
                    begun = True

    def _may_begin(self, job: Job) -> bool:
        caller = self._orders[job.id].caller
        return self._running[job.owner] < MAX_RUNNING and self._state.limits.takes_job(caller)

    def _start(self, job: Job) -> None:
        self._running[job.owner] += 1
        self._state.limits.job_began(self._orders[job.id].caller)
        work = self._run(job, self._orders[job.id])
        task = self._tasks[job.id] = asyncio.create_task(work, context=self._contexts.pop(job.id))
        task.add_done_callback(functools.partial(self._ran, job))

    async def _run(self, job: Job, order: Order) -> None:
        try:
            job.to("running", started=time.time())
            await self._work(job, order)
        except ApiError as error:
            job.to("failed", error=error.plain())
        except Exception:  # nobody waits for this task: what it raises would be lost, and the job never over
            log.exception("a job could not be done", job=job.id)
            job.to("failed", error=ApiError(500, "the gateway could not do this job; its log has the reason"))

    async def _work(self, job: Job, order: Order) -> None:
        while True:
            self._state.accounts.standing.check(order.caller)  # it waited: its key may not do anything any more
            job.tries += 1
            try:
                made = await self._ask(job, order)
                break
            except ApiError as error:
                if error.status != 503 or job.tries >= MAX_TRIES:
                    raise
                job.bytes = 0
                await asyncio.sleep(min(MAX_PAUSE, error.retry_after or 1.0))
        self._makings[job.id].keep(made)
        result = await self._results.keep(job.owner, made.body, made.content_type, made.receipt_text)
        job.to("done", token=result.token, content_type=made.content_type)

    async def _ask(self, job: Job, order: Order) -> Made:
        pieces = []
        async with answered(self._state, order, self._makings[job.id]) as (answer, meter):
            async for piece in answer.chunks():
                meter.feed(piece)
                pieces.append(piece)
                job.progress(len(piece))
            return Made(b"".join(pieces), answer.content_type, answer.receipt_text, answer.receipt)

    def _ran(self, job: Job, _task: asyncio.Task[None]) -> None:
        """After its task, however that ended."""
        del self._tasks[job.id]
        self._running[job.owner] -= 1
        self._state.limits.job_ended(self._orders[job.id].caller)
        if not job.over:
            job.to("cancelled")
        self._end(job)
        self._begin()

    def _end(self, job: Job) -> None:
        self._orders.pop(job.id).kept.close()
        self._makings.pop(job.id).end("failed" if job.status == "failed" else "cancelled")  # unless it was kept
        self._contexts.pop(job.id, None)
        if not self._queues.get(job.owner) and not self._running[job.owner]:
            self._queues.pop(job.owner, None)
            del self._running[job.owner]
        self._ends[job.id] = asyncio.get_running_loop().call_later(self._seconds, self._forget, job.id)
        mine = [other for other in self.mine(job.owner) if other.over]
        every = [other for other in self._jobs.values() if other.over]
        for other in mine[: max(0, len(mine) - MAX_ENDED)] + every[: max(0, len(self._jobs) - MAX_KEPT)]:
            self._forget(other.id)

    def _forget(self, identity: str) -> None:
        job = self._jobs.pop(identity, None)
        if (timer := self._ends.pop(identity, None)) is not None:
            timer.cancel()
        if job is not None and job.token is not None:
            self._results.drop(job.token)
