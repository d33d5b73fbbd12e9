"""The examples of examples/cluster on Ray, Spark, Dask, Daft and polars, each on this machine: all rows once, the limits of
hosts kept, and what a kill costs.

The server's own record is what counts: when it was asked for each URL, and how many answers it owed to a client then.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples/cluster"
HOSTS = 8
# What the examples say, since hosts of this machine have no limit by default.
PER_HOST = 6


STARTED: list[subprocess.Popen[str]] = []


class Server:
    def __init__(self, bases: list[str]) -> None:
        self.bases = bases

    def url(self, row: int, path: str) -> str:
        return self.bases[row % len(self.bases)] + path

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.bases[0] + path) as response:
            return bytes(response.read())

    def seen(self) -> list[dict[str, Any]]:
        """The requests in their order: `url`, `host`, `time_s`, `ended_s` and others."""
        return [json.loads(line) for line in self.get("/testkit/seen").splitlines()]

    def requests(self) -> int:
        return int(json.loads(self.get("/testkit/counts"))["requests"])

    def wait_for(self, requests: int) -> None:
        ends = time.monotonic() + 300
        while self.requests() < requests:
            assert time.monotonic() < ends, f"{self.requests()} requests"
            time.sleep(0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    program = os.environ.get("OVERLAPPED_TESTKIT", str(ROOT / "target/debug/overlapped-testkit"))
    command = [program, "--hosts", str(HOSTS), "--until-eof", "--seconds", "900", "--record-limit", "100000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        bases = [process.stdout.readline().strip().rstrip("/") for _ in range(HOSTS)]
        yield Server(bases)
        # Nothing of a scene stays, also of one that has failed.
        while STARTED:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(STARTED.pop().pid, signal.SIGKILL)
        process.stdin.close()
        process.wait(timeout=30)


def split(server: Server, folder: Path, rows: int, shards: int, delay_ms: int = 0) -> Path:
    page = "/row/{}?delay_ms=" + str(delay_ms)
    (folder / "urls.txt").write_text("\n".join(server.url(row, page.format(row)) for row in range(rows)))
    out = folder / "shards"
    command = [sys.executable, "-m", "overlapped", "shard", str(folder / "urls.txt"), "-n", str(shards), "-o", str(out)]
    subprocess.run(command, check=True)
    return out


def check(server: Server, results: Path, rows: int, kills: int = 0) -> int:
    """Each row has one record, none was asked for more often than a kill explains, no host had more requests at a time than
    its limit and what a kill has left behind, and nothing temporary is left. Returns how many requests were made again."""
    files = sorted(results.rglob("*.parquet"))
    tables = [pq.read_table(file, columns=["id", "url", "status"]) for file in files]
    table = pa.concat_tables([table.cast(pa.schema([("id", pa.string()), *list(table.schema)[1:]])) for table in tables])
    found = table.to_pylist()
    assert sorted(int(row["id"]) for row in found) == list(range(rows))
    for row in found:
        assert row["status"] == 200 and f"/row/{row['id']}?" in row["url"]
    seen = server.seen()
    asked = collections.Counter(request["url"] for request in seen)
    assert set(asked) == {row["url"] for row in found}
    assert max(asked.values()) <= 1 + kills
    most = most_at_once(seen)
    assert len(most) == HOSTS and max(most.values()) <= PER_HOST * (1 + kills), most
    again = len(seen) - rows
    print(f"{rows} rows, {kills} kills: {again} requests again, at most {max(most.values())} at once to a host")
    left = [path for path in results.rglob("*") if path.name.endswith(".part") or path.name.startswith("_temporary")]
    assert not left
    return again


def most_at_once(seen: list[dict[str, Any]]) -> dict[str, int]:
    """The most requests of each host that were not answered at a time."""
    changes: dict[str, list[tuple[float, int]]] = collections.defaultdict(list)
    for request in seen:
        changes[request["host"]].append((request["time_s"], 1))
        if request["ended_s"] is not None:
            changes[request["host"]].append((request["ended_s"], -1))
    most = {}
    for host, times in changes.items():
        now = most[host] = 0
        for _, change in sorted(times):
            now += change
            most[host] = max(most[host], now)
    return most


# None of the engines tells anybody that it is used.
ENVIRONMENT = {
    "PYSPARK_PYTHON": sys.executable,
    "PYTHONPATH": str(EXAMPLES),
    "RAY_USAGE_STATS_ENABLED": "0",
    # A cluster of its own, whatever another one has left in /tmp/ray.
    "RAY_ADDRESS": "local",
    "DAFT_ANALYTICS_ENABLED": "0",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
}


def run(name: str, *words: str, folder: Path = EXAMPLES) -> subprocess.Popen[str]:
    command = [sys.executable, str(folder / name), *words]
    environment = {**os.environ, **ENVIRONMENT}
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    STARTED.append(process)
    return process


def end(process: subprocess.Popen[str]) -> str:
    try:
        output, _ = process.communicate(timeout=500)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(process.communicate()[0][-5_000:]) from None
    assert process.returncode == 0, output[-5_000:]
    return output


def children(pid: int) -> Iterator[int]:
    """All processes below one."""
    parents: dict[int, list[int]] = collections.defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(fields[1])].append(int(path.parent.name))
    open_pids = [pid]
    while open_pids:
        for child in parents[open_pids.pop()]:
            open_pids.append(child)
            yield child


def words_of(pid: int) -> str:
    """The command of a process; none: it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def fetches(pid: int) -> bool:
    """Whether it is a process of Spark for Python that has threads of the engine."""
    if "pyspark.daemon" not in words_of(pid):
        return False
    try:
        return any("overlapped" in path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/comm"))
    except OSError:
        return False


def kill_one(process: subprocess.Popen[str], is_it: Callable[[str], bool]) -> None:
    for pid in children(process.pid):
        if is_it(words_of(pid)):
            os.kill(pid, signal.SIGKILL)
            return
    raise AssertionError("there is no such process")


def test_the_shell_fetches_all_shards(server: Server, tmp_path: Path) -> None:
    split(server, tmp_path, 400, 6)
    program = tmp_path / "bin"
    program.mkdir()
    script = f"""#!/bin/sh
[ "$1" != fetch ] || {{ shift; set -- fetch --parallel-max-host {PER_HOST} "$@"; }}
exec {sys.executable} -m overlapped "$@"
"""
    (program / "overlapped").write_text(script)
    (program / "overlapped").chmod(0o755)
    environment = {**os.environ, "PATH": f"{program}:{os.environ['PATH']}"}
    for _ in range(2):
        command = ["sh", str(EXAMPLES / "shell.sh"), "urls.txt", "6", "3"]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    assert (tmp_path / "results/_SUCCESS").exists()
    check(server, tmp_path / "results", 400)


@pytest.mark.parametrize("kills", [0, 1])
def test_dask(server: Server, tmp_path: Path, kills: int) -> None:
    shards = split(server, tmp_path, 600, 6, delay_ms=20 if kills else 0)
    process = run("with_dask.py", str(shards), str(tmp_path / "results"))
    if kills:
        server.wait_for(100)
        kill_one(process, lambda words: "spawn_main" in words)
    end(process)
    assert (tmp_path / "results/_SUCCESS").exists()
    check(server, tmp_path / "results", 600, kills)


def test_ray(server: Server, tmp_path: Path) -> None:
    shards = split(server, tmp_path, 800, 6)
    end(run("with_ray.py", str(shards), str(tmp_path / "results"), "2"))
    check(server, tmp_path / "results", 800)
    # No shard was joined with another one, or split.
    sizes = [pq.read_metadata(file).num_rows for file in shards.glob("shard-*.parquet")]
    found = [pq.read_metadata(file).num_rows for file in (tmp_path / "results").rglob("*.parquet")]
    assert sorted(found) == sorted(size for size in sizes if size)


def test_ray_with_a_killed_actor(server: Server, tmp_path: Path) -> None:
    shards = split(server, tmp_path, 800, 6, delay_ms=30)
    process = run("with_ray.py", str(shards), str(tmp_path / "results"), "2")
    server.wait_for(100)
    kill_one(process, lambda words: words.startswith("ray::") and "Map" in words)
    end(process)
    check(server, tmp_path / "results", 800, kills=1)


def test_ray_with_a_killed_driver(server: Server, tmp_path: Path) -> None:
    shards = split(server, tmp_path, 800, 8, delay_ms=50)
    process = run("with_ray.py", str(shards), str(tmp_path / "results"), "1")
    server.wait_for(400)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    end(run("with_ray.py", str(shards), str(tmp_path / "results"), "1"))
    check(server, tmp_path / "results", 800, kills=1)


def test_ray_with_a_removed_node(server: Server, tmp_path: Path) -> None:
    shards = split(server, tmp_path, 800, 8, delay_ms=100)
    process = run("ray_cluster.py", str(shards), str(tmp_path / "results"), folder=Path(__file__).parent)
    server.wait_for(200)
    assert process.stdin is not None
    process.stdin.write("remove\n")
    process.stdin.flush()
    assert "removed" in end(process)
    check(server, tmp_path / "results", 800, kills=1)


def test_spark(server: Server, tmp_path: Path) -> None:
    shards = split(server, tmp_path, 800, 6)
    end(run("with_spark.py", str(shards), str(tmp_path / "results")))
    check(server, tmp_path / "results", 800)


def test_spark_with_a_killed_worker(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local[2,4] pyspark-shell")
    shards = split(server, tmp_path, 800, 6, delay_ms=30)
    process = run("with_spark.py", str(shards), str(tmp_path / "results"))
    server.wait_for(100)
    # The daemon forks a process for each task: one in which the engine runs is at work.
    workers = [pid for pid in children(process.pid) if fetches(pid)]
    os.kill(workers[-1], signal.SIGKILL)
    end(process)
    assert check(server, tmp_path / "results", 800, kills=1) > 0


def test_spark_with_a_killed_executor(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two workers, with an executor each, which is a process of Java."""
    import pyspark

    monkeypatch.setenv("SPARK_HOME", str(Path(pyspark.__file__).parent))
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local-cluster[2,1,1024] pyspark-shell")
    shards = split(server, tmp_path, 800, 6, delay_ms=100)
    process = run("with_spark.py", str(shards), str(tmp_path / "results"))
    server.wait_for(150)
    executors = [pid for pid in children(process.pid) if "CoarseGrainedExecutorBackend" in words_of(pid)]
    os.kill(next(pid for pid in executors if any(map(fetches, children(pid)))), signal.SIGKILL)
    end(process)
    assert check(server, tmp_path / "results", 800, kills=1) > 0


def test_daft(server: Server, tmp_path: Path) -> None:
    shards = split(server, tmp_path, 600, 6)
    for _ in range(2):
        assert "6 shards" in end(run("with_daft.py", str(shards), str(tmp_path / "results")))
    assert (tmp_path / "results/_SUCCESS").exists()
    check(server, tmp_path / "results", 600)


def test_polars(server: Server, tmp_path: Path) -> None:
    shards = split(server, tmp_path, 600, 6, delay_ms=5)
    process = run("with_polars.py", str(shards), str(tmp_path / "results"))
    server.wait_for(150)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    end(run("with_polars.py", str(shards), str(tmp_path / "results")))
    for part in (tmp_path / "results").glob("*.part"):
        part.unlink()
    check(server, tmp_path / "results", 600, kills=1)


def test_the_job_of_kubernetes_is_one() -> None:
    """By the schemas of Kubernetes; what its command does is tested with those of the other scripts (crates/cli)."""
    import kubernetes_validate
    import yaml

    job = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    for version in ("1.28", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(job, version, strict=True)
