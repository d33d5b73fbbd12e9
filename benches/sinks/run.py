#!/usr/bin/env python3
"""Each kind of output beside NDJSON: the same list to each in turn, interleaved rounds, on one nginx.

    cargo build --release -p overlapped-cli
    python3 benches/sinks/run.py [--rows 200000] [--rounds 3] [KIND ...]

Prints a Markdown table: rows a second, CPU seconds for 100,000 rows, peak memory, size of the output, and the rate over that of the first
kind, the median of the ratios within each round. WARC keeps bodies as they came, so it asks for none that are compressed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches" / "peers"))
from server import Nginx  # noqa: E402

KINDS = ["ndjson", "ndjson.gz", "ndjson.zst", "csv", "tsv", "parquet", "arrow", "har", "warc", "warc.gz"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=KINDS)
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release/overlapped")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    runs: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in options.kinds}
    with tempfile.TemporaryDirectory() as folder, Nginx(Path(folder), body_bytes=1024, parallel=64) as server:
        urls = Path(folder) / "urls.txt"
        urls.write_text("".join(f"{server.url}/row/{row}\n" for row in range(options.rows)))
        for _ in range(options.rounds):
            for kind in options.kinds:
                runs[kind].append(measured(options.bin, urls, Path(folder) / "out", kind, options.rows))
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors, {options.rounds} rounds, {options.rows:,} rows\n")
    print("| output | rows/s | CPU s/100k | peak MB | output MB | rate |\n| --- | --- | --- | --- | --- | --- |")
    first = next(iter(runs.values()))
    for kind, its in runs.items():
        rate, cpu, peak, size = (statistics.median(column) for column in zip(*its))
        ratio = statistics.median(own[0] / other[0] for own, other in zip(its, first))
        print(f"| {kind} | {rate:,.0f} | {cpu:.3f} | {peak:.0f} | {size:.0f} | {ratio:.2f} x |")


def measured(program: Path, urls: Path, out: Path, kind: str, rows: int) -> tuple[float, float, float, float]:
    out.mkdir()
    command = [program, "fetch", f"@{urls}", "-j", "64", "-s", "-o", out / f"out.{kind}"]
    began = time.monotonic()
    process = subprocess.Popen([*command, *(["--no-compressed"] if kind.startswith("warc") else [])])
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    if status != 0:
        raise SystemExit(f"{kind} failed")
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    shutil.rmtree(out)
    return rows / wall, (used.ru_utime + used.ru_stime) / rows * 100_000, used.ru_maxrss / 1_000, size / 1_000_000


if __name__ == "__main__":
    main()
