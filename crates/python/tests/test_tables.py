"""Outputs in Parquet and in Arrow's file format, read by those who take them."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import overlapped
import polars
import pyarrow.ipc
import pyarrow.parquet
import zstandard

Url = Callable[[str], str]


def written(url: Url, folder: Path, *more: str) -> list[dict[str, Any]]:
    """The same records as a table of each kind and as lines of JSON, which are returned in the order of their rows."""
    asked = [*(url(f"/row/{row}") for row in range(300)), url("/status/404"), "no url", url("/redirect/2")]
    (folder / "urls.txt").write_text("\n".join(asked))
    outputs = [word for suffix in ("ndjson", "parquet", "arrow") for word in ("-o", str(folder / f"r.{suffix}"))]
    command = [sys.executable, "-m", "overlapped", "-s", *more, *outputs, f"@{folder / 'urls.txt'}"]
    assert subprocess.run(command, timeout=120).returncode == 1
    lines = (folder / "r.ndjson").read_text().splitlines()
    return sorted((json.loads(line) for line in lines), key=lambda record: record["row"])


def test_pyarrow_reads_both(url: Url, tmp_path: Path) -> None:
    expected = written(url, tmp_path)
    parquet = pyarrow.parquet.read_table(tmp_path / "r.parquet")
    with pyarrow.ipc.open_file(tmp_path / "r.arrow") as file:
        arrow = file.read_all()
    assert parquet.schema == arrow.schema
    assert parquet.sort_by("row") == arrow.sort_by("row")
    rows = parquet.sort_by("row").to_pylist()
    assert len(rows) == len(expected) == 303
    same = ("row", "url", "final_url", "host", "method", "status", "ok", "error", "attempts", "content_type", "bytes")
    for row, record in zip(rows, expected, strict=True):
        assert [row[name] for name in same] == [record[name] for name in same]
        if record["body"] is not None:
            assert row["body"] == record["body"].encode()
    times = [row["started"] for row in rows if row["started"] is not None]
    assert len(times) == 302 and all(time.tzinfo is not None for time in times)


def test_polars_and_duckdb_read_them(url: Url, tmp_path: Path) -> None:
    written(url, tmp_path)
    frame = polars.read_parquet(tmp_path / "r.parquet")
    assert frame.height == 303 and frame.filter(polars.col("ok")).height == 301
    assert polars.read_ipc(tmp_path / "r.arrow").height == 303
    query = f"select count(*), sum(bytes) from '{tmp_path / 'r.parquet'}' where status = 200"
    counted, total = duckdb.sql(query).fetchall()[0]
    assert (counted, total) == (301, frame.filter(polars.col("status") == 200)["bytes"].sum())


def test_large_bodies_and_small_batches_are_whole(url: Url, tmp_path: Path) -> None:
    bodies = [5 << 20, 3, 1 << 20, 0, 9 << 20]
    out = tmp_path / "r.parquet"
    list(overlapped.fetch([url(f"/bytes/{size}") for size in bodies], out=out, limit=1))
    table = pyarrow.parquet.read_table(out).sort_by("row")
    assert [len(body) if body is not None else 0 for body in table["body"].to_pylist()] == bodies


def test_compressed_lines_are_read_by_others(url: Url, tmp_path: Path) -> None:
    names = ["r.ndjson.gz", "r.csv.gz", "r.ndjson.zst", "r.csv.zst", "r.tsv", "r.ndjson"]
    asked = [*(url(f"/row/{row}") for row in range(300)), url("/status/404"), url("/bytes/20000")]
    (tmp_path / "urls.txt").write_text("\n".join(asked))
    outputs = [word for name in names for word in ("-o", str(tmp_path / name))]
    # With a member for each record.
    command = [sys.executable, "-m", "overlapped", "-s", "--durability", "each", *outputs, f"@{tmp_path / 'urls.txt'}"]
    assert subprocess.run(command, timeout=120).returncode == 1
    expected = (tmp_path / "r.ndjson").read_text()
    with gzip.open(tmp_path / "r.ndjson.gz", "rt") as lines:
        assert lines.read() == expected
    with zstandard.open(tmp_path / "r.ndjson.zst", "rt") as lines:
        assert lines.read() == expected
    with pyarrow.input_stream(tmp_path / "r.ndjson.zst") as lines:
        assert lines.read().decode() == expected
    records = sorted((json.loads(line) for line in expected.splitlines()), key=lambda record: record["row"])
    assert len(records) == 302
    with gzip.open(tmp_path / "r.csv.gz", "rt", newline="") as table, (tmp_path / "r.tsv").open(newline="") as plain:
        for rows in (csv.DictReader(table), csv.DictReader(plain, delimiter="\t", quoting=csv.QUOTE_NONE)):
            found = sorted(rows, key=lambda row: int(row["row"]))
            assert [row["url"] for row in found] == [record["url"] for record in records]
    for name in ("r.csv.gz", "r.csv.zst"):
        count = duckdb.sql(f"select count(*) from read_csv('{tmp_path / name}', all_varchar=true)").fetchall()
        assert count == [(302,)]
    counted = duckdb.sql(f"select count(*) from read_json_auto('{tmp_path / 'r.ndjson.zst'}')").fetchall()
    assert counted == [(302,)]
    again = overlapped.fetch(tmp_path / "r.ndjson.gz", out=tmp_path / "again.csv.gz")
    assert len(list(again)) == 302
