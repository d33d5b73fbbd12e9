"""How many requests of an `AsyncSession` there may be at a time in an event loop."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Any
from urllib.parse import urlsplit
from weakref import ref

from ._loop import bridge_to, is_of_asyncio, running_loop


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
        self.all = Limit(limit)
        self.max_per_host = max_per_host
        # By host: its places, and how many requests have one or wait for one.
        self.hosts: dict[str, tuple[Limit, int]] = {}


class Place:
    """A place of a request within the limits: first that of its host, so that none is held while another is waited for."""

    def __init__(self, places: Places, url: str) -> None:
        self._places = places
        self._host = "" if places.max_per_host is None else urlsplit(url).netloc.rpartition("@")[2]

    async def __aenter__(self) -> None:
        places = self._places
        if places.max_per_host is not None:
            host, users = places.hosts.get(self._host) or (Limit(places.max_per_host), 0)
            places.hosts[self._host] = (host, users + 1)
            try:
                await host.acquire()
            except BaseException:
                self._forget()
                raise
        try:
            await places.all.acquire()
        except BaseException:
            self._leave_host()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._places.all.release()
        self._leave_host()

    def _leave_host(self) -> None:
        if self._places.max_per_host is not None:
            self._places.hosts[self._host][0].release()
            self._forget()

    def _forget(self) -> None:
        host, users = self._places.hosts[self._host]
        if users == 1:
            del self._places.hosts[self._host]
        else:
            self._places.hosts[self._host] = (host, users - 1)
