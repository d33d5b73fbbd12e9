"""`Executor`: a `ThreadPoolExecutor` whose calls can be awaited."""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import _base  # for the logger of the standard executors
from concurrent.futures.thread import BrokenThreadPool, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, NamedTuple

from ._arguments import COUNT_MAX, check_flag, check_text, count, count_or_none, is_flag, number, seconds, wrong
from ._overlapped import Pool

_number = itertools.count().__next__

# Every thread of every executor, with what it works for. At the end of the interpreter they are told to end, and waited for.
_workers: weakref.WeakKeyDictionary[threading.Thread, Pool] = weakref.WeakKeyDictionary()
_exiting = False

# In a thread of an executor: its pool.
_here = threading.local()


class QueueFull(RuntimeError):
    """The queue of an executor is full, and `on_full` is "raise"."""


class ExecutorStats(NamedTuple):
    """What an executor does, at one moment."""

    workers: int
    """Threads."""
    idle: int
    """Threads that wait for work."""
    running: int
    """Calls that run."""
    queued: int
    """Calls that wait."""
    submitted: int
    """Calls that were let in, so far."""
    completed: int
    """Calls that have ended, so far."""
    cancelled: int
    """Calls that a shutdown took out of the queue."""


class Executor(ThreadPoolExecutor):
    """A pool of threads for calls that block.

    It is a `concurrent.futures.ThreadPoolExecutor` to every library that checks, with the same methods and the same
    behaviour. Beyond that its calls can be awaited (`run`), its queue can be bounded, parts of it can have limits of their
    own (`limited`), and threads that have nothing to do end.

        >>> with Executor(max_workers=5) as executor:
        ...     list(executor.map(len, ["a", "bb", "ccc"]))
        [1, 2, 3]

    Args:
        max_workers: The most calls at a time; by default four more than there are processors, and at most 32.
        thread_name_prefix: What the threads are called; a number follows.
        initializer: Called in every new thread, with `initargs`; without it these have no effect.
        max_queue: The most calls that wait; None: any number.
        on_full: What `submit` does if so many wait: "wait" for a place, "raise" `QueueFull`, or "caller_runs" the call.
        keep_alive: Seconds after which a thread without work ends; None: never.
        wait_at_exit: Whether the end of the interpreter waits for calls that are queued or run. Otherwise it drops them.
    """

    _pool: Pool
    _lane: int
    _root: Executor

    def __init__(
        self,
        max_workers: float | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_queue: int | None = None,
        on_full: str = "wait",
        keep_alive: float | None = 10.0,
        wait_at_exit: bool = True,
    ) -> None:
        if max_workers is None:
            processors = getattr(os, "process_cpu_count", os.cpu_count)()
            max_workers = min(32, (processors or 1) + 4)
        if not 0 < number("max_workers", max_workers) < math.inf:
            raise ValueError(f"max_workers must be greater than 0, and finite, not {max_workers}")
        if max_workers > COUNT_MAX:
            raise ValueError(f"max_workers is {max_workers}; it must be at most {COUNT_MAX}")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if initializer is not None:
            try:
                initargs = tuple(initargs)
            except TypeError:
                raise wrong("initargs", "a tuple", initargs) from None
        max_queue = count_or_none("max_queue", max_queue, 1)
        keep_alive = seconds("keep_alive", keep_alive, may_be_zero=True)
        check_flag("wait_at_exit", wait_at_exit)
        if on_full not in ("wait", "raise", "caller_runs"):
            raise ValueError(f"on_full is {on_full!r}; it must be 'wait', 'raise' or 'caller_runs'")
        # A float is accepted, as by the standard executor.
        self._max_workers: Any = max_workers
        self._on_full = on_full
        self._wait_at_exit = wait_at_exit
        self._broken: Any = False
        self._shutdown = False
        self._shutdown_lock = threading.Lock()
        self._thread_name_prefix = thread_name_prefix or f"ThreadPoolExecutor-{_number()}"
        self._initializer = initializer
        self._initargs = initargs
        self._started = 0
        self._thread_set: set[threading.Thread] = set()
        self._pool = Pool(math.ceil(max_workers), max_queue, keep_alive)
        self._lane = Pool.ROOT
        self._work_queue: Any = _WorkQueue(self._pool)
        finalizer = weakref.finalize(self, self._pool.close)
        finalizer.atexit = False

    @property
    def _threads(self) -> set[threading.Thread]:  # type: ignore[override]
        # Of a view: those of its executor. A property, so that `__init__` of the base class is not needed for it.
        return self._owner._thread_set

    @property
    def _owner(self) -> Executor:
        root: Executor = self.__dict__.get("_root", self)
        return root

    @property
    def _takes_calls(self) -> bool:
        """Whether it was not shut down, and is of this process: the threads of another one did not come along when it forked."""
        return not self._shutdown and self._pool.is_of_this_process()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hands a call to the pool. If the queue is full, see `on_full`."""
        future: Future[Any] = Future()
        while True:
            self._check()
            try:
                needs_thread = self._pool.submit(self._lane, future, fn, args, kwargs or None)
            except RuntimeError:
                # An initializer has failed meanwhile.
                self._check()
                raise
            if needs_thread is not None:
                if needs_thread:
                    self._owner._start_thread()
                return future
            if self._on_full == "raise":
                raise QueueFull("the queue is full")
            if self._on_full == "caller_runs":
                _run_here(future, fn, args, kwargs)
                return future
            self._pool.wait_for_place()

    async def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Makes a call in the pool and awaits its result, in a copy of the current context.

            >>> import asyncio
            >>> async def main():
            ...     with Executor() as executor:
            ...         return await executor.run(len, "abc")
            >>> asyncio.run(main())
            3

        If the task that awaits is cancelled, a call that has not started is not made; one that runs goes on to its end, and
        its result is dropped. The event loop is never blocked by a full queue: `max_queue` does not apply here, since each
        call has a task that waits for it.
        """
        # Not at the top: importing asyncio takes longer than all the rest of this package.
        from ._loop import bridge_to_running

        self._check()
        loop, bridge = bridge_to_running()
        future = loop.create_future()
        if self._pool.run(self._lane, bridge, future, copy_context(), fn, args, kwargs or None):
            self._owner._start_thread()
        return await future

    def map(  # type: ignore[override, unused-ignore]
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """The results of `fn` for each item, in the order of the items.

        With `buffersize`, at most so many calls are submitted whose results were not taken yet, and the iterables are read
        only so far: they may be endless. Without it all calls are submitted at once.
        """
        if buffersize is not None and (is_flag(buffersize) or not isinstance(buffersize, int)):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        if buffersize is not None and buffersize > COUNT_MAX:
            raise ValueError(f"buffersize is {buffersize}; it must be at most {COUNT_MAX}")
        try:
            until = None if timeout is None else time.monotonic() + timeout
        except TypeError:
            raise wrong("timeout", "a number or None", timeout) from None
        calls = zip(*iterables)
        first = calls if buffersize is None else itertools.islice(calls, buffersize)
        futures = deque(self.submit(fn, *args) for args in first)
        # The iterator does not keep the executor: when that is dropped, nothing more is submitted.
        executor = weakref.ref(self)

        def results() -> Iterator[Any]:
            try:
                while futures:
                    # In a list, so that no name refers to a result that the caller has taken.
                    taken = [_result_of(futures.popleft(), until)]
                    if buffersize is not None and (own := executor()) is not None:
                        for args in itertools.islice(calls, 1):
                            futures.append(own.submit(fn, *args))
                        del own
                    yield taken.pop()
            finally:
                for future in futures:
                    future.cancel()

        return results()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None) -> None:
        """Lets no further call in, and waits for those that are there.

        Args:
            wait: Whether to wait.
            cancel_futures: Whether to cancel the calls that have not started.
            timeout: Wait at most so many seconds; `stats()` then says how many calls still run.
        """
        timeout = seconds("timeout", timeout, may_be_zero=True)
        self._shutdown = True
        until = None if timeout is None else time.monotonic() + timeout
        left = (lambda: None) if until is None else (lambda: max(0.0, until - time.monotonic()))
        if self._lane != Pool.ROOT:
            if wait:
                self._pool.wait_for_end(self._lane, left())
            return
        self._pool.close()
        if cancel_futures:
            _cancel(self._pool.drain())
        if wait:
            if getattr(_here, "pool", None) is self._pool:
                raise RuntimeError("a worker cannot wait for the end of its own executor")
            for thread in list(self._threads):
                thread.join(left())

    def limited(self, n: int, name: str | None = None) -> Executor:
        """A view: an executor on the same threads of which at most `n` calls run at a time; the others wait in a queue of
        the view and hold no thread. Its `shutdown` ends the view only."""
        n = count("n, the limit of a view,", n, 1)
        check_text("name", name)
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._root = self._owner
        view._shutdown = False
        view._max_workers = min(n, self._max_workers)
        view._lane = self._pool.add_lane(n)
        view._view_name = name  # type: ignore[attr-defined]
        return view

    def stats(self) -> ExecutorStats:
        """What the executor does at this moment, its views included."""
        return ExecutorStats(*self._pool.stats())

    def __repr__(self) -> str:
        view = self.__dict__.get("_view_name")
        return f"<overlapped.Executor{f' view {view!r}' if view else ''} max_workers={self._max_workers}>"

    def _check(self) -> None:
        if self._owner._broken:
            raise BrokenThreadPool(self._owner._broken)
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def _start_thread(self) -> None:
        with self._shutdown_lock:
            number = self._started
            self._started += 1
        thread = threading.Thread(
            name=f"{self._thread_name_prefix}_{number}",
            target=_work,
            args=(weakref.ref(self), self._pool, self._initializer, self._initargs),
            daemon=not self._wait_at_exit,
        )
        try:
            thread.start()
        except RuntimeError:
            # The system refuses a thread. Others will do the work, if there are others.
            if self._pool.thread_refused() is not None:
                raise
            return
        self._thread_set.add(thread)
        _workers[thread] = self._pool

    def _initializer_failed(self) -> None:
        self._broken = "A thread initializer failed, the thread pool is not usable anymore"
        self._pool.close()
        for future in self._pool.drain():
            error = BrokenThreadPool(self._broken)
            if isinstance(future, Future):
                future.set_exception(error)
            else:
                future.get_loop().call_soon_threadsafe(_fail, future, error)

    def _forget(self, thread: threading.Thread) -> None:
        # A new set, because other threads may iterate over the old one.
        self._thread_set = self._thread_set - {thread}


class _WorkQueue:
    """What libraries look at to learn how many calls wait."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def qsize(self) -> int:
        return self._pool.stats()[3]

    def empty(self) -> bool:
        return self.qsize() == 0


def _work(
    executor_of: weakref.ref[Executor],
    pool: Pool,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """The life of a thread."""
    _here.pool = pool
    if initializer is not None:
        try:
            initializer(*initargs)
        except BaseException:
            _base.LOGGER.critical("Exception in initializer:", exc_info=True)
            executor = executor_of()
            if executor is not None:
                executor._initializer_failed()
            pool.worker_failed()
            return
    if pool.work():
        executor = executor_of()
        if executor is not None:
            executor._forget(threading.current_thread())


def _run_here(future: Future[Any], fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
    future.set_running_or_notify_cancel()
    try:
        result = fn(*args, **kwargs)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _result_of(future: Future[Any], until: float | None) -> Any:
    try:
        return future.result(None if until is None else until - time.monotonic())
    finally:
        future.cancel()
        # The traceback of an error would refer to this frame, and so to the future.
        del future


def _cancel(futures: list[Any]) -> None:
    for future in futures:
        if isinstance(future, Future):
            future.cancel()
        else:
            # A future of asyncio may be touched in its own thread only.
            future.get_loop().call_soon_threadsafe(future.cancel)


def _fail(future: Any, error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _at_exit() -> None:
    global _exiting
    _exiting = True
    workers = list(_workers.items())
    for thread, pool in workers:
        pool.close()
        if thread.daemon:
            _cancel([future for future in pool.drain() if isinstance(future, Future)])
    for thread, _ in workers:
        if not thread.daemon:
            thread.join()


# As the standard executor does: before the interpreter joins its threads, which `atexit` would be too late for.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
