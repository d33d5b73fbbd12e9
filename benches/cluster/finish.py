"""How long a list takes on 1, 10 and 100 machines under the limits of hosts: what `overlapped shard --dry-run` tells, beside a
simulation, and, on a small scale, beside real runs.

    python3 benches/cluster/finish.py [--program target/release/overlapped] [--testkit target/release/overlapped-testkit]
        [--rows 1000000] [--record]

The lists have hosts by a power law: the k-th largest has 1 / k ** S of the rows of the largest. The simulation is a pure function
in virtual time: a machine has so many requests in flight, hosts take turns, a host has no more than its limit, and each
request takes a random time (log-normal, with the mean that the calculator is told). It knows nothing of the calculator.

Real runs are of `fetch --shard K/N` and of `shard` with `fetch`, N processes at a time, on a server of this machine that answers
after 50 ms, on addresses 127.0.0.x as hosts.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import hashlib
import heapq
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARALLEL, PER_HOST = 256, 6
LATENCY = 0.5


def sizes(rows: int, hosts: int, exponent: float) -> list[int]:
    """Rows of each host, the largest first."""
    weights = [1 / k**exponent for k in range(1, hosts + 1)]
    scale = rows / sum(weights)
    found = [max(1, round(weight * scale)) for weight in weights]
    found[0] += rows - sum(found)
    assert found[0] >= found[1], "there are too many hosts for these rows"
    return found


def log_normal(mean: float, seed: int) -> Callable[[], float]:
    """Times with this mean; half of them are between 0.7 and 1.4 times the median."""
    draw, sigma = random.Random(seed), 0.5
    mu = math.log(mean) - sigma * sigma / 2
    return lambda: draw.lognormvariate(mu, sigma)


def fetch_time(
    left: dict[str, int],
    time_of: Callable[[], float],
    parallel: int = PARALLEL,
    per_host: Callable[[str], int] = lambda host: PER_HOST,
) -> float:
    """How long one process takes for these rows by host. Hosts that may start take turns, a row each."""
    left = {host: rows for host, rows in left.items() if rows}
    active: dict[str, int] = collections.defaultdict(int)
    turns = collections.deque(left)
    flying: list[tuple[float, str]] = []
    now = 0.0
    while True:
        while turns and len(flying) < parallel:
            host = turns.popleft()
            left[host] -= 1
            active[host] += 1
            heapq.heappush(flying, (now + time_of(), host))
            if left[host] and active[host] < per_host(host):
                turns.append(host)
        if not flying:
            return now
        now, host = heapq.heappop(flying)
        if left[host] and active[host] == per_host(host):
            turns.append(host)
        active[host] -= 1


def part_of(host: str, parts: int) -> int:
    return int.from_bytes(hashlib.blake2b(host.encode(), digest_size=8).digest(), "little") % parts


def parts_of(rows: dict[str, int], parts: int, split: dict[str, int]) -> list[dict[str, int]]:
    """Rows by host of each part. A host that is split is in several parts."""
    found: list[dict[str, int]] = [{} for _ in range(parts)]
    for host, count in rows.items():
        pieces = min(split.get(host, 1), parts)
        for piece in range(pieces):
            found[(part_of(host, parts) + piece) % parts][host] = (count + piece) // pieces
    return found


def in_turn(times: Iterable[float], machines: int) -> float:
    """When the last of these is done, if each machine takes the next one when it is done with one."""
    free = [0.0] * machines
    for span in times:
        heapq.heapreplace(free, free[0] + span)
    return max(free)


def told(program: Path, path: Path, *more: str) -> dict[int, float]:
    """What the calculator says: seconds by number of machines, and those of the largest host as 0."""
    command = [program, "shard", path, "--dry-run", *more]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {int(machines): seconds(span) for span, machines in re.findall(r"(\S[^\n]*?) on (\d+) machine", text)}
    found[0] = seconds(re.findall(r"largest host takes ([^,]*),", text)[0])
    return found


def seconds(span: str) -> float:
    """A span as the program writes it: 400ms, 3.9s, 2m46, 1h 3m, 1 day 2 hours."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    total, last = 0.0, "h"
    for number, unit in re.findall(r"([\d.]+)\s*(ms|days?|hours?|h|m|s|)", span):
        unit = {"day": "d", "days": "d", "hour": "h", "hours": "h"}.get(unit, unit)
        unit = unit or {"h": "m", "m": "s"}[last]
        total, last = total + float(number) * units[unit], unit
    return total


def shown(span: float) -> str:
    if span < 100:
        return f"{span:.1f} s"
    return f"{span / 60:.1f} min" if span < 7200 else f"{span / 3600:.2f} h"


def simulated(program: Path, folder: Path, rows: int, hosts: int, exponent: float) -> list[str]:
    """A table of one list."""
    by_host = {f"h{k}.test": count for k, count in enumerate(sizes(rows, hosts, exponent))}
    path = folder / "urls.txt"
    with open(path, "w") as out:
        for host, count in by_host.items():
            out.writelines(f"http://{host}/{row}\n" for row in range(count))
    largest = max(by_host.values())
    lines = [
        f"{rows:,} rows on {hosts:,} hosts, S = {exponent}: the largest has {largest:,} ({largest / rows:.1%}).",
        "",
        "| machines | calculator | simulated: a part each | simulated: 4 shards each, in turn | largest host split in 4, full limits | "
        "in 4, its share of the limits |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    flags = ["--latency", str(LATENCY), "--bandwidth", "1000G"]
    calculated = told(program, path, *flags)
    split = {"h0.test": 4}
    for machines in (1, 10, 100):

        def simulate(count: int, split: dict[str, int], share: bool = False) -> float:
            # Its share of 6 is 1: whole requests only.
            pieces = min(4, count)
            limit = (lambda host: max(1, PER_HOST // pieces) if host in split else PER_HOST) if share else lambda host: PER_HOST
            draw = log_normal(LATENCY, seed=count)
            times = [fetch_time(part, draw, per_host=limit) for part in parts_of(by_host, count, split)]
            return in_turn(times, machines)

        cells = [
            shown(calculated[machines]),
            shown(simulate(machines, {})),
            shown(simulate(4 * machines, {})),
            shown(simulate(machines, split)) if machines > 1 else "",
            shown(simulate(machines, split, share=True)) if machines > 1 else "",
        ]
        lines.append(f"| {machines} | {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr)
    return [*lines, ""]


DELAY_MS, REAL_PARALLEL, REAL_PER_HOST = 50, 24, 3


class Server:
    def __init__(self, program: Path, hosts: int) -> None:
        command = [program, "--hosts", str(hosts), "--until-eof", "--seconds", "600"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.bases = [self._process.stdout.readline().strip().rstrip("/") for _ in range(hosts)]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def at_once(commands: list[list[str]]) -> float:
    """How long these take together."""
    begins = time.monotonic()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    assert all(process.wait() == 0 for process in running)
    return time.monotonic() - begins


def real(program: Path, testkit: Path, folder: Path, what: str, counts: list[int]) -> list[str]:
    """A table of runs beside what the calculator and the simulation say of them. `counts`: rows by host."""
    server = Server(testkit, len(counts))
    try:
        by_host, rows = dict(zip(server.bases, counts)), sum(counts)
        urls = [f"{base}/row/{row}?delay_ms={DELAY_MS}" for base, count in by_host.items() for row in range(count)]
        random.Random(1).shuffle(urls)
        path = folder / "real.txt"
        path.write_text("\n".join(urls))
        limits = ["-j", str(REAL_PARALLEL), "--parallel-max-host", str(REAL_PER_HOST)]
        fetch = [str(program), "fetch", "-s", "--overwrite", *limits]
        # What a request takes here, with the time that the machine takes for it.
        one = folder / "one.ndjson"
        at_once([[*fetch, "-o", str(one), f"@{path}"]])
        spans = [float(span) for span in re.findall(r'"total_ms":([\d.]+)', one.read_text())]
        latency = sum(spans) / len(spans) / 1000

        def says(processes: int) -> float:
            # Of so many machines it tells what it tells of one with so many times as many requests at a time.
            more = ["-j", str(REAL_PARALLEL * processes), "--parallel-max-host", str(REAL_PER_HOST)]
            return told(program, path, "--latency", f"{latency:.4f}", "--bandwidth", "1000G", *more)[1]

        lines = [
            f"{rows:,} rows on {len(counts):,} hosts, {what}; an answer takes {latency * 1000:.1f} ms, {REAL_PARALLEL} requests at a "
            f"time for a process, {REAL_PER_HOST} for a host.",
            "",
            "| processes | calculator | simulated | `fetch --shard K/N` |",
            "| --- | --- | --- | --- |",
        ]
        for count in (1, 2, 4):
            parts = [[*fetch, "--shard", f"{k}/{count}", "-o", str(folder / f"{k}.ndjson"), f"@{path}"] for k in range(1, count + 1)]
            took = [at_once(parts) for _ in range(3)]
            # Which part a host is in is known by its records.
            ways: list[dict[str, int]] = []
            for k in range(1, count + 1):
                found = re.findall(r'"url":"(http://[^/"]*)', (folder / f"{k}.ndjson").read_text())
                ways.append(dict(collections.Counter(found)))
            assert sum(sum(part.values()) for part in ways) == rows
            guess = max(fetch_time(part, lambda: latency, REAL_PARALLEL, lambda _: REAL_PER_HOST) for part in ways)
            lines.append(f"| {count} | {says(count):.2f} s | {guess:.2f} s | {', '.join(f'{span:.2f}' for span in took)} s |")
            print(lines[-1], file=sys.stderr)
        return [*lines, ""]
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/overlapped")
    parser.add_argument("--testkit", type=Path, default=ROOT / "target/release/overlapped-testkit")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--record", action="store_true", help="keep the result under benches/cluster/results")
    words = parser.parse_args()
    today = datetime.date.today().isoformat()
    lines = [f"# Finish times, {today}", "", f"{os.cpu_count()} processors. `benches/cluster/finish.py --rows {words.rows}`", ""]
    lines += [f"## Simulated: {PARALLEL} requests at a time for a machine, {PER_HOST} for a host, {LATENCY} s each", ""]
    with tempfile.TemporaryDirectory() as name:
        for exponent in (0.8, 1.0):
            lines += simulated(words.program, Path(name), words.rows, words.rows // 10, exponent)
        lines += ["## Real runs", "", *real(words.program, words.testkit, Path(name), "S = 0.5", sizes(4_000, 50, 0.5))]
        one_large = [600, *[4] * 999]
        lines += real(words.program, words.testkit, Path(name), "of which the largest has 600 rows", one_large)
    text = "\n".join(lines)
    print(text)
    if words.record:
        (ROOT / f"benches/cluster/results/{today}-finish.md").write_text(text)


if __name__ == "__main__":
    main()
