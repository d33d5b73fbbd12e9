"""`overlapped.arrow`: batches in, batches out, as Ray and Spark use it. No engine is needed."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import overlapped
import polars
import pyarrow as pa
import pytest
from overlapped.arrow import Fetcher, map_batches, output_schema

Url = Callable[[str], str]


def batches(url: Url, rows: int, size: int, path: str = "/echo?row=/{}") -> Iterator[pa.RecordBatch]:
    for begins in range(0, rows, size):
        ids = range(begins, min(begins + size, rows))
        columns = {"id": list(ids), "url": [url(path.format(row)) for row in ids], "note": ["x"] * len(ids)}
        yield pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


SCHEMA = pa.schema([("id", pa.int64()), ("url", pa.string()), ("note", pa.string())])


def check(table: pa.Table, rows: int) -> None:
    """Each row is there once, with its own record."""
    assert table.schema == output_schema(SCHEMA)
    assert sorted(table.column("id").to_pylist()) == list(range(rows))
    for row in table.select(["id", "url", "note", "status", "body"]).to_pylist():
        assert row["url"].endswith(f"=/{row['id']}") and f"row=/{row['id']}\"".encode() in row["body"]
        assert (row["note"], row["status"]) == ("x", 200)


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_fetcher_gives_each_batch_its_records(url: Url, size: int) -> None:
    fetcher = Fetcher()
    tables = []
    for batch in batches(url, 40 if size == 1 else 2_500, size):
        table = fetcher(batch)
        assert table.column("id").to_pylist() == batch.column("id").to_pylist()
        tables.append(table)
    check(pa.concat_tables(tables), 40 if size == 1 else 2_500)
    fetcher.close()
    check(fetcher(pa.Table.from_batches(batches(url, 10, 10))), 10)


def test_a_fetcher_is_pickled_and_takes_an_empty_batch(url: Url) -> None:
    fetcher = Fetcher(retries=0, url_column="link", prefix="fetched_")
    fetcher(pa.table({"link": [url("/ok")]}))
    again = pickle.loads(pickle.dumps(fetcher))
    empty = again(pa.table({"link": pa.array([], pa.string()), "status": pa.array([], pa.string())}))
    assert empty.num_rows == 0 and empty.column_names[:3] == ["link", "status", "fetched_url"]
    table = again(pa.table({"link": [url("/status/404"), "no url", None], "status": ["a", "b", "c"]}))
    assert table.column("status").to_pylist() == ["a", "b", "c"]
    assert table.column("fetched_error").to_pylist() == ["status", "input.url", "input.empty"]


def test_columns_of_options_are_those_of_the_row(url: Url) -> None:
    table = pa.table({"url": [url("/echo"), url("/echo")], "method": ["PUT", None], "body": [b"sent", None]})
    with pytest.raises(ValueError, match="has a column 'method', and so have the records"):
        Fetcher()(table)
    found = Fetcher(prefix="r_")(table)
    assert found.column("r_method").to_pylist() == ["PUT", "GET"]


def test_options_are_read_as_they_are_in_shards(url: Url) -> None:
    table = pa.table(
        {
            "url": [url("/echo"), url("/echo")],
            "headers": ['{"X-A":"b","X-A":"c","X-D":["e"]}', None],
            "body_base64": ["c2VudA==", None],
            "timeout_s": [20.0, 0.0],
        }
    )
    found = Fetcher(prefix="r_")(table).column("r_body").to_pylist()
    heads = [(name.lower(), value) for name, value in json.loads(found[0])["headers"]]
    assert heads.count(("x-a", "b")) == heads.count(("x-a", "c")) == heads.count(("x-d", "e")) == 1
    assert json.loads(found[0])["method"] == "POST" and json.loads(found[1])["method"] == "GET"
    (first, _) = overlapped.fetch_stream(table)
    assert first.method == "POST" and first.meta is None


def test_an_interrupted_call_leaves_nothing_to_the_next(url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    fetcher = Fetcher()
    table = pa.Table.from_batches(batches(url, 30, 30, path="/echo?delay_ms=200&row=/{}"))
    timer = threading.Timer(0.1, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        fetcher(table)
    timer.join()
    check(fetcher(pa.Table.from_batches(batches(url, 10, 10))), 10)


def test_types_are_those_that_all_engines_take(url: Url) -> None:
    schema = output_schema(SCHEMA)
    text = str(schema)
    assert "uint" not in text and "large" not in text
    assert schema.field("started").type == pa.timestamp("us", "UTC")
    assert schema.names[:4] == ["id", "url", "note", "final_url"] and "meta" not in schema.names
    frame = polars.DataFrame(Fetcher()(pa.Table.from_batches(batches(url, 3, 3))))
    assert frame["status"].to_list() == [200, 200, 200]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("size", [1, 100])
def test_an_iterator_gives_each_row_its_record(url: Url, size: int, ordered: bool) -> None:
    run = map_batches(ordered=ordered)
    found = list(run(batches(url, 1_000, size)))
    assert all(isinstance(batch, pa.RecordBatch) for batch in found)
    table = pa.Table.from_batches(found)
    check(table, 1_000)
    if ordered:
        assert table.column("id").to_pylist() == list(range(1_000))
    # The function may be used again, as for the next partition.
    check(pa.Table.from_batches(run(batches(url, 10, 3))), 10)


def test_the_function_of_an_iterator_is_pickled(url: Url) -> None:
    run = pickle.loads(pickle.dumps(map_batches(retries=0, prefix="r_", ordered=True)))
    (found,) = run(batches(url, 2, 2, path="/status/404?row=/{}"))
    assert found.column("r_status").to_pylist() == [404, 404] and found.column("id").to_pylist() == [0, 1]


def test_an_empty_iterator_is_empty(url: Url) -> None:
    run = map_batches()
    assert list(run(iter(()))) == []
    assert list(run(iter([pa.RecordBatch.from_pylist([], SCHEMA)]))) == []


def test_requests_are_in_flight_across_batches(url: Url) -> None:
    """The server answers only when eight requests are there; a batch has one row."""
    run = map_batches(limit=8, per_host=0)
    found = list(run(batches(url, 16, 1, path="/together/8?row=/{}")))
    assert sum(batch.num_rows for batch in found) == 16
    assert {status for batch in found for status in batch.column("status").to_pylist()} == {200}


def test_a_slow_consumer_holds_the_source_back(url: Url) -> None:
    taken = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal taken
        for batch in batches(url, 1_000_000, 1_000):
            taken += 1
            yield batch

    results = map_batches(max_memory=1 << 20)(counted())
    next(results)
    before = -1
    while taken != before:
        before = taken
        time.sleep(0.5)
    assert taken < 200
    results.close()  # type: ignore[attr-defined]


def test_a_consumer_that_stops_ends_the_run(url: Url) -> None:
    before = threading.active_count()
    results = map_batches()(batches(url, 100_000, 100))
    next(results)
    results.close()  # type: ignore[attr-defined]
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.1)
    assert threading.active_count() <= before


def test_an_error_of_the_source_comes_after_its_rows(url: Url) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from batches(url, 20, 10)
        raise LookupError("the source is gone")

    rows = []
    with pytest.raises(LookupError, match="the source is gone"):
        for batch in map_batches()(failing()):
            rows += batch.column("id").to_pylist()
    assert sorted(rows) == list(range(20))


@pytest.mark.parametrize("source", [True, False])
def test_an_interrupt_is_not_an_error_of_arrow(url: Url, source: bool) -> None:
    """A worker that catches Exception to try again would have caught it."""

    def interrupted() -> Iterator[pa.RecordBatch]:
        yield from batches(url, 20, 10, path="/echo?delay_ms=2000&row=/{}")
        if source:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    run = map_batches()(interrupted())
    if not source:
        run = map_batches()(iter(batches(url, 20, 10, path="/echo?delay_ms=2000&row=/{}")))
        threading.Timer(0.1, signal.raise_signal, (signal.SIGINT,)).start()
    with pytest.raises(KeyboardInterrupt):
        list(run)
    check(Fetcher()(pa.Table.from_batches(batches(url, 10, 10))), 10)


def test_wrong_options_are_told_at_once(url: Url) -> None:
    for make in (Fetcher, map_batches):
        with pytest.raises(TypeError, match="frob"):
            make(frob=1)
        with pytest.raises(ValueError, match="retries"):
            make(retries=-1)
        with pytest.raises(ValueError, match="out belongs to"):
            make(out="x.ndjson")
    with pytest.raises(ValueError, match="no column 'url'"):
        Fetcher()(pa.table({"link": ["http://a.test/"]}))


def in_child(fetcher: Any, table: pa.Table, results: Any) -> None:
    results.put(fetcher(table).column("status").to_pylist())


def test_a_forked_process_has_a_run_of_its_own(url: Url) -> None:
    fetcher = Fetcher()
    table = pa.Table.from_batches(batches(url, 5, 5))
    check(fetcher(table), 5)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=in_child, args=(fetcher, table, results))
    child.start()
    assert results.get(timeout=60) == [200] * 5
    child.join(60)
    check(fetcher(table), 5)


WITHOUT_PYARROW = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

MISSING = sys.argv[2].split(",")
sys.meta_path.insert(0, Missing())
import overlapped
links = [sys.argv[1] + f"/echo?row=/{row}&" for row in range(3_000)]
if "polars" in MISSING:
    import nanoarrow
    urls, numbers = nanoarrow.Array(links, nanoarrow.string()), nanoarrow.Array(range(3_000), nanoarrow.int64())
    table = nanoarrow.c_array_from_buffers(
        nanoarrow.struct({"link": nanoarrow.string(), "n": nanoarrow.int64()}), 3_000, [None], children=[urls, numbers]
    )
    stream = nanoarrow.ArrayStream(overlapped.fetch_stream(nanoarrow.Array(table), url_column="link"))
    names = [field.name for field in stream.schema.fields]
    rows = [dict(zip(names, row)) for chunk in stream for row in chunk.iter_tuples()]
else:
    import polars
    frame = polars.DataFrame({"link": links, "n": range(3_000)})
    rows = polars.DataFrame(overlapped.fetch_stream(frame, url_column="link")).to_dicts()
import json
assert [json.loads(row["meta"])["n"] for row in rows] == list(range(3_000))
assert all(row["status"] == 200 and b"row=/%d&" % number in row["body"] for number, row in enumerate(rows))
assert not set(MISSING) & {name.partition(".")[0] for name in sys.modules}
"""


@pytest.mark.parametrize("missing", ["pyarrow", "pyarrow,polars"])
def test_a_stream_goes_through_without_pyarrow(url: Url, missing: str) -> None:
    """In an interpreter that has polars or nanoarrow only."""
    pytest.importorskip("nanoarrow" if "polars" in missing else "polars")
    command = [sys.executable, "-c", WITHOUT_PYARROW, url("").rstrip("/"), missing]
    subprocess.run(command, check=True, timeout=120)


def test_nanoarrow_is_enough_for_a_table(url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    nanoarrow = pytest.importorskip("nanoarrow")
    table = pa.table({"url": [url("/ok"), url("/row/1")], "n": [1, 2]})
    stream = nanoarrow.ArrayStream(table)
    for name in ("pyarrow", "polars"):
        monkeypatch.setitem(sys.modules, name, None)
    run = overlapped.fetch_stream(stream)
    records = nanoarrow.ArrayStream(run)
    names = [field.name for field in records.schema.fields]
    rows = [dict(zip(names, row)) for chunk in records for row in chunk.iter_tuples()]
    assert [(row["status"], json.loads(row["meta"])) for row in rows] == [(200, {"n": 1}), (200, {"n": 2})]
    urls = nanoarrow.ArrayStream(nanoarrow.Array([url("/ok")], nanoarrow.string()))
    assert [record.status for record in overlapped.fetch(urls)] == [200]
