"""Wall-clock chores by APScheduler: what should happen now and then, never a loop that must not stop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from core.errors import Transient

log = logging.getLogger(__name__)
# APScheduler logs every failure with its traceback; `judge` decides what is worth a line.
_silent = logging.getLogger(f"{__name__}.scheduler")
_silent.disabled = True


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every so often; it must be harmless when done twice."""

    name: str
    every: timedelta
    do: Callable[[], Awaitable[object]]


class Chores:
    """Does chores (a Service).

    A chore that fails for a while (Transient) is tried again at its next time; a defect ends the service.
    """

    def __init__(self, chores: Sequence[Chore], *, name: str) -> None:
        self.name = f"chores.{name}"
        self._chores = tuple(chores)

    async def run(self) -> None:
        """Do chores for ever."""
        defect: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def judge(event: JobExecutionEvent) -> None:
            if isinstance(event.exception, Transient):
                log.warning("chore failed", extra={"chore": event.job_id, "why": str(event.exception)})
            elif not defect.done():
                defect.set_exception(event.exception)

        scheduler = AsyncIOScheduler(timezone="UTC", logger=_silent)
        scheduler.add_listener(judge, EVENT_JOB_ERROR)
        for chore in self._chores:
            # One at a time, and one for any number of missed ones: a laptop that slept owes nothing.
            scheduler.add_job(
                _done, IntervalTrigger(seconds=int(chore.every.total_seconds())), args=[chore], id=chore.name,
                max_instances=1, coalesce=True, misfire_grace_time=None,
            )  # fmt: skip
        scheduler.start()
        try:
            await defect
        finally:
            scheduler.shutdown(wait=False)


async def _done(chore: Chore) -> None:
    await chore.do()
    log.info("chore done", extra={"chore": chore.name})
