"""Waits that overlap: blocking calls awaited, and lists of URLs fetched.

- `Executor`: a `ThreadPoolExecutor` whose calls can be awaited (`await executor.run(fn)`).
- `fetch(urls)`: one record for each URL, on an engine of its own, without an event loop.
- `to_async(obj)`, `gather(..., limit=)`, `as_completed(..., limit=)`.
- `overlapped.requests`: the interface of requests. `overlapped.concurrent.futures`: that of `concurrent.futures`.
"""

from __future__ import annotations

from ._executor import Executor, ExecutorStats, QueueFull
from ._fetch import Fetch, fetch
from ._overlapped import Record, Timings, __version__

__all__ = [
    "AsyncProxy",
    "Executor",
    "ExecutorStats",
    "Fetch",
    "QueueFull",
    "Record",
    "Timings",
    "__version__",
    "as_completed",
    "fetch",
    "gather",
    "to_async",
]

# These need asyncio, whose import takes longer than that of all the rest.
_LAZY = {"to_async": "_aio", "gather": "_aio", "as_completed": "_aio", "AsyncProxy": "_aio"}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _LAZY:
        value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in ("concurrent", "requests"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
