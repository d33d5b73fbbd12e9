"""Shards of a list, each fetched by a worker of Dask with the command.

    overlapped shard urls.txt -n 512 -o shards/
    python with_dask.py shards/ results/ [tcp://SCHEDULER:8786]

A worker writes the results of its shard itself, with a manifest as the commit; what comes back is one line a shard. The same
program again goes on where it was. Needs dask[distributed] and overlapped, and a directory that all workers see.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from dask.distributed import Client, LocalCluster


def fetch(shard: str, results: str) -> str:
    """Fetches a shard, if it is not there yet."""
    base = Path(results) / Path(shard).stem
    command = [sys.executable, "-m", "overlapped", "fetch", shard, "-s", "--resume"]
    command += ["--retry", "3", "--parallel-max-host", "6"]
    command += ["-o", f"{base}.parquet", "--manifest", f"{base}.json"]
    # A worker that was lost may have left its command behind, which is still at work.
    while "uses this run" in (done := subprocess.run(command, stderr=subprocess.PIPE, text=True)).stderr:
        time.sleep(1)
    # 1: some rows have failed, which their records say.
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{shard}: {done.stderr.strip()}")
    return base.name


def main(shards: str, results: str, scheduler: str | None = None) -> None:
    files = sorted(str(path) for path in Path(shards).absolute().glob("shard-*.parquet"))
    target = Path(results).absolute()
    target.mkdir(parents=True, exist_ok=True)
    with Client(scheduler or LocalCluster(n_workers=2, threads_per_worker=1)) as client:
        tasks = client.map(fetch, files, results=str(target), retries=3, pure=False)
        print(len(client.gather(tasks)), "shards")
    verify = [sys.executable, "-m", "overlapped", "verify", str(target), "--plan", shards]
    sys.exit(subprocess.run(verify).returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])
