#!/usr/bin/env python3
"""A page of a long result: `overlapped report` of N made-up rows, as NDJSON and as Parquet.

    cargo build --release -p overlapped-cli
    python3 benches/sinks/report.py [--rows 10000000] [--bin target/release/overlapped] [--folder /tmp]

Prints a Markdown table: seconds, CPU seconds, peak memory, size of the result and of the page. The rows are of 5,000 hosts, one in 50 fails,
one in 40 has a second attempt. Needs 9 GB of disk for 10 million rows, and pyarrow for Parquet; its files are removed at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN = datetime(2026, 1, 31, tzinfo=timezone.utc)
BLOCK = 100_000


def started(row: int) -> datetime:
    return BEGIN + timedelta(microseconds=row * 250)


def record(row: int) -> dict[str, object]:
    """A record with the columns of docs/reference/records.md. Those of each block of rows differ in number and start alone."""
    draw = row * 2654435761 % 4294967296
    host = f"www{draw % 5000}.example.org"
    failed, again, first = draw % 50 == 0, draw % 40 == 1, draw % 100 == 2
    status = None if failed and draw % 100 else 503 if failed else 200
    error = None if not failed else "status" if status else "timeout.first_byte"
    wait = 5 + draw % 977 / 3
    dns, connect, tls = (1.25, 11.5, 23.75) if first else (None, None, None)
    total = 0.05 + wait + draw % 13 + (36.5 if first else 0)
    return {
        "row": row, "id": None, "url": f"https://{host}/articles/{draw % 100000}/page-{row}.html", "final_url": None, "host": host,
        "method": "GET", "status": status, "ok": not failed, "error": error,
        "error_message": error and "nothing was received for 30 s", "exitcode": 22 if failed else 0, "attempts": 2 if again else 1,
        "redirects": 0, "chain": [], "http_version": "1.1", "remote_ip": "192.0.2.1", "remote_port": 443, "reused": not first,
        "headers": {"content-type": ["text/html"]}, "content_type": "text/html", "etag": None, "last_modified": None,
        "bytes": draw % 40000, "wire_bytes": draw % 10000, "body": None, "body_base64": None, "body_path": None, "sha256": None,
        "truncated": False, "notes": [], "started": started(row), "blocked_ms": draw % 3000 / 10,
        "dns_ms": dns, "connect_ms": connect, "tls_ms": tls, "send_ms": 0.05, "wait_ms": wait, "receive_ms": float(draw % 13),
        "total_ms": total, "elapsed_ms": total + draw % 3000 / 10 + (700 if again else 0), "meta": None,
    }  # fmt: skip


def ndjson(path: Path, rows: int) -> None:
    import json

    parts = []
    for row in range(BLOCK):
        line = json.dumps(record(row), separators=(",", ":"), default=str)
        _, rest = line.split(",", 1)
        before, after = rest.split(f'"started":"{record(row)["started"]}"')
        parts.append((f',{before}"started":"', f'",{after[1:]}\n'))
    with path.open("w") as file:
        for begin in range(0, rows, BLOCK):
            for row, (before, after) in zip(range(begin, min(begin + BLOCK, rows)), parts):
                file.write(f'{{"row":{row}{before}{started(row).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}{after}')


def parquet(path: Path, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = {"row": pa.uint64(), "status": pa.uint16(), "exitcode": pa.uint8(), "attempts": pa.uint16(), "redirects": pa.uint16()}
    hop = pa.struct([("url", pa.string()), ("status", pa.uint16()), ("total_ms", pa.float64())])
    other = {
        "started": pa.timestamp("us", "UTC"), "chain": pa.list_(hop), "notes": pa.list_(pa.string()), "body": pa.binary(),
        "headers": pa.map_(pa.string(), pa.list_(pa.string())), "ok": pa.bool_(), "reused": pa.bool_(), "truncated": pa.bool_(),
        "remote_port": pa.uint16(), "bytes": pa.uint64(), "wire_bytes": pa.uint64(),
    }  # fmt: skip
    def kind(name: str) -> pa.DataType:
        return whole.get(name) or other.get(name) or (pa.float64() if name.endswith("_ms") else pa.string())

    schema = pa.schema([(name, kind(name)) for name in record(0) if name != "body_base64"])
    records = [record(row) for row in range(BLOCK)]
    for of in records:
        of["headers"] = list(of["headers"].items())
    block = pa.Table.from_pylist(records, schema)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for begin in range(0, rows, BLOCK):
            part = block.slice(0, min(BLOCK, rows - begin))
            numbers = range(begin, begin + part.num_rows)
            for name, values in {"row": numbers, "started": map(started, numbers)}.items():
                at = schema.get_field_index(name)
                part = part.set_column(at, schema.field(at), pa.array(values, schema.field(at).type))
            writer.write_table(part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release/overlapped")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results = {Path(folder) / "r.ndjson": ndjson, Path(folder) / "r.parquet": parquet}
        for path, make in results.items():
            make(path, options.rows)
        print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors, {options.rows:,} rows\n")
        print("| result | s | CPU s | peak MB | result MB | page kB |\n| --- | --- | --- | --- | --- | --- |")
        for _ in range(options.rounds):
            for path in results:
                print(measured(options.bin, path, Path(folder) / "page.html"), flush=True)


def measured(program: Path, path: Path, page: Path) -> str:
    began = time.monotonic()
    process = subprocess.Popen([program, "report", path, "-o", page])
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    if status != 0:
        raise SystemExit(f"{path.name} failed")
    cpu, size = used.ru_utime + used.ru_stime, path.stat().st_size / 1e6
    return f"| {path.suffix[1:]} | {wall:.1f} | {cpu:.1f} | {used.ru_maxrss / 1000:.0f} | {size:,.0f} | {page.stat().st_size / 1000:.0f} |"


if __name__ == "__main__":
    main()
