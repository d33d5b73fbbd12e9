"""How many requests to a host there may be at a time, for threads: `HTTPAdapter(max_per_host=...)`.

A place is held from before a request is sent until its body has come. Its holder may need another one before it gives that back, so
two waits would never end: that of a hook, and that of a thread all of whose responses are unread. Neither happens here.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

# How long a thread that has all places of a host itself waits for another thread, to which it may have given a response, to read from
# one. Without other threads it does not wait.
HANDED_OVER_SECONDS = 5.0


class Holder(Protocol):
    """A response that holds a place."""

    def hold(self, place: Place) -> None:
        """Keeps a place, and leaves it when the body has come, is closed, or is forgotten."""


Held = TypeVar("Held", bound=Holder)


class Place:
    """A place at a host, which is held until it is left."""

    def __init__(self, host: _Host) -> None:
        self._host = host
        #: The thread that has made the request, or has read last from its response.
        self.thread = threading.get_ident()
        # Whether what the request itself calls runs: a hook, or the iterator of its body.
        self._is_lent = False

    def leave(self) -> None:
        """Gives the place back. Called again it does nothing."""
        self._host.leave(self)

    def lends_to(self, host: _Host | None) -> bool:
        """Whether a request to the host can be made within this one, in its place."""
        return self._is_lent and self._host is host and self in host.held

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """While something is called that may make requests to the same host: they would wait for the place that this one has."""
        before, self._is_lent = self._is_lent, True
        token = _lending.set((*_lending.get(), self))
        try:
            yield
        finally:
            _lending.reset(token)
            self._is_lent = before


# The places of the requests within which this is called, also in other threads that have a copy of the context.
_lending: contextvars.ContextVar[tuple[Place, ...]] = contextvars.ContextVar("lending", default=())

_NOT_LENT = contextlib.nullcontext()


def lent(raw: Any) -> contextlib.AbstractContextManager[None]:
    """While hooks are called with a response, by its `raw`: requests that they make to the same host have its place."""
    place = getattr(raw, "place", None)
    return place.lent() if isinstance(place, Place) else _NOT_LENT


class _Host:
    """The places at one host. Responses that are forgotten leave theirs in the midst of anything, so no lock is held here."""

    def __init__(self, name: str, most: int, forget: Callable[[_Host], None]) -> None:
        self.name = name
        self._most = most
        self._forget = forget
        self._free = threading.Semaphore(most)
        self.held: set[Place] = set()
        # How many requests have a place or wait for one.
        self.users = 0

    def take(self) -> Place:
        """Waits for a place. Raises RuntimeError if it would wait for itself."""
        if not self._free.acquire(blocking=False):
            if not (self._is_held_by_caller() and self._is_left_by_another_thread()):
                self._free.acquire()
        place = Place(self)
        self.held.add(place)
        return place

    def leave(self, place: Place) -> None:
        """Takes a place back."""
        try:
            self.held.remove(place)
        except KeyError:
            return
        self._free.release()
        self._forget(self)

    def _is_held_by_caller(self) -> bool:
        # If not, it will not come to that: a thread that waits gets no places.
        thread, held = threading.get_ident(), self.held.copy()
        return len(held) == self._most and all(place.thread == thread for place in held)

    def _is_left_by_another_thread(self) -> bool:
        """Waits for a place of the caller, of which another thread may have got the response. False: one at least is read there."""
        if threading.active_count() > 1 and self._free.acquire(timeout=HANDED_OVER_SECONDS):
            return True
        if self._is_held_by_caller():
            raise RuntimeError(
                f"all places of {self.name} (max_per_host={self._most}) are those of responses that this thread has not read:"
                " read or close one before the next request"
            )
        return False


class Places:
    """The limit of requests to one host at a time."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._begin()
        _all_places.add(self)

    def _begin(self) -> None:
        # Reentrant: responses are forgotten in the midst of anything.
        self._lock = threading.RLock()
        self._hosts: dict[str, _Host] = {}

    def sent(self, name: str, send: Callable[[], Held]) -> Held:
        """Waits for a place at a host and sends a request, which keeps the place until its body has come."""
        if self._most is None:
            return send()
        known = self._hosts.get(name)
        if any(place.lends_to(known) for place in _lending.get()):
            return send()
        with self._lock:
            host = self._hosts.get(name)
            if host is None:
                host = self._hosts[name] = _Host(name, self._most, self._forget)
            host.users += 1
        try:
            place = host.take()
        except BaseException:
            self._forget(host)
            raise
        try:
            with place.lent():
                response = send()
        except BaseException:
            place.leave()
            raise
        response.hold(place)
        return response

    def _forget(self, host: _Host) -> None:
        with self._lock:
            host.users -= 1
            # Not the same: a request of the parent, in a forked child.
            if host.users == 0 and self._hosts.get(host.name) is host:
                del self._hosts[host.name]


_all_places: weakref.WeakSet[Places] = weakref.WeakSet()


def _forked() -> None:
    # In a forked child no request of the parent has a place.
    for places in _all_places:
        places._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

__all__ = ["Place", "Places", "lent"]
