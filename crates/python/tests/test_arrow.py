"""Records as a stream of Arrow, read by those who take one."""

from __future__ import annotations

import datetime
import decimal
import json
import sys
from collections.abc import Callable

import duckdb
import overlapped
import polars
import pyarrow
import pytest

Url = Callable[[str], str]


def test_pyarrow_reads_every_column(url: Url) -> None:
    asked = [url("/echo?n=1"), url("/status/404"), "no url", url("/redirect/2")]
    table = pyarrow.table(overlapped.fetch(asked))
    assert table.num_rows == 4
    rows = table.to_pylist()
    assert [row["row"] for row in rows] == [0, 1, 2, 3]
    assert [row["url"] for row in rows] == asked
    assert [row["status"] for row in rows] == [200, 404, None, 200]
    assert [row["error"] for row in rows] == [None, "status", "input.url", None]
    assert [row["ok"] for row in rows] == [True, False, False, True]
    assert b'"target":"/echo?n=1"' in rows[0]["body"].replace(b": ", b":")
    assert rows[2]["body"] is None and rows[2]["total_ms"] is None and rows[2]["started"] is None
    assert [hop["status"] for hop in rows[3]["chain"]] == [302, 302] and rows[3]["redirects"] == 2
    names = [header["name"] for header in rows[0]["headers"]]
    assert "content-type" in names and rows[0]["notes"] == []
    assert isinstance(rows[0]["started"], datetime.datetime) and rows[0]["started"].tzinfo is not None
    phases = ("dns_ms", "connect_ms", "tls_ms", "send_ms", "wait_ms", "receive_ms")
    assert sum(rows[0][phase] or 0 for phase in phases) == pytest.approx(rows[0]["total_ms"], abs=0.01)


def test_the_columns_are_those_of_the_reference(url: Url) -> None:
    table = pyarrow.table(overlapped.fetch([url("/ok")]))
    missing = [name for name in table.column_names if name != "total_ms" and not known(name)]
    assert missing == []
    assert "body_base64" not in table.column_names


def known(name: str) -> bool:
    from pathlib import Path

    reference = Path(__file__).resolve().parents[3] / "docs/reference/records.md"
    return f"| `{name}` |" in reference.read_text()


def test_a_long_list_comes_in_batches(url: Url) -> None:
    run = overlapped.fetch((url(f"/echo?n={n}") for n in range(10_000)), limit=64)
    reader = pyarrow.RecordBatchReader.from_stream(run)
    sizes, numbers = [], []
    for batch in reader:
        sizes.append(batch.num_rows)
        numbers += batch.column("row").to_pylist()
    assert numbers == list(range(10_000)) and max(sizes) <= 4096
    assert run.stats["done"] == 10_000


def test_polars_and_duckdb_take_a_run_as_it_is(url: Url) -> None:
    asked = [url("/ok"), url("/status/500"), url("/bytes/1000")]
    frame = polars.DataFrame(overlapped.fetch(asked, retries=0))
    assert frame["status"].to_list() == [200, 500, 200]
    assert frame["body"].to_list()[0] == b"ok\n" and len(frame["body"].to_list()[2]) == 1000
    run = overlapped.fetch(asked, retries=0)
    found = duckdb.sql("select status, count(*), sum(bytes) from run where ok group by status").fetchall()
    assert found == [(200, 2, 1003)]


def test_an_error_of_the_list_is_told_after_the_records_before_it(url: Url) -> None:
    reader = pyarrow.RecordBatchReader.from_stream(overlapped.fetch([url("/ok"), 5]))  # type: ignore[list-item]
    assert reader.read_next_batch().column("status").to_pylist() == [200]
    with pytest.raises(Exception, match="row 1: a row is a str or a dict"):
        reader.read_next_batch()


def test_a_stream_that_is_dropped_ends_its_run(url: Url) -> None:
    reader = pyarrow.RecordBatchReader.from_stream(overlapped.fetch(url("/ok") for _ in range(100_000)))
    assert reader.read_next_batch().num_rows > 0
    del reader


def test_a_table_gives_its_rows(url: Url) -> None:
    asked = {"link": [url("/ok"), url("/status/500"), "no url"], "id": ["a", None, "c"], "number": [1, 2, None]}
    for table in (pyarrow.table(asked), polars.DataFrame(asked), pyarrow.table(asked).to_reader(max_chunksize=1)):
        results = polars.DataFrame(overlapped.fetch_stream(table, url_column="link", retries=0))
        assert results["status"].to_list() == [200, 500, None]
        assert results["id"].to_list() == ["a", None, "c"]
        assert [meta and json.loads(meta) for meta in results["meta"].to_list()] == [{"number": 1}, {"number": 2}, None]
        # Of results only the columns count that are those of a row, and not the bodies and headers of the responses.
        again = [(record.status, record.method, record.id) for record in overlapped.fetch(results, retries=0)]
        assert again == [(200, "GET", "a"), (500, "GET", None), (None, "GET", "c")]
    with pytest.raises(ValueError, match="the table has no column 'url'; it has 'link', 'id', 'number'"):
        overlapped.fetch(polars.DataFrame(asked))
    assert [record.status for record in overlapped.fetch_stream(polars.DataFrame({"url": []}))] == []


def test_a_column_gives_its_urls(url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [url("/ok"), url("/bytes/10")]
    columns = [polars.Series(asked), pyarrow.chunked_array([asked[:1], asked[1:]])]
    for column in columns:
        assert [record.url for record in overlapped.fetch(column)] == asked
    # Without pyarrow, polars reads them.
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for source in (columns[0], polars.DataFrame({"url": asked})):
        assert [record.url for record in overlapped.fetch(source)] == asked
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.setitem(sys.modules, "nanoarrow", None)
    with pytest.raises(TypeError, match="reading a table takes pyarrow, polars or nanoarrow"):
        overlapped.fetch(columns[0])


def test_dates_and_decimals_of_a_table_are_texts_of_meta(url: Url) -> None:
    day = datetime.date(2026, 1, 31)
    frame = polars.DataFrame({"url": [url("/ok")], "day": [day], "price": [decimal.Decimal("1.50")]})
    (record,) = overlapped.fetch(frame)
    assert record.meta is not None and record.meta == {"day": "2026-01-31", "price": "1.50"}
    with pytest.raises(ValueError, match="column 'blob' has bytes"):
        list(overlapped.fetch(polars.DataFrame({"url": [url("/ok")], "blob": [b"x"]})))
