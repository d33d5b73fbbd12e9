"""Shards of a list, each a row of a DataFrame of Daft, fetched with the command.

    overlapped shard urls.txt -n 512 -o shards/
    python with_daft.py shards/ results/

The results of a shard are written by the command, with a manifest as the commit; what comes back is one row a shard. The same
program again goes on where it was. `daft.set_runner_ray()` before it has a cluster of Ray do the work, whose machines all see
the directory. Needs daft and overlapped.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import daft


@daft.cls(max_concurrency=2)
class Fetch:
    """Fetches a shard, if it is not there yet."""

    def __init__(self, results: str) -> None:
        self.results = results

    async def __call__(self, shard: str) -> str:
        base = Path(self.results) / Path(shard).stem
        command = [sys.executable, "-m", "overlapped", "fetch", shard, "-s", "--resume"]
        command += ["--retry", "3", "--parallel-max-host", "6"]
        command += ["-o", f"{base}.parquet", "--manifest", f"{base}.json"]
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, errors = await process.communicate()
        # 1: some rows have failed, which their records say.
        if process.returncode not in (0, 1):
            raise RuntimeError(f"{shard}: {errors.decode().strip()}")
        return base.name


def main(shards: str, results: str) -> None:
    files = sorted(str(path) for path in Path(shards).absolute().glob("shard-*.parquet"))
    target = Path(results).absolute()
    target.mkdir(parents=True, exist_ok=True)
    frame = daft.from_pydict({"shard": files})
    done = frame.with_column("done", Fetch(str(target))(frame["shard"])).to_pydict()
    print(len(done["done"]), "shards")
    verify = [sys.executable, "-m", "overlapped", "verify", str(target), "--plan", shards]
    sys.exit(subprocess.run(verify).returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])
