"""How many requests of an `AsyncSession` there may be at a time in an event loop."""

from __future__ import annotations

import contextlib
import contextvars
from collections import deque
from typing import Any
from urllib.parse import urlsplit
from weakref import ref

from ._loop import bridge_to, is_of_asyncio, running_loop, running_task


class Limit:
    """Places, each for one at a time. A semaphore of which a free place can be taken without a coroutine, by lowering `free`, and
    given back without a call, by raising it if nobody is `waiting`."""

    def __init__(self, places: int) -> None:
        self.free = places
        self.waiting: deque[Any] = deque()

    async def acquire(self) -> None:
        """Takes a place, and waits for it if none is free."""
        if self.free:
            self.free -= 1
            return
        given = running_loop().create_future()
        self.waiting.append(given)
        try:
            await given
        except BaseException:
            if given.cancelled():
                with contextlib.suppress(ValueError):
                    self.waiting.remove(given)
            else:
                # It was given a place in the same pass of the loop.
                self.release()
            raise

    def release(self) -> None:
        """Gives a place back: to the one who has waited longest."""
        waiting = self.waiting
        while waiting:
            given = waiting.popleft()
            if not given.done():
                given.set_result(None)
                return
        self.free += 1


class Places:
    """The limits in one event loop, and the bridge to it."""

    def __init__(self, loop: Any, limit: int, max_per_host: int | None) -> None:
        self.loop = ref(loop)
        self.bridge = bridge_to(loop)
        # How a task waits for a request, if it cannot await it itself.
        self.awaited = None if is_of_asyncio(loop) else loop.awaited
        self.limit = limit
        self.all = Limit(limit)
        self.max_per_host = max_per_host
        # By host: its places, and how many requests have one or wait for one.
        self.hosts: dict[str, tuple[Limit, int]] = {}


class Place:
    """A place of a request within the limits: first that of its host, so that none is held while another is waited for.

    A request that is made in a hook of another one, as by `asyncio.run_coroutine_threadsafe`, is made in the place of that, for
    which it would wait. Raises RuntimeError in a task that would wait for its own streams.
    """

    def __init__(self, places: Places, url: str) -> None:
        self._places = places
        self._host = "" if places.max_per_host is None else urlsplit(url).netloc.rpartition("@")[2]
        self._task: Any = None
        self._is_entered = False
        # Whether it has a place of its host, and one of all.
        self._has_host = self._has_all = False
        # Whether the request is made, so that whoever sees this place is called by it, such as a hook.
        self._lends = False

    async def __aenter__(self) -> Place:
        self._task = running_task()
        held = tuple([place for place in _held.get() if place._is_entered])
        outer = [place for place in held if place._places is self._places]
        of_host = [place for place in outer if place._host == self._host]
        most = self._places.max_per_host
        if most is not None and not any(place._lends for place in of_host):
            await self._take_host(most, of_host)
        if not any(place._lends for place in outer):
            await self._take_all(outer)
        self._is_entered = self._lends = True
        _held.set((*held, self))
        return self

    def has_response(self) -> None:
        """From now on whoever sees it is in the block of a stream."""
        self._lends = False

    async def __aexit__(self, *_: object) -> None:
        self._is_entered = self._lends = False
        _held.set(tuple([place for place in _held.get() if place._is_entered]))
        if self._has_all:
            self._places.all.release()
        self._leave_host()

    async def _take_all(self, outer: list[Place]) -> None:
        places = self._places
        try:
            self._check(places.all, f"limit={places.limit}", places.limit, [place for place in outer if place._has_all])
            await places.all.acquire()
        except BaseException:
            self._leave_host()
            raise
        self._has_all = True

    async def _take_host(self, most: int, of_host: list[Place]) -> None:
        places = self._places
        host, users = places.hosts.get(self._host) or (Limit(most), 0)
        self._check(host, f"max_per_host={most}", most, [place for place in of_host if place._has_host])
        places.hosts[self._host] = (host, users + 1)
        try:
            await host.acquire()
        except BaseException:
            self._forget()
            raise
        self._has_host = True

    def _check(self, limit: Limit, name: str, most: int, outer: list[Place]) -> None:
        if not limit.free and sum(place._task is self._task for place in outer) >= most:
            message = f"all places ({name}) are those of streams in whose blocks this task is: leave one before the next request"
            raise RuntimeError(message)

    def _leave_host(self) -> None:
        if self._has_host:
            self._has_host = False
            self._places.hosts[self._host][0].release()
            self._forget()

    def _forget(self) -> None:
        host, users = self._places.hosts[self._host]
        if users == 1:
            del self._places.hosts[self._host]
        else:
            self._places.hosts[self._host] = (host, users - 1)


# The places of the requests within which this is called, also in other tasks and threads that have a copy of the context.
_held: contextvars.ContextVar[tuple[Place, ...]] = contextvars.ContextVar("held", default=())


def is_within() -> bool:
    """Whether this is called within a request: in a hook of it, or in the block of a stream."""
    return any(place._is_entered for place in _held.get())
