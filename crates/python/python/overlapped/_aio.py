"""For asyncio: blocking objects made awaitable, and gathering with a limit."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from typing import Any, TypeVar

from ._arguments import check_flag, count_or_none, seconds, wrong
from ._executor import Executor

T = TypeVar("T")

_default: Executor | None = None

_END: Any = object()


def _default_executor() -> Executor:
    global _default
    if _default is None or not _default._takes_calls:
        _default = Executor(max_workers=64, thread_name_prefix="overlapped")
    return _default


class _Shared:
    """The threads that all uses of `to_async` share, for one of them. A forked child has threads of its own."""

    def __init__(self, serialize: bool) -> None:
        self._serialize = serialize
        # By process; one that has forked was there before.
        self._executors: dict[int, Executor] = {}

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """As that of an executor."""
        process = os.getpid()
        executor = self._executors.get(process)
        if executor is None:
            executor = _default_executor()
            # Another thread may have come first.
            executor = self._executors.setdefault(process, executor.limited(1) if self._serialize else executor)
        return executor.run(fn, *args, **kwargs)


def to_async(
    target: Any,
    *,
    executor: Executor | None = None,
    thread: str = "any",
    serialize: bool = True,
) -> Any:
    """Makes a blocking function, class or object awaitable.

    A function gives a coroutine function. An object gives an `AsyncProxy`, whose methods are coroutine functions; a class, a
    coroutine function that makes such an object in the same thread.

        connect = to_async(sqlite3.connect, thread="sticky")
        async with await connect("data.db") as db:
            async for row in await db.execute("select 1"):
                print(row)

    Args:
        executor: Where the calls are made; by default one that all uses of `to_async` share, and a forked child has another one.
        thread: "any": in any thread of the executor. "sticky": always in the same thread, for objects such as those of
            sqlite3 that belong to the thread that made them. They cannot be used in a forked child, which does not have it.
        serialize: Make one call of an object at a time. Functions are not serialized.
    """
    if thread not in ("any", "sticky"):
        raise ValueError(f"thread is {thread!r}; it must be 'any' or 'sticky'")
    if executor is not None and not isinstance(executor, Executor):
        raise wrong("executor", "an overlapped.Executor or None", executor)
    if executor is not None and thread == "sticky":
        raise ValueError("executor must be None with thread='sticky', which has a thread of its own")
    check_flag("serialize", serialize)
    is_class = isinstance(target, type)
    is_function = inspect.isroutine(target) or isinstance(target, functools.partial)
    serialize = serialize and not is_function
    where: Executor | _Shared
    if thread == "sticky":
        where = Executor(max_workers=1, thread_name_prefix="overlapped-sticky")
    elif executor is None:
        where = _Shared(serialize)
    else:
        where = executor.limited(1) if serialize else executor
    if not is_class and not is_function:
        return AsyncProxy(target, where)
    return _awaited(target, where)


def _awaited(function: Callable[..., Any], executor: Executor | _Shared) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(function, updated=())
    async def call(*args: Any, **kwargs: Any) -> Any:
        return _wrapped(await executor.run(function, *args, **kwargs), executor)

    return call


def _wrapped(value: Any, executor: Executor | _Shared) -> Any:
    """An object that goes on blocking is made awaitable too: a cursor, a file, a generator."""
    if hasattr(value, "__next__") or hasattr(type(value), "__enter__"):
        return AsyncProxy(value, executor)
    return value


class AsyncProxy:
    """A blocking object whose methods are coroutine functions. `async with` and `async for` work as `with` and `for`.

    Attributes that are no methods are read without a thread. `proxy.__wrapped__` is the object itself.
    """

    __wrapped__: Any
    _executor: Executor | _Shared

    def __init__(self, target: Any, executor: Executor | _Shared) -> None:
        self.__dict__["__wrapped__"] = target
        self.__dict__["_executor"] = executor

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__wrapped__, name)
        if inspect.isroutine(value):
            return _awaited(value, self._executor)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__wrapped__, name, value)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _wrapped(await self._executor.run(self.__wrapped__, *args, **kwargs), self._executor)

    async def __aenter__(self) -> Any:
        entered = await self._executor.run(self.__wrapped__.__enter__)
        return self if entered is self.__wrapped__ else _wrapped(entered, self._executor)

    async def __aexit__(self, *error: Any) -> Any:
        return await self._executor.run(self.__wrapped__.__exit__, *error)

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Items(self.__wrapped__, self._executor)

    async def __anext__(self) -> Any:
        items: _Items | None = self.__dict__.get("_items")
        if items is None:
            items = self.__dict__["_items"] = _Items(self.__wrapped__, self._executor)
        return await items.__anext__()

    def __repr__(self) -> str:
        return f"<overlapped.AsyncProxy of {self.__wrapped__!r}>"


class _Items:
    """The items of a blocking iterable. An item whose `__anext__` was cancelled after it was taken is given by the next one."""

    def __init__(self, iterable: Any, executor: Executor | _Shared) -> None:
        self._iterable = iterable
        self._executor = executor
        self._items: Iterator[Any] | None = None
        # Taken in a thread, and not given to anyone yet.
        self._taken: deque[Any] = deque()

    def __aiter__(self) -> _Items:
        return self

    async def __anext__(self) -> Any:
        while not self._taken:
            await self._executor.run(self._take)
        item = self._taken.popleft()
        if item is _END:
            raise StopAsyncIteration
        return item

    def _take(self) -> None:
        # One that was cancelled may have run in the meantime.
        if not self._taken:
            if self._items is None:
                self._items = self._iterable if hasattr(self._iterable, "__next__") else iter(self._iterable)
            self._taken.append(next(self._items, _END))


async def gather(*aws: Awaitable[Any], limit: int | None = None, return_exceptions: bool = False) -> list[Any]:
    """The results of awaitables, in their order, with at most `limit` of them running at a time.

        pages = await overlapped.gather(*(load(url) for url in urls), limit=10)

    The first error cancels the others and is raised, unless `return_exceptions`, which puts errors among the results.
    """
    try:
        _check("gather", limit)
    except BaseException:
        await _abandon((), aws)
        raise
    results: list[Any] = [None] * len(aws)
    waiting = iter(enumerate(aws))
    running: dict[asyncio.Future[Any], int] = {}
    try:
        while True:
            while limit is None or len(running) < limit:
                index, awaitable = next(waiting, (-1, _END))
                if awaitable is _END:
                    break
                running[asyncio.ensure_future(awaitable)] = index
            if not running:
                return results
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                index = running.pop(future)
                results[index] = _outcome(future, return_exceptions)
    finally:
        await _abandon(running, (awaitable for _, awaitable in waiting))


def _outcome(future: asyncio.Future[Any], return_exceptions: bool) -> Any:
    if not return_exceptions:
        return future.result()
    if future.cancelled():
        return asyncio.CancelledError()
    return future.exception() or future.result()


async def _abandon(running: Iterable[asyncio.Future[Any]], waiting: Iterable[Awaitable[Any]]) -> None:
    """Cancels what runs and waits for its end; closes what has not started, so that nothing warns of it."""
    running = list(running)
    for future in running:
        future.cancel()
    for awaitable in waiting:
        if inspect.iscoroutine(awaitable):
            awaitable.close()
    if running:
        await asyncio.gather(*running, return_exceptions=True)


class as_completed:
    """The awaitables of an iterable as they complete, with at most `limit` of them running at a time.

        async for done in overlapped.as_completed((load(url) for url in urls), limit=10):
            page = await done

    The iterable is read only so far as there is room, so it may be endless. Raises TimeoutError if not all have completed
    after `timeout` seconds. Leaving the loop cancels what still runs when the iterator is closed.
    """

    def __init__(self, aws: Iterable[Awaitable[T]], *, limit: int | None = None, timeout: float | None = None) -> None:
        _check_limit(limit)
        timeout = seconds("timeout", timeout, may_be_zero=True)
        try:
            if isinstance(aws, (str, bytes)):
                raise TypeError
            items = iter(aws)
        except TypeError:
            raise wrong("aws", "an iterable of awaitables", aws) from None
        self._completed = _completed(items, limit, timeout)

    def __aiter__(self) -> as_completed:
        return self

    async def __anext__(self) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = await self._completed.__anext__()
        return done

    async def aclose(self) -> None:
        """Cancels what still runs."""
        await self._completed.aclose()


async def _completed(
    aws: Any, limit: int | None, timeout: float | None
) -> Any:
    _check("as_completed", limit)
    loop = asyncio.get_running_loop()
    until = None if timeout is None else loop.time() + timeout
    running: set[asyncio.Future[Any]] = set()
    try:
        while True:
            while limit is None or len(running) < limit:
                awaitable: Any = next(aws, _END)
                if awaitable is _END:
                    break
                running.add(asyncio.ensure_future(awaitable))
            if not running:
                return
            left = None if until is None else max(0.0, until - loop.time())
            done, running = await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise TimeoutError
            for future in done:
                yield future
    finally:
        rest = () if isinstance(aws, Generator) else aws
        await _abandon(running, rest)


def _check(name: str, limit: int | None) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        message = f"{name} needs a running loop of asyncio; with trio, or anyio on it, use a task group and a CapacityLimiter"
        raise RuntimeError(message) from None
    _check_limit(limit)


def _check_limit(limit: int | None) -> None:
    count_or_none("limit", limit, 1)
