"""Death at a moment that is counted, not timed: at the n-th time that a service waits for something."""

import asyncio
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any

from typing_extensions import override

from core.service import Service


class Died(Exception):
    """The process was ended from outside."""


class Mortal:
    """A Service that is ended, with its whole process, at its `nth` await. Raises Died."""

    def __init__(self, service: Service, nth: int) -> None:
        self.name = service.name
        self._service = service
        self._nth = nth

    async def run(self) -> None:
        """Run until the n-th await."""
        counted = _Counted(self._service.run(), self._nth)
        try:
            await asyncio.create_task(counted, name=self.name)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if not counted.struck or (current is not None and current.cancelling()):
                raise
            raise Died(f"{self.name} at await {self._nth}") from None


class _Counted(Coroutine[Any, Any, None]):
    """A coroutine that cancels its task at the n-th time it waits."""

    def __init__(self, work: Coroutine[Any, Any, None], nth: int) -> None:
        self.struck = False
        self._work = work
        self._left = nth

    @override
    def send(self, value: Any, /) -> Any:
        return self._counted(self._work.send(value))

    @override
    def throw(self, kind: Any, value: object = None, trace: TracebackType | None = None, /) -> Any:
        del value, trace
        return self._counted(self._work.throw(kind))

    @override
    def close(self) -> None:
        self._work.close()

    @override
    def __await__(self) -> Generator[Any, None, None]:
        return self._work.__await__()

    def _counted(self, waiting: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            self.struck = True
            task = asyncio.current_task()
            assert task is not None, "awaited outside of a task"
            task.cancel()
        return waiting
