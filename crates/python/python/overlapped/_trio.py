"""trio's loop, as far as this package needs one of asyncio. Imported only in a program that runs trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextvars import Context, copy_context
from typing import Any

import trio

from ._overlapped import Pending

_loop: trio.lowlevel.RunVar[Loop] = trio.lowlevel.RunVar("overlapped")


def running_loop() -> Loop:
    """What stands for the loop of the current run of trio."""
    try:
        return _loop.get()
    except LookupError:
        loop = Loop()
        _loop.set(loop)
        return loop


class Handle:
    """A call that the loop will make."""

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._call: tuple[Callable[..., object], tuple[Any, ...]] | None = (callback, args)

    def cancel(self) -> None:
        """Takes it back."""
        self._call = None

    def run(self) -> None:
        """Makes it."""
        if self._call is not None:
            callback, args = self._call
            callback(*args)


class Loop:
    """The methods of a loop of asyncio that are called here and in Rust. A task of the system keeps it until the run ends."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()

    def create_future(self) -> Future:
        """A future that a task may await."""
        return Future(self)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:
        """Calls something in the thread of the loop; from any thread. A task is only rescheduled by it, in its own context."""
        handle = Handle(callback, args)
        self._token.run_sync_soon(handle.run)
        return handle

    call_soon_threadsafe = call_soon

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Calls something whenever a descriptor is readable."""
        trio.lowlevel.spawn_system_task(self._watch, fd, callback)

    async def _watch(self, fd: int, callback: Callable[[], object]) -> None:
        while True:
            await trio.lowlevel.wait_readable(fd)
            callback()

    def task(self) -> trio.lowlevel.Task:
        """The running task."""
        return trio.lowlevel.current_task()

    async def awaited(self, pending: Pending) -> None:
        """Waits for a request of the client."""

        def add(resume: Callable[[], None]) -> None:
            pending.add_done_callback(lambda _: resume(), context=copy_context())

        await _rescheduled(add)


async def _rescheduled(add: Callable[[Callable[[], None]], None], give_up: Callable[[], object] = lambda: None) -> None:
    """Lets the task sleep until the function is called that `add` is called with. A cancelled task gives up."""
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()

    def resume() -> None:
        nonlocal task
        sleeper, task = task, None
        # None: it was cancelled in the meantime.
        if sleeper is not None:
            trio.lowlevel.reschedule(sleeper)

    def abort(_: object) -> trio.lowlevel.Abort:
        nonlocal task
        task = None
        give_up()
        return trio.lowlevel.Abort.SUCCEEDED

    add(resume)
    await trio.lowlevel.wait_task_rescheduled(abort)


class Future(Awaitable[Any]):
    """What a future of asyncio is, for one task of trio. It is cancelled when the task is that awaits it."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._resume: Callable[[], None] | None = None
        self._is_done = self._is_cancelled = False
        self._value: Any = None
        self._error: BaseException | None = None

    def get_loop(self) -> Loop:
        """Its loop."""
        return self._loop

    def done(self) -> bool:
        """Whether there is a result, or none will come."""
        return self._is_done

    def cancelled(self) -> bool:
        """Whether none will come."""
        return self._is_cancelled

    def set_result(self, value: Any) -> None:
        """Resumes the task with a value."""
        self._value = value
        self._end()

    def set_exception(self, error: BaseException) -> None:
        """Resumes the task with an error."""
        self._error = error
        self._end()

    def cancel(self, msg: Any = None) -> bool:
        """Resumes the task with an error, if there is no result."""
        if self._is_done:
            return False
        self._is_cancelled = True
        self._error = RuntimeError("the call was cancelled by a shutdown")
        self._end()
        return True

    def _end(self) -> None:
        self._is_done = True
        if self._resume is not None:
            self._resume()

    def _give_up(self) -> None:
        self._resume = None
        self._is_done = self._is_cancelled = True

    def __await__(self) -> Generator[Any, Any, Any]:
        if not self._is_done:
            yield from _rescheduled(lambda resume: setattr(self, "_resume", resume), self._give_up).__await__()
        if self._error is not None:
            raise self._error
        return self._value
