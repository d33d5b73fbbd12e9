"""Shards of a list as DataFrames of polars, fetched one after the other by this process.

    overlapped shard urls.txt -n 512 -o shards/
    python with_polars.py shards/ results/

A shard is a table in and a table out. The same program again goes on with the shards that are not there yet. Needs polars and
overlapped; pyarrow is not needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars
from overlapped import fetch_stream


def main(shards: str, results: str) -> None:
    Path(results).mkdir(parents=True, exist_ok=True)
    for shard in sorted(Path(shards).glob("shard-*.parquet")):
        target = Path(results, shard.name)
        if target.exists():
            continue
        rows = polars.read_parquet(shard).with_columns(polars.col("id").cast(polars.String))
        fetched = polars.DataFrame(fetch_stream(rows, retries=3, per_host=6))
        part = target.with_suffix(".part")
        fetched.write_parquet(part)
        part.rename(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
