"""The examples of examples/cluster on Ray, Spark and Dask, each on this machine: all rows once, and what a kill costs.

The server's own record is what counts: how often it was asked for each URL.
"""

from __future__ import annotations

import collections
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


class Server:
    def __init__(self, bases: list[str]) -> None:
        self.bases = bases

    def url(self, row: int, path: str) -> str:
        return self.bases[row % len(self.bases)] + path

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.bases[0] + path) as response:
            return bytes(response.read())

    def asked(self) -> collections.Counter[str]:
        """How often it was asked for each URL."""
        return collections.Counter(json.loads(line)["url"] for line in self.get("/testkit/seen").splitlines())

    def requests(self) -> int:
        return len(self.get("/testkit/seen").splitlines())

    def wait_for(self, requests: int) -> None:
        ends = time.monotonic() + 400
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
        process.stdin.close()
        process.wait(timeout=30)


def split(server: Server, folder: Path, rows: int, shards: int, delay_ms: int = 0) -> Path:
    page = "/row/{}?delay_ms=" + str(delay_ms)
    (folder / "urls.txt").write_text("\n".join(server.url(row, page.format(row)) for row in range(rows)))
    out = folder / "shards"
    command = [sys.executable, "-m", "overlapped", "shard", str(folder / "urls.txt"), "-n", str(shards), "-o", str(out)]
    subprocess.run(command, check=True)
    return out


def check(server: Server, results: Path, rows: int, kills: int = 0) -> None:
    """Each row has one record, none was asked for more often than a kill explains, and nothing temporary is left."""
    files = sorted(results.rglob("*.parquet"))
    tables = [pq.read_table(file, columns=["id", "url", "status"]) for file in files]
    table = pa.concat_tables([table.cast(pa.schema([("id", pa.string()), *list(table.schema)[1:]])) for table in tables])
    found = table.to_pylist()
    assert sorted(int(row["id"]) for row in found) == list(range(rows))
    for row in found:
        assert row["status"] == 200 and f"/row/{row['id']}?" in row["url"]
    asked = server.asked()
    assert set(asked) == {row["url"] for row in found}
    assert max(asked.values()) <= 1 + kills
    assert not [path for path in results.rglob("*") if path.name.endswith(".part")]


def run(name: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(EXAMPLES / name), *words]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=500)
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


def kill_one(process: subprocess.Popen[str], is_it: Callable[[str], bool]) -> None:
    for pid in children(process.pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if is_it(words):
            os.kill(pid, signal.SIGKILL)
            return
    raise AssertionError("there is no such process")


def test_the_shell_fetches_all_shards(server: Server, tmp_path: Path) -> None:
    split(server, tmp_path, 400, 6)
    program = tmp_path / "bin"
    program.mkdir()
    (program / "overlapped").write_text(f"#!/bin/sh\nexec {sys.executable} -m overlapped \"$@\"\n")
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


def test_spark(server: Server, tmp_path: Path) -> None:
    shards = split(server, tmp_path, 800, 6)
    end(run("with_spark.py", str(shards), str(tmp_path / "results")))
    check(server, tmp_path / "results", 800)


def test_spark_with_a_killed_worker(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local[2,4] pyspark-shell")
    shards = split(server, tmp_path, 800, 6, delay_ms=30)
    process = run("with_spark.py", str(shards), str(tmp_path / "results"))
    server.wait_for(100)
    # The daemon forks a process for each task; the last one is a worker.
    found = []
    for pid in children(process.pid):
        if b"pyspark.daemon" in Path(f"/proc/{pid}/cmdline").read_bytes():
            found.append(pid)
    os.kill(max(found), signal.SIGKILL)
    end(process)
    check(server, tmp_path / "results", 800, kills=1)
