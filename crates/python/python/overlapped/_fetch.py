"""`fetch`: a list of URLs in, one record for each out."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from types import EllipsisType

from . import _environ, _overlapped
from ._arguments import check_flag, check_str, count, wrong
from ._overlapped import Record

# For type checkers, which take it as true: see `overlapped/__init__.py`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Row: TypeAlias = "str | bytes | dict[str, Any]"


class Fetch(_overlapped.Fetch):
    """The records of a run, as an iterable and an async iterable. Made by `fetch`."""

    # What shows the progress gets the figures at the end from here, because it must not keep the run alive.
    _last: list[dict[str, Any]] | None = None

    def __del__(self) -> None:
        if self._last is not None:
            self._last.append(self.figures())

    def batches(self, most: int = 1024) -> Iterator[list[Record]]:
        """The records in lists of at most `most`, each as soon as there is one."""
        return self._batches(count("most", most, 1))

    def _batches(self, most: int) -> Iterator[list[Record]]:
        while batch := self.take(most):
            yield batch

    def wait(self) -> dict[str, Any]:
        """Drops the records, for a run with `out=`, and returns the figures at the end."""
        for _ in self.batches():
            pass
        return self.stats

    @property
    def stats(self) -> dict[str, Any]:
        """The figures so far: `done`, `ok`, `failed`, `bytes`, `elapsed`, ... At the end also `by_status` and `by_error`."""
        return self.figures()

    def __aiter__(self) -> AsyncIterator[Record]:
        return _Records(self)

    def __enter__(self) -> Fetch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Fetch:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """What a notebook shows: the figures as a table, and the phases of the first requests as a picture."""
        from ._picture import table, waterfall

        return table(self.figures()) + waterfall(self.bars())

    def __repr__(self) -> str:
        figures = self.figures()
        return f"<overlapped.Fetch {figures['done']} done, {figures['failed']} failed>"


class _Records:
    """The records of a run for `async for`. Several tasks may share a run: each record goes to one of them.

    Not an async generator, which would be over after its first `__anext__` that is cancelled. Here a record is taken only in
    the step that returns it, so that a cancelled `__anext__` loses none and can be called again.
    """

    def __init__(self, run: Fetch) -> None:
        self._run = run

    def __aiter__(self) -> _Records:
        return self

    async def __anext__(self) -> Record:
        from ._loop import bridge_to_running

        loop, bridge = bridge_to_running()
        while (record := self._run.next_now()) is None:
            news = loop.create_future()
            if self._run.subscribe(bridge, news):
                try:
                    await news
                except BaseException:
                    self._run.unsubscribe(news)
                    raise
        return record


def fetch(
    urls: Iterable[Row] | os.PathLike[str] | str | bytes,
    *,
    ordered: bool = True,
    limit: int | None = None,
    per_host: int | None = None,
    rate: float | None = None,
    rate_per_host: float | None = None,
    retries: int | None = None,
    timeout: float | None | EllipsisType = ...,
    connect_timeout: float | None | EllipsisType = ...,
    host_down_after: float | None | EllipsisType = ...,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    auth: tuple[str, str] | None = None,
    bearer: str | None = None,
    max_body: int | None = None,
    max_redirects: int | None = None,
    max_memory: int | None = None,
    keep_body: bool = True,
    sha256: bool = False,
    fail: Sequence[tuple[int, int]] | None = None,
    robots: bool = False,
    public_only: bool = False,
    ca_file: str | os.PathLike[str] | None = None,
    insecure_hosts: Sequence[str] = (),
    hsts: bool = False,
    body_dir: str | os.PathLike[str] | None = None,
    hosts: Mapping[str, Mapping[str, Any]] | None = None,
    proxies: Mapping[str, str] | str | None | EllipsisType = ...,
    threads: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> Fetch:
    """Fetches every URL of a list, and gives one record for each, failures included.

        for record in overlapped.fetch(["https://example.org/", "https://example.com/"]):
            print(record.url, record.status, record.error, len(record.body))

    No event loop is needed; in one, `async for` does the same. Fetching begins with the call, on threads of its own, and is
    held back when the records are not taken. Hosts are treated politely, and memory is bounded for a list of any length.

    Args:
        urls: URLs as str or bytes, or dicts with the columns `url`, `id`, `method`, `headers`, `body`, `body_file`, `timeout`,
            `etag`, `last_modified`, `sha256`, `out` and `meta`: a list, or any iterable, which is read by a thread of its own and may
            wait for earlier answers. A table with these columns, or a column with URLs, of pandas, polars, pyarrow or DuckDB; see
            `fetch_stream`. A path: the file with the list, in any format of docs/reference/input.md. A str with
            "://" in it is one URL, any other a path.
        ordered: Give records in the order of the list; otherwise as they come.
        limit: The most requests at a time; by default 256.
        per_host: The most requests to one host at a time; by default 6, and any number for this machine. 0: any number.
        rate, rate_per_host: The most requests per second.
        retries: Further attempts after a transient failure; by default 2. A host that asks for a pause by `Retry-After` gets none of
            its requests for so long, at most ten minutes. With 0 the row that was answered so fails at once.
        timeout: Seconds for one attempt; by default 300; None: no limit. A pause is not a part of an attempt.
        connect_timeout: Seconds for opening a connection; None: no limit.
        host_down_after: Seconds that a host is waited for that cannot be reached, or only refuses, before its rows fail; by default
            60; None: for ever. That is longer than `get` waits, so that a server that restarts costs no row of a list.
        method, headers, body: What every request sends, unless its row says otherwise.
        auth: User name and password. `bearer`: a token. Sent to the host of the row's own URL only.
        max_body: The most bytes of a body; a larger one fails its row.
        max_redirects: By default 10; 0: the redirect itself is the result.
        max_memory: The most bytes of responses in memory; beyond half of it, bodies go to disk.
        keep_body: Whether records have the body. `sha256`: whether they have its SHA-256.
        fail: Statuses that count as failures, as ranges; by default [(400, 999)].
        robots: Obey robots.txt. `public_only`: refuse private addresses.
        ca_file: Certificates to trust instead of the system's, as PEM.
        insecure_hosts: Hosts whose certificate is not verified.
        hsts: Reach hosts by https only that have asked for that over https, as long as the run lasts.
        body_dir: The directory beneath which rows may name files to be sent, by the column `body_file`. Whoever writes the list
            can send any file in it to anyone; without it such rows fail.
        hosts: What is different for single hosts: by the name of each a dict with `limit` (requests at a time; 0: any number),
            `rate`, `headers`, `auth`, `bearer`, `proxy` (None: none), of which all may be missing. Names below a host are
            other hosts. Credentials are sent to rows whose own URL is on the host.
        proxies: A proxy, or one by scheme ("http", "https", "all"), beside which "no_proxy" lists the hosts that are reached
            without; None: none. By default what the environment says, by the rules of urllib.
        threads: Threads that fetch; by default one for each processor.
        out: Also write the records: a path that ends in .ndjson, .csv, .parquet, .arrow or .har, or a directory for the bodies: one that
            is there, or a str that ends in a slash (that of a `pathlib.Path` is lost: `os.path.join(path, "")` has one). Such a run survives
            a crash: `resume=True` goes on where it was, `retry_failed=True` also fetches the failed rows again,
            `overwrite=True` discards what there is.
        progress: Show a line on standard error with what is done, ten times a second; in a notebook a bar.
    """
    given = {
        "ordered": ordered,
        "limit": limit,
        "per_host": per_host,
        "rate": rate,
        "rate_per_host": rate_per_host,
        "retries": retries,
        "timeout": timeout,
        "connect_timeout": connect_timeout,
        "host_down_after": host_down_after,
        "method": method,
        "headers": headers,
        "body": body,
        "auth": auth,
        "bearer": bearer,
        "max_body": max_body,
        "max_redirects": max_redirects,
        "max_memory": max_memory,
        "keep_body": keep_body,
        "sha256": sha256,
        "fail": fail,
        "robots": robots,
        "public_only": public_only,
        "ca_file": ca_file,
        "insecure_hosts": insecure_hosts,
        "hsts": hsts,
        "body_dir": body_dir,
        "hosts": hosts,
        "proxies": proxies,
        "threads": threads,
        "out": out,
        "resume": resume,
        "retry_failed": retry_failed,
        "overwrite": overwrite,
    }
    # Imported here, because it takes longer than the rest of this file, and many programs import the package for something else.
    from . import _options

    options = _options.checked(given)
    check_flag("progress", progress)
    if isinstance(urls, Mapping):
        raise TypeError(f"urls is a {type(urls).__name__}; it must be a list of rows: a single one is [{{'url': ...}}]")
    if isinstance(urls, bytes):
        urls = os.fsdecode(urls)
    if isinstance(urls, str):
        if not urls:
            raise ValueError("urls is empty; it must be a URL, the path of a list, or rows: [] is a list of none")
        urls = [urls] if "://" in urls else os.path.abspath(urls)
    total: int | None = None
    if isinstance(urls, (str, os.PathLike)):
        run = Fetch(options, path=os.fspath(urls))
    elif isinstance(urls, (list, tuple)):
        total = len(urls)
        run = Fetch(options, list=list(urls))
    else:
        if _is_table(urls):
            from ._table import rows

            urls = rows(urls, "url")
        try:
            items = iter(urls)
        except TypeError:
            if hasattr(type(urls), "__iter__"):
                raise
            if hasattr(type(urls), "__aiter__"):
                message = "urls is an async iterable, whose rows nobody would await; put them in a list, or give a generator that takes"
                raise TypeError(f"{message} them from a queue.Queue: it runs in a thread of its own") from None
            raise wrong("urls", "a list or another iterable of rows, a table, a path or a URL", urls) from None
        run = Fetch(options)
        # The thread has no reference to the run: when the last one is dropped, the run ends, and the thread with it.
        _start(_feed, run.feeder(), items)
    if progress:
        run._last = []
        _start(_show, weakref.ref(run), run._last, total, _in_notebook() or _on_terminal)
    return run


def fetch_stream(stream: Any, *, url_column: str = "url", **options: Any) -> Fetch:
    """Fetches the rows of a table, and gives a table of the records: Arrow in, Arrow out.

        results = polars.DataFrame(overlapped.fetch_stream(frame, url_column="link"))

    Args:
        stream: Anything with an Arrow stream: a DataFrame of pandas or polars, a table or a reader of pyarrow, a relation of
            DuckDB. It is read with pyarrow, batch by batch as the rows are needed, or with polars if there is no pyarrow.
            Columns are used as those of a list (docs/reference/input.md); all others are the `meta` of the record. Of a table
            of results the columns of the responses are left out.
        url_column: The column with the URLs.
        options: Those of `fetch`.

    The result is a `Fetch`, which has the stream of the records.
    """
    from ._table import rows

    check_str("url_column", url_column)
    if not _is_table(stream):
        raise wrong("stream", "a table, or what else has an Arrow stream", stream)
    return fetch(rows(stream, url_column), **options)


def get(
    url: str | bytes,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | str | None = None,
    timeout: float | None | EllipsisType = ...,
) -> Record:
    """Fetches one URL, and gives its record: as `fetch` for a list of it, at less cost, over connections that are kept.

        record = overlapped.get("https://example.org/")
        print(record.status, record.error, record.text)

    A failure is a record too: `record.ok` tells, and `record.error` why. Redirects are followed, failures that may pass are
    retried, and the body is decoded; there are no cookies. Threads may call it.

    Args:
        method, headers, body: What is sent; by default a GET, or a POST if there is a body.
        timeout: Seconds for one attempt; by default 300; None: no limit. A pause for which the server asks by `Retry-After` is not a
            part of an attempt: `get` waits for it, at most ten minutes. Ctrl-C ends the wait; `fetch([url], retries=0)` has none.
    """
    global _single
    if _environment.has_changed() or _single is None or _single[0] != os.getpid():
        # A forked child must not use the connections of its parent.
        _single = os.getpid(), _overlapped.Single(_environ.proxies())
    client = _single[1]
    if method is None and headers is None and body is None and timeout is ...:
        return client.fetch(url)
    from . import _options

    row = {"url": url, "method": method, "headers": headers, "body": body, "timeout": _options.limit_of_time("timeout", timeout)}
    return client.fetch(row)


_single: tuple[int, _overlapped.Single] | None = None
_environment = _environ.Environment()


def _is_table(source: Any) -> bool:
    """Whether it is a table or a column. Raises TypeError for one that has to be computed first."""
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        return True
    if type(source).__name__ == "LazyFrame" and hasattr(source, "collect"):
        raise TypeError("a LazyFrame has no rows yet: call .collect(), and give the DataFrame")
    return False


def _start(work: Callable[..., None], *args: Any) -> None:
    threading.Thread(target=work, args=args, name=f"overlapped{work.__name__}", daemon=True).start()


def _show(
    run_of: weakref.ref[Fetch],
    last: list[dict[str, Any]],
    total: int | None,
    write: Callable[[int, int | None, str], None],
) -> None:
    """Shows a line again and again until the run is over, or gone."""
    finished = False
    line = ""
    while not finished:
        run = run_of()
        if run is None and not last:
            break
        figures = last.pop() if run is None else run.figures()
        finished = run is None or figures["finished"] is not None
        del run
        of = "" if total is None else f"/{total:,} ({figures['done'] / max(total, 1):.0%})"
        rate = figures["done"] / max(figures["elapsed"], 1e-3)
        width = len(line)
        line = f"{figures['done']:,}{of} done, {figures['failed']:,} failed, {rate:,.0f}/s, {figures['elapsed']:.1f} s"
        write(figures["done"], total, line.ljust(width))
        if not finished:
            time.sleep(0.1)
    write(0, None, "")


def _on_terminal(done: int, total: int | None, line: str) -> None:
    sys.stderr.write(f"\r{line}" if line else "\n")
    sys.stderr.flush()


def _in_notebook() -> Callable[[int, int | None, str], None] | None:
    """What shows a bar in the cell that runs; None outside of a notebook."""
    if "ipykernel" not in sys.modules:
        return None
    from ._picture import bar

    display = sys.modules["IPython"].display
    shown = display.display(display.HTML(bar(0, None, "")), display_id=True)
    if shown is None:
        return None

    def write(done: int, total: int | None, line: str) -> None:
        if line:
            shown.update(display.HTML(bar(done, total, line)))

    return write


def _feed(feeder: _overlapped.Feeder, items: Iterator[Row]) -> None:
    """Pulls rows from an iterable and hands over each at once: the next may have to wait for the answer to this one."""
    try:
        for item in items:
            if not feeder.push(item):
                break
    except BaseException as error:
        feeder.complete(error)
    else:
        feeder.complete()
