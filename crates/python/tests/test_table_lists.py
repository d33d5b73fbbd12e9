"""Lists in Parquet and in Arrow's file format that other programs have written, and shards that others read."""

from __future__ import annotations

import datetime
import decimal
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import overlapped
import polars
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

Url = Callable[[str], str]


def table(url: Url, rows: int = 50) -> pa.Table:
    day = datetime.date(2026, 1, 31)
    moment = datetime.datetime(2026, 1, 31, 12, 30, tzinfo=datetime.timezone.utc)
    return pa.table(
        {
            "n": pa.array(range(rows), pa.uint16()),
            "url": [url(f"/row/{row}") for row in range(rows)],
            "id": [f"row {row}" for row in range(rows)],
            "day": pa.array([day] * rows),
            "moment": pa.array([moment] * rows, pa.timestamp("ns", "UTC")),
            "price": pa.array([decimal.Decimal("1.50")] * rows),
            "tags": pa.array([["a", None]] * rows),
            "word": pa.array(["same"] * rows).dictionary_encode(),
            "raw": pa.array([b"\xff"] * rows),
            "point": pa.array([{"x": 1.5, "y": None}] * rows),
            "headers": pa.array([[("X-A", "b")]] * rows, pa.map_(pa.string(), pa.string())),
        }
    )


META = {
    "day": "2026-01-31",
    "moment": "2026-01-31T12:30:00.000000Z",
    "price": "1.50",
    "tags": ["a", None],
    "word": "same",
    "raw": "/w==",
    "point": {"x": 1.5, "y": None},
}


def check(path: Path, rows: int = 50) -> None:
    records = list(overlapped.fetch(path))
    assert [record.row for record in records] == list(range(rows))
    for row, record in enumerate(records):
        assert (record.status, record.id) == (200, f"row {row}"), record
        assert record.meta == {"n": row, **META}


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "lz4", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_usual_codec_is_read(url: Url, tmp_path: Path, codec: str, version: str) -> None:
    path = tmp_path / "urls.parquet"
    pq.write_table(table(url), path, compression=codec, data_page_version=version, row_group_size=13)
    check(path)


@pytest.mark.parametrize("codec", ["uncompressed", "lz4", "zstd"])
def test_arrow_files_are_read(url: Url, tmp_path: Path, codec: str) -> None:
    path = tmp_path / "urls.feather"
    pyarrow.feather.write_feather(table(url), str(path), compression=codec, chunksize=13)
    check(path)
    (record,) = overlapped.fetch(path).take(1)
    assert record.row == 0


def test_polars_and_duckdb_write_lists(url: Url, tmp_path: Path) -> None:
    frame = polars.DataFrame({"url": [url(f"/row/{row}") for row in range(30)], "size": range(30)})
    frame.write_parquet(tmp_path / "a.parquet")
    duckdb.sql("select url, size from frame").write_parquet(str(tmp_path / "b.parquet"))
    for name in ("a.parquet", "b.parquet"):
        records = list(overlapped.fetch(tmp_path / name))
        assert [(record.status, record.meta) for record in records] == [(200, {"size": n}) for n in range(30)]


def test_bytes_that_are_no_text_are_a_bad_row(url: Url, tmp_path: Path) -> None:
    path = tmp_path / "urls.parquet"
    urls = [url("/ok").encode(), b"http://a.test/\xff", None, b"http://a.test/\0"]
    pq.write_table(pa.table({"url": pa.array(urls, pa.binary())}), path)
    errors = [record.error for record in overlapped.fetch(path)]
    assert errors == [None, "input.encoding", "input.empty", "input.url"]


def test_a_type_that_no_list_has_is_refused(url: Url, tmp_path: Path) -> None:
    path = tmp_path / "urls.arrow"
    spans = pa.array([pa.MonthDayNano([1, 2, 3])], pa.month_day_nano_interval())
    pyarrow.feather.write_feather(pa.table({"url": [url("/ok")], "span": spans}), str(path))
    with pytest.raises(Exception, match="the column span has the type .*: leave it out"):
        list(overlapped.fetch(path))


def shards(list_path: Path, out: Path, *words: str) -> list[Path]:
    command = [sys.executable, "-m", "overlapped", "shard", str(list_path), "-o", str(out), *words]
    assert subprocess.run(command, timeout=120).returncode == 0
    return sorted(out.glob("shard-*.parquet"))


def test_shards_are_read_by_all(url: Url, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"url": url(f"/row/{n}"), "n": n, "f": n + 0.5, "b": n % 2 == 0, "o": {"n": [n]}, "timeout_s": 9}
        for n in range(200)
    ]
    path = tmp_path / "urls.ndjson"
    path.write_text("\n".join(map(json.dumps, rows)))
    files = shards(path, tmp_path / "out", "-n", "3")
    whole = pa.concat_tables(pq.read_table(file) for file in files).sort_by("id")
    assert whole.column_names == ["id", "url", "timeout_s", "n", "f", "b", "o"]
    assert [str(kind) for kind in whole.schema.types] == [
        "int64", "string", "double", "int64", "double", "bool", "string"
    ]  # fmt: skip
    assert whole.column("id").to_pylist() == list(range(200))
    assert whole.column("o").to_pylist()[7] == '{"n": [7]}'
    assert polars.read_parquet(tmp_path / "out/shard-*.parquet")["n"].sum() == sum(range(200))
    found = duckdb.sql(f"select count(distinct id), min(f) from '{tmp_path}/out/*.parquet'").fetchall()
    assert found == [(200, 0.5)]
    for file in files:
        for record in overlapped.fetch(file):
            assert record.id is not None and record.meta == {
                name: rows[int(record.id)][name] for name in ("n", "f", "b", "o")
            }


def test_a_split_of_a_table_keeps_what_its_rows_have(url: Url, tmp_path: Path) -> None:
    path = tmp_path / "urls.parquet"
    pq.write_table(table(url), path, row_group_size=7)
    records = [record for file in shards(path, tmp_path / "out", "-n", "2") for record in overlapped.fetch(file)]
    assert sorted(int(record.id or "") for record in records) == list(range(50))
    for record in records:
        assert record.status == 200
        assert record.meta == {"list_id": f"row {record.id}", "n": int(record.id or ""), **META}


@pytest.mark.parametrize("name", ["urls.parquet", "urls.arrow"])
def test_a_damaged_table_is_told_and_ends_nothing_else(tmp_path: Path, name: str) -> None:
    """What a file says about its sizes is not believed: a batch of 280 TB ended the process."""
    whole = tmp_path / f"whole-{name}"
    rows = pa.table({"url": [f"http://a.test/{row}" for row in range(300)], "n": range(300), "w": ["x"] * 300})
    if name.endswith("parquet"):
        pq.write_table(rows, whole, row_group_size=90)
    else:
        pyarrow.feather.write_feather(rows, str(whole), compression="lz4", chunksize=90)
    data = whole.read_bytes()
    path = tmp_path / name
    chance = random.Random(11)
    codes = []
    for _ in range(40):
        damaged = bytearray(data)
        at = len(damaged) - 1 - chance.randrange(min(1_500, len(damaged)))
        damaged[at] = chance.choice([0, 255, damaged[at] ^ 1 << chance.randrange(8)])
        path.write_bytes(damaged)
        command = [sys.executable, "-m", "overlapped", "--dry-run", f"@{path}"]
        codes.append(subprocess.run(command, capture_output=True, timeout=60).returncode)
    assert set(codes) <= {0, 1, 2} and 2 in codes


def test_a_table_packed_otherwise_is_not_damaged(tmp_path: Path, url: Url) -> None:
    """The columns that a list has no use for may be packed with anything."""
    path = tmp_path / "list.parquet"
    columns = {"url": [url("/row/1")], "method": ["GET"], "body": [None]}
    pq.write_table(pa.table(columns), path, compression={"url": "zstd", "method": "brotli", "body": "snappy"})
    with pytest.raises(OSError, match="the column method are packed with brotli: write the table with zstd"):
        list(overlapped.fetch(path))
    # Of results of this program the body is not read.
    columns = {"url": [url("/row/1")], "exitcode": [0], "wire_bytes": [1], "body": [b"x"]}
    packing = {"url": "zstd", "exitcode": "zstd", "wire_bytes": "zstd", "body": "brotli"}
    pq.write_table(pa.table(columns), path, compression=packing)
    (record,) = overlapped.fetch(path)
    assert record.status == 200


URLS = ["/ok", "/status/404"]
ARRAYS = [
    lambda urls: pa.array(urls),
    lambda urls: pa.array(urls, pa.large_string()),
    lambda urls: pa.array(urls).dictionary_encode(),
    lambda urls: pa.array([{"url": address, "id": "a"} for address in urls]),
]


class Other:
    """An array of another library."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self._array.__arrow_c_array__(requested_schema)


@pytest.mark.parametrize("make", ARRAYS)
@pytest.mark.parametrize("absent", [[], ["pyarrow"], ["pyarrow", "polars"]])
def test_an_array_was_read_as_scalars(url: Url, make: Callable[[list[str]], Any], absent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    source = make([url(path) for path in URLS])
    if absent:
        source = Other(source)
    for name in absent:
        monkeypatch.setitem(sys.modules, name, None)
    assert [record.status for record in overlapped.fetch(source)] == [200, 404]
    assert [record.status for record in overlapped.fetch_stream(source)] == [200, 404]


def test_a_long_array_is_read_whole(url: Url) -> None:
    source = pa.array([url("/ok")] * 5000 + [None])
    records = list(overlapped.fetch(source.slice(0, 5000)))
    assert [record.row for record in records] == list(range(5000))


def test_a_lazy_frame_had_no_useful_error(url: Url) -> None:
    for fetch in (overlapped.fetch, overlapped.fetch_stream):
        with pytest.raises(TypeError, match=r"call .collect\(\)"):
            fetch(polars.LazyFrame({"url": [url("/ok")]}))
