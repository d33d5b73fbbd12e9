"""Rows of a list from a table or a column: anything with an Arrow stream or array, such as a DataFrame of pandas or polars, a table of
pyarrow or a relation of DuckDB."""

from __future__ import annotations

import base64
import datetime
import decimal
import itertools
import json
from collections.abc import Iterable, Iterator, Set
from typing import Any

# What a row has in columns of its own (docs/reference/input.md); its other columns are its `meta`.
_COLUMNS = frozenset(
    {"id", "method", "headers", "body", "timeout", "etag", "last_modified", "sha256", "out", "meta"}
    | {"timeout_s", "body_base64"}
)
# The columns of a table that consists of results, which has others of the same names: those of the responses.
_COLUMNS_OF_RESULTS = frozenset({"id", "method", "etag", "last_modified", "meta"})
# Of an array, which is not in batches, so many rows are made objects of Python at a time.
_ARRAY_ROWS = 4096

_MARKS = frozenset({"exitcode", "wire_bytes"})


def rows(source: Any, url_column: str) -> Iterator[Any]:
    """The rows of a table, or the URLs of a column. The first batch is read at once, to tell whether it can be."""
    batches = _batches(source)
    first = next(batches, [])
    values = itertools.chain(first, itertools.chain.from_iterable(batches))
    if not first or not isinstance(first[0], dict):
        return values
    names = first[0].keys()
    own = columns_of(names, url_column)
    others = [] if names >= _MARKS else [name for name in names if name not in own and name != url_column]
    return (_row(row, url_column, own, others) for row in values)


def columns_of(names: Set[str], url_column: str) -> Set[str]:
    """Which columns of a table are options of requests, beside the URL."""
    if url_column not in names:
        raise ValueError(f"the table has no column {url_column!r}; it has {', '.join(map(repr, names))}")
    return (_COLUMNS_OF_RESULTS if names >= _MARKS else _COLUMNS) & names - {url_column}


def _row(row: dict[str, Any], url_column: str, own: Iterable[str], others: Iterable[str]) -> dict[str, Any]:
    taken = options({name: row[name] for name in own})
    if isinstance(taken.get("meta"), str):
        taken["meta"] = json.loads(taken["meta"])
    if meta := {name: _plain(name, row[name]) for name in others if row[name] is not None}:
        taken["meta"] = {**(taken.get("meta") or {}), **meta}
    return {**taken, "url": row[url_column]}


def options(columns: dict[str, Any]) -> dict[str, Any]:
    """The options of a request as those of a row of `fetch`, from columns that may be named and written as in a list."""
    taken = dict(columns)
    seconds = taken.pop("timeout_s", None)
    if seconds is not None:
        taken["timeout"] = float(seconds) or float("inf")
    body = taken.pop("body_base64", None)
    if body is not None:
        taken["body"] = base64.b64decode(body)
    headers = taken.get("headers")
    if isinstance(headers, str):
        # A name may be there twice, and a value may be a list.
        pairs = json.loads(headers, object_pairs_hook=list)
        lists = [(name, value if isinstance(value, list) else [value]) for name, value in pairs]
        taken["headers"] = [(name, str(value)) for name, values in lists for value in values]
    return taken


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it: points in time in ISO 8601, numbers of decimal digits as text."""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (datetime.timedelta, decimal.Decimal)):
        return str(value)
    if isinstance(value, bytes):
        raise ValueError(f"column {name!r} has bytes, which are no JSON: leave it out of the table")
    return value


def _batches(source: Any) -> Iterator[list[Any]]:
    """The batches of a stream, as lists of dicts or of values."""
    try:
        import pyarrow  # type: ignore[import-untyped]
    except ImportError:
        pass
    else:
        if not hasattr(source, "__arrow_c_stream__"):
            array = pyarrow.array(source)
            return (array.slice(start, _ARRAY_ROWS).to_pylist() for start in range(0, len(array), _ARRAY_ROWS))
        try:
            reader = pyarrow.RecordBatchReader.from_stream(source)
        except (pyarrow.ArrowInvalid, TypeError):
            # It is a column.
            return (chunk.to_pylist() for chunk in pyarrow.chunked_array(source).iterchunks())
        return (batch.to_pylist() for batch in reader)
    try:
        import polars
    except ImportError:
        pass
    else:
        if isinstance(source, polars.Series) or not hasattr(source, "__arrow_c_stream__"):
            return iter([polars.Series(source).to_list()])
        return iter([polars.DataFrame(source).to_dicts()])
    try:
        import nanoarrow  # type: ignore[import-untyped]
    except ImportError:
        raise TypeError("reading a table takes pyarrow, polars or nanoarrow; install one of them") from None
    stream = nanoarrow.ArrayStream(source if hasattr(source, "__arrow_c_stream__") else nanoarrow.Array(source))
    if stream.schema.type != nanoarrow.Type.STRUCT:
        return (chunk.to_pylist() for chunk in stream)
    names = [field.name for field in stream.schema.fields]
    return ([dict(zip(names, row)) for row in chunk.iter_tuples()] for chunk in stream)


__all__ = ["columns_of", "options", "rows"]
