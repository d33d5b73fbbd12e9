"""Tables in, tables out, for engines that schedule the work: Ray, Spark, Dask.

- `Fetcher(**options)`: a callable class for `map_batches` of Ray Data.
- `map_batches(**options)`: a function for `mapInArrow` of Spark, or for any iterator of batches.
- `output_schema(schema)`: the columns of what they give.

The columns of a batch are carried through, and those of the records follow, with types that all engines take. Needs pyarrow,
which these engines need too.
"""

from __future__ import annotations

import collections
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa  # type: ignore[import-untyped]

from ._arguments import check_str, wrong
from ._fetch import Fetch, fetch
from ._table import columns_of
from ._table import options as options_of

# For type checkers, which take it as true: see `overlapped/__init__.py`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Fetcher", "map_batches", "output_schema"]

# Columns of records that say nothing here: the number within a run, and what a list passes through.
_LEFT_OUT = frozenset({"row", "id", "meta"})


def output_schema(schema: pa.Schema, *, prefix: str = "", **options: Any) -> pa.Schema:
    """The columns of what `Fetcher` and `map_batches` give for batches with these columns.

    Args:
        schema: The columns of the batches.
        prefix: Before the names of the columns of records.
        options: What else these are given, which makes no difference.
    """
    del options
    if not isinstance(schema, pa.Schema):
        raise wrong("schema", "a pyarrow.Schema", schema)
    check_str("prefix", prefix)
    names = frozenset(schema.names)
    fields = list(schema)
    for field in pa.RecordBatchReader.from_stream(fetch([])).schema:
        if field.name in _LEFT_OUT or (not prefix and field.name == "url" and "url" in names):
            continue
        name = prefix + field.name
        if name in names:
            raise ValueError(
                f"the table has a column {name!r}, and so have the records: rename it, or give prefix='fetched_'"
            )
        fields.append(pa.field(name, _portable(field.type), True))
    return pa.schema(fields)


class Fetcher:
    """Fetches the rows of batch after batch, in a process that lives as long as it does.

        dataset.map_batches(
            overlapped.arrow.Fetcher, fn_constructor_kwargs={"retries": 3},
            batch_format="pyarrow", batch_size=None, concurrency=4,
        )

    A call returns when all rows of its batch are done, each with its record, in their order. Connections and what is known of
    hosts are kept from one batch to the next. It may be pickled, and called in a forked process: a process has a run of its
    own. Calls of several threads take turns.

    Args:
        url_column: The column with the URLs. Columns with the names of options (docs/reference/input.md) are those of the row.
        prefix: Before the names of the columns of records.
        options: Those of `overlapped.fetch`, but `out` and what belongs to it.
    """

    def __init__(self, *, url_column: str = "url", prefix: str = "", **options: Any) -> None:
        _check(url_column, prefix, options)
        self._url_column = url_column
        self._prefix = prefix
        self._options = options
        self._run: _Run | None = None
        self._lock = threading.Lock()

    def __call__(self, batch: pa.Table | pa.RecordBatch) -> pa.Table:
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        schema = output_schema(table.schema, prefix=self._prefix)
        rows = list(_rows(table, self._url_column))
        if not rows:
            return schema.empty_table()
        with self._lock:
            if self._run is None or self._run.process != os.getpid():
                self._run = _Run(self._options)
            try:
                records = self._run.records(rows)
            except BaseException:
                # Records of this batch may still come, which are not those of the next one.
                self._run.close()
                self._run = None
                raise
        return _joined(table, records.sort_by("row"), schema, self._prefix)

    def close(self) -> None:
        """Ends the run; a further call begins another one."""
        with self._lock:
            if self._run is not None and self._run.process == os.getpid():
                self._run.close()
            self._run = None

    def __getstate__(self) -> dict[str, Any]:
        return {"url_column": self._url_column, "prefix": self._prefix, "options": self._options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(  # type: ignore[misc]
            url_column=state["url_column"], prefix=state["prefix"], **state["options"]
        )


class _Run:
    """A run whose list is what calls put into a queue."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.process = os.getpid()
        self._queue: queue.SimpleQueue[list[dict[str, Any]] | None] = queue.SimpleQueue()
        self._run = fetch(_queued(self._queue), ordered=False, **options)
        self._batches = _batches(self._run)

    def records(self, rows: list[dict[str, Any]]) -> pa.Table:
        self._queue.put(rows)
        batches = []
        left = len(rows)
        while left > 0:
            batch = next(self._batches, None)
            if batch is None:
                raise RuntimeError(f"the run has ended before {left} of its rows were done")
            batches.append(batch)
            left -= batch.num_rows
        return pa.Table.from_batches(batches)

    def close(self) -> None:
        self._queue.put(None)
        self._run.close()

    def __del__(self) -> None:
        # The thread that waits at the queue would keep it for ever.
        self._queue.put(None)


def _batches(run: Fetch) -> Iterator[pa.RecordBatch]:
    """The records of a run. What it ends with is raised as it is, such as KeyboardInterrupt: Arrow's stream has its text only."""
    reader = pa.RecordBatchReader.from_stream(run)
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except Exception:
            error = run.stream_error()
            if error is None:
                raise
            raise error from None
        yield batch


def _queued(
    waiting: queue.SimpleQueue[list[dict[str, Any]] | None],
) -> Iterator[dict[str, Any]]:
    while (rows := waiting.get()) is not None:
        yield from rows


def map_batches(
    *, url_column: str = "url", prefix: str = "", **options: Any
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function from an iterator of batches to one of batches with the records.

        schema = from_arrow_schema(output_schema(to_arrow_schema(frame.schema)))
        frame.mapInArrow(overlapped.arrow.map_batches(retries=3), schema)

    Requests are in flight across the borders of batches: batches are read ahead, as far as the engine has use for their rows,
    and rows come as they are done, unless `ordered=True`. An error of the source is raised after the rows before it. When
    the iterator is closed, the run ends. The function may be pickled; each call of it has a run of its own.

    Args:
        url_column, prefix: As those of `Fetcher`.
        options: Those of `overlapped.fetch`, but `out` and what belongs to it.
    """
    _check(url_column, prefix, options)
    options.setdefault("ordered", False)
    return _Mapped(url_column, prefix, options)


class _Mapped:
    """What `map_batches` gives: a class, since functions within others cannot be pickled."""

    def __init__(self, url_column: str, prefix: str, options: dict[str, Any]) -> None:
        self._url_column = url_column
        self._prefix = prefix
        self._options = options

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting = _Waiting(batches, self._url_column)
        records = fetch(waiting.rows(), **self._options)
        try:
            schema: pa.Schema | None = None
            for batch in _batches(records):
                for rows, found in waiting.of(batch):
                    schema = schema or output_schema(rows.schema, prefix=self._prefix)
                    yield from _joined(rows, found, schema, self._prefix).to_batches()
        finally:
            records.close()


class _Waiting:
    """Batches of which not all rows are done. One thread adds them, another one takes rows."""

    def __init__(self, batches: Iterable[pa.RecordBatch], url_column: str) -> None:
        self._batches = batches
        self._url_column = url_column
        # The number of the first row of each, the batch, and how many of its rows are not done.
        self._waiting: collections.deque[tuple[int, pa.Table, list[int]]] = collections.deque()

    def rows(self) -> Iterator[dict[str, Any]]:
        begins = 0
        for batch in self._batches:
            table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
            rows = list(_rows(table, self._url_column))
            if rows:
                self._waiting.append((begins, table, [len(rows)]))
                begins += len(rows)
                yield from rows

    def of(self, batch: pa.RecordBatch) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Rows of the batches with their records, batch by batch."""
        numbers = batch.column("row").to_pylist()
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        records = pa.Table.from_batches([batch])
        at = 0
        # Batches are added while this runs, and those that are there stay.
        for begins, table, left in list(self._waiting):
            ends = begins + table.num_rows
            first = at
            while at < len(order) and numbers[order[at]] < ends:
                at += 1
            if at > first:
                left[0] -= at - first
                taken = order[first:at]
                rows = pa.array([numbers[place] - begins for place in taken], pa.int64())
                yield table.take(rows), records.take(pa.array(taken, pa.int64()))
        while self._waiting and self._waiting[0][2][0] == 0:
            self._waiting.popleft()


def _check(url_column: Any, prefix: Any, options: dict[str, Any]) -> None:
    check_str("url_column", url_column)
    check_str("prefix", prefix)
    for name in ("out", "resume", "retry_failed", "overwrite"):
        if options.get(name):
            raise ValueError(f"{name} belongs to `overlapped.fetch`: here the engine writes what it is given")
    # Unknown names and wrong values are told here and not by a worker.
    fetch([], **options).close()


def _rows(table: pa.Table, url_column: str) -> Iterator[dict[str, Any]]:
    """The rows of a table as those of a list. What is no option of a request is not needed: it is carried through."""
    own = columns_of(frozenset(table.column_names), url_column)
    taken = [url_column, *sorted(own - {"meta"})]
    for batch in table.select(taken).to_batches():
        for row in batch.to_pylist():
            url = row.pop(url_column)
            # What is null is not given, but for the URL, without which a row is a bad one.
            yield {"url": url or "", **options_of({name: value for name, value in row.items() if value is not None})}


def _joined(rows: pa.Table, records: pa.Table, schema: pa.Schema, prefix: str) -> pa.Table:
    """The columns of rows, and those of their records, in the same order."""
    columns = list(rows.columns)
    for field in list(schema)[len(columns) :]:
        columns.append(records.column(field.name[len(prefix) :]).cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _portable(kind: pa.DataType) -> pa.DataType:
    """A type that all engines take: Spark has no unsigned numbers and no large offsets."""
    if pa.types.is_uint8(kind) or pa.types.is_uint16(kind):
        return pa.int32()
    if pa.types.is_unsigned_integer(kind):
        return pa.int64()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_list(kind):
        return pa.list_(_portable(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _portable(field.type), True) for field in kind])
    return kind
