"""Waits that overlap: blocking calls awaited, and lists of URLs fetched.

- `Executor`: a `ThreadPoolExecutor` whose calls can be awaited (`await executor.run(fn)`).
- `fetch(urls)`: one record for each URL, on an engine of its own, without an event loop.
- `fetch_stream(table)`: the same for the rows of a DataFrame or of any other stream of Arrow.
- `overlapped.arrow`: the same batch by batch, for Ray, Spark and Dask.
- `get(url)`: the record of one URL.
- `to_async(obj)`, `gather(..., limit=)`, `as_completed(..., limit=)`.
- `AsyncSession`: requests that are awaited.
- `overlapped.requests`: the interface of requests. `overlapped.concurrent.futures`: that of `concurrent.futures`.
"""

from __future__ import annotations

from . import _load as _load  # First of all.
from ._fetch import Fetch, fetch, fetch_stream, get
from ._overlapped import Record, Timings, __version__

# For type checkers, which take it as true. The import of `typing` takes longer than all that is needed.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import arrow as arrow
    from . import concurrent as concurrent
    from . import requests as requests
    from ._aio import AsyncProxy, as_completed, gather, to_async
    from ._executor import Executor, ExecutorStats, QueueFull
    from ._session import AsyncSession

__all__ = [
    "AsyncProxy",
    "AsyncSession",
    "Executor",
    "ExecutorStats",
    "Fetch",
    "QueueFull",
    "Record",
    "Timings",
    "__version__",
    "as_completed",
    "fetch",
    "fetch_stream",
    "gather",
    "get",
    "to_async",
]

# These need asyncio or concurrent.futures, whose imports take longer than that of all the rest.
_LAZY = {
    "AsyncProxy": "_aio",
    "AsyncSession": "_session",
    "Executor": "_executor",
    "ExecutorStats": "_executor",
    "QueueFull": "_executor",
    "as_completed": "_aio",
    "gather": "_aio",
    "to_async": "_aio",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _LAZY:
        value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in ("arrow", "concurrent", "requests"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
