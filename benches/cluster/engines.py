"""What an engine costs: two workers of Ray, and two tasks of Spark, beside one process on the same machine with as many requests
in flight, at a server that takes 200 ms for an answer.

    python3 benches/cluster/engines.py [--testkit target/release/overlapped-testkit] [--program overlapped] [--rows 25600] [--at-once 64]
        [--rounds 3] [--record]

It runs in an environment with overlapped, pyarrow, ray[data] and pyspark (`crates/python/check-engines` makes one; for figures,
with a release build of the package). A run fetches the same shards and writes tables in Parquet:

- process: `map_batches` over all shards, 64 requests at a time.
- ray: `Fetcher` in two actors, 32 at a time each, a block is a shard.
- spark: `mapInArrow` in two tasks at a time, 32 each, a partition is a shard.

The server's record tells when the first request came and when the last answer went: the *span*, of which start-up is no part.
*Overhead* is the span over that of the process in the same round, less 1; *CPU* is user and system time of all processes of
the run, for 1,000 rows.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOSTS, SHARDS, DELAY_MS = 64, 32, 200
WAYS = ("process", "ray", "spark")


def process(shards: list[str], results: str, at_once: int) -> None:
    import pyarrow.parquet as pq
    from overlapped.arrow import map_batches

    def batches():
        for shard in shards:
            yield from pq.ParquetFile(shard).iter_batches()

    writer = None
    for batch in map_batches(limit=at_once)(batches()):
        if writer is None:
            writer = pq.ParquetWriter(f"{results}/part.parquet", batch.schema)
        writer.write_batch(batch)
    assert writer is not None
    writer.close()


def ray(shards: list[str], results: str, at_once: int) -> None:
    import ray as engine
    import ray.data
    from overlapped.arrow import Fetcher

    engine.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    # A shard is a block.
    ray.data.DataContext.get_current().use_datasource_v2 = False
    dataset = ray.data.read_parquet(shards, override_num_blocks=len(shards)).map_batches(
        Fetcher,
        fn_constructor_kwargs={"limit": at_once // 2},
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=0.25,
    )
    dataset.write_parquet(results)
    engine.shutdown()


def spark(shards: list[str], results: str, at_once: int) -> None:
    from overlapped.arrow import map_batches, output_schema
    from pyspark.sql import SparkSession
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.files.maxPartitionBytes", str(1 << 30))
        .config("spark.sql.files.openCostInBytes", str(1 << 30))
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    rows = session.read.parquet(*shards)
    schema = from_arrow_schema(output_schema(to_arrow_schema(rows.schema)))
    rows.mapInArrow(map_batches(limit=at_once // 2), schema).write.mode("overwrite").parquet(results)
    session.stop()


class Server:
    def __init__(self, program: Path) -> None:
        command = [program, "--hosts", str(HOSTS), "--until-eof", "--seconds", "3000", "--record-limit", "1000000"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.bases = [self._process.stdout.readline().strip().rstrip("/") for _ in range(HOSTS)]

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.bases[0] + path) as response:
            return bytes(response.read())

    def span(self, rows: int) -> float:
        """Seconds from the first request to the last answer; then it forgets them."""
        seen = [json.loads(line) for line in self.get("/testkit/seen").splitlines()]
        assert len(seen) == rows and len({request["url"] for request in seen}) == rows, f"{len(seen)} requests"
        self.get("/testkit/forget")
        return max(request["ended_s"] for request in seen) - min(request["time_s"] for request in seen)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def measured(way: str, shards: Path, folder: Path, server: Server, rows: int, at_once: int) -> tuple[float, float, float]:
    """Span, wall time and CPU time of a run."""
    import pyarrow.parquet as pq

    results = folder / f"{way}-{time.monotonic_ns()}"
    results.mkdir()
    before, begins = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, __file__, "--way", way, "--at-once", str(at_once), str(shards), str(results)]
    with open(folder / "log", "w+") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log)
        if done.returncode != 0:
            log.seek(0)
            sys.exit(log.read()[-5000:])
    wall, after = time.monotonic() - begins, resource.getrusage(resource.RUSAGE_CHILDREN)
    found = [row for file in results.rglob("*.parquet") for row in pq.read_table(file, columns=["id"])["id"].to_pylist()]
    assert sorted(found) == list(range(rows)), f"{len(found)} rows"
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return server.span(rows), wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--way", choices=WAYS, help="one run: of SHARDS, into RESULTS")
    parser.add_argument("--testkit", type=Path, default=ROOT / "target/release/overlapped-testkit")
    parser.add_argument("--rows", type=int, default=25_600)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--program", nargs="+", default=[sys.executable, "-m", "overlapped"], help="what splits the list")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="keep the result under benches/cluster/results")
    words = parser.parse_args()
    if words.way:
        shards = sorted(str(path) for path in Path(words.paths[0]).glob("shard-*.parquet"))
        return {"process": process, "ray": ray, "spark": spark}[words.way](shards, words.paths[1], words.at_once)
    server = Server(words.testkit)
    runs: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        urls = (f"{server.bases[row % HOSTS]}/row/{row}?delay_ms={DELAY_MS}\n" for row in range(words.rows))
        (folder / "urls.txt").write_text("".join(urls))
        command = [*words.program, "shard", str(folder / "urls.txt"), "-n", str(SHARDS), "-o", name + "/shards"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        for _ in range(words.rounds):
            for way in WAYS:
                runs[way].append(measured(way, folder / "shards", folder, server, words.rows, words.at_once))
                print(way, *(f"{value:.2f}" for value in runs[way][-1]), file=sys.stderr)
    server.close()
    today = datetime.date.today().isoformat()
    least = words.rows / words.at_once * DELAY_MS / 1000
    lines = [f"# Engines, {today}", ""]
    lines += [f"`benches/cluster/engines.py --rows {words.rows} --rounds {words.rounds}`; {os.cpu_count()} processors, load average "]
    lines[-1] += f"{os.getloadavg()[0]:.1f} at the end. {words.rows:,} rows in {SHARDS} shards, {DELAY_MS} ms an answer, {words.at_once} requests at a time: "
    lines[-1] += f"at least {least:.1f} s."
    lines += ["", "| | span s | overhead | start-up and end s | CPU s / 1,000 rows |", "| --- | --- | --- | --- | --- |"]
    for way, its in runs.items():
        span = statistics.median(run[0] for run in its)
        over = statistics.median(own[0] / other[0] for own, other in zip(its, runs["process"])) - 1
        rest = statistics.median(run[1] - run[0] for run in its)
        cpu = statistics.median(run[2] for run in its) / words.rows * 1000
        lines.append(f"| {way} | {span:.1f} | {over:+.1%} | {rest:.1f} | {cpu:.2f} |")
    text = "\n".join([*lines, ""])
    print(text)
    if words.record:
        (ROOT / f"benches/cluster/results/{today}-engines.md").write_text(text)


if __name__ == "__main__":
    main()
