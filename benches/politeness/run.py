#!/usr/bin/env python3
"""Shows that the limits of hosts hold, by what the servers themselves have seen, and what keeping them costs.

The hosts are 127.0.0.1, 127.0.0.2, ... of the project's test server. Installs nothing, needs Linux and Python 3.10.
Build first: cargo build --release -p overlapped-cli -p overlapped-testkit.

cases:
  sorted       100,000 rows sorted by host, 100 hosts, 50 requests/s each: the time against the bound, the hosts' rates
  retry-after  one of 50 hosts answers 429 with Retry-After: 2; what the others lose
  dead         10,000 rows of a host that never accepts a connection; how many attempts that costs
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import itertools
import json
import os
import platform
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

HERE = Path(__file__).resolve().parent
RELEASE = HERE.parents[1] / "target/release"
UNDER_WAY_S = 0.25  # by then a busy client has read an answer


@dataclass(frozen=True)
class Verdict:
    """A figure, the limit that it must keep, and whether it does."""

    what: str
    got: str
    limit: str
    good: bool


@dataclass(frozen=True)
class Tools:
    ours: Path
    testkit: Path
    folder: Path


# --- the program and its servers ----------------------------------------------------------------------------------


@contextlib.contextmanager
def hosts(tools: Tools, count: int, requests: int) -> Iterator[tuple[list[str], Path]]:
    """A test server on `count` addresses, and the file in which it tells at its end what it has seen."""
    record = tools.folder / "seen.ndjson"
    words = [str(tools.testkit), "--hosts", str(count), "--until-eof", "--seconds", "300"]
    words += ["--record", str(record), "--record-limit", str(2 * requests)]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield [server.stdout.readline().strip() for _ in range(count)], record
    finally:
        server.stdin.close()
        server.wait(30)


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address whose queue of connections is full, so that every further one waits for ever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.1.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.1)
        yield "http://{}:{}".format(*listener.getsockname())


@dataclass(frozen=True)
class Run:
    wall_s: float
    cpu_s: float
    records: list[dict]
    command: str


def fetch(tools: Tools, urls: Sequence[str], *flags: str) -> Run:
    """Fetches `urls`; every row must have its record."""
    listed, out = tools.folder / "urls.txt", tools.folder / "out.ndjson"
    listed.write_text("".join(f"{url}\n" for url in urls))
    command = [str(tools.ours), "fetch", f"@{listed}", *flags, "--no-body", "-s", "--overwrite", "-o", str(out)]
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(command, timeout=280)
    wall_s, after = time.perf_counter() - started, os.times()
    records = [json.loads(line) for line in out.read_text().splitlines()]
    rows = sorted(record["row"] for record in records)
    if done.returncode not in (0, 1) or rows != list(range(len(urls))):
        raise SystemExit(f"run.py: exit {done.returncode}, {len(records)} records of {len(urls)}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(wall_s, cpu_s, records, shlex.join(["overlapped", "fetch", "@urls.txt", *flags, "-o", "out.ndjson"]))


def by_host(record: Path) -> dict[str, list[dict]]:
    """What each host has seen, in the order of arrival."""
    seen = collections.defaultdict(list)
    for line in record.read_text().splitlines():
        request = json.loads(line)
        seen[request["host"]].append(request)
    for requests in seen.values():
        requests.sort(key=lambda request: request["time_s"])
    return seen


def most_in_a_second(requests: Sequence[dict]) -> int:
    """The most requests that arrived within any second."""
    times, first, most = [request["time_s"] for request in requests], 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def most_at_once(requests: Sequence[dict]) -> int:
    """The most requests that a host was answering at the same time."""
    changes = [(request["time_s"], 1) for request in requests] + [(request["ended_s"], -1) for request in requests]
    return max(itertools.accumulate(change for _, change in sorted(changes)))


# --- the cases ----------------------------------------------------------------------------------------------------


def sorted_by_host(tools: Tools) -> tuple[list[str], list[Verdict]]:
    count, each, rate, parallel = 100, 1_000, 50, 6
    with hosts(tools, count, count * each) as (bases, record):
        urls = [f"{base}/delay/5?row={row}" for base in bases for row in range(each)]
        run = fetch(tools, urls, "--rate-host", f"{rate}/s", "--parallel-max-host", str(parallel))
    seen = by_host(record)
    bound_s = (each - 1) / rate
    busiest = max(map(most_in_a_second, seen.values()))
    deepest = max(map(most_at_once, seen.values()))
    fewest, most = min(map(len, seen.values())), max(map(len, seen.values()))
    good = sum(record["ok"] for record in run.records)
    return [run.command], [
        Verdict("time, s, of the bound by the rates", f"{run.wall_s:.2f} of {bound_s:.2f}", "1.1 ×", run.wall_s <= 1.1 * bound_s),
        Verdict("most requests that a host saw within a second", str(busiest), f"{rate} + 1", busiest <= rate + 1),
        Verdict("most requests at once that a host saw", str(deepest), str(parallel), deepest <= parallel),
        Verdict("requests that each host saw", f"{fewest} to {most}", f"{each}", fewest == most == each),
        Verdict("rows answered well", f"{good:,}", f"{count * each:,}", good == count * each),
        Verdict("CPU, s", f"{run.cpu_s:.2f}", "", True),
    ]


def retry_after(tools: Tools, rounds: int = 3) -> tuple[list[str], list[Verdict]]:
    count, each, pause_s = 50, 1_000, 2
    rates, pauses, run = {True: [], False: []}, [], None
    for refuses in [True, False] * rounds:
        with hosts(tools, count, count * each) as (bases, record):
            urls = [f"{base}/delay/20?row={row}" for row in range(each) for base in bases]
            if refuses:
                urls[count] = f"{bases[0]}/retry-after/{pause_s}"
            run = fetch(tools, urls, "--parallel-max-host", "6")
        seen = by_host(record)
        first = min(request["time_s"] for requests in seen.values() for request in requests)
        others = [requests for host, requests in seen.items() if f"//{host}" != bases[0][5:]]
        ended = max(request["ended_s"] for requests in others for request in requests)
        rates[refuses].append(sum(map(len, others)) / (ended - first))
        if refuses:
            pauses.append(pause_after_refusal(seen[bases[0][7:]]))
    with_it, without = (statistics.median(rates[refuses]) for refuses in (True, False))
    loss = 1 - with_it / without
    return [run.command], [
        Verdict("pause of the host that refused, s", f"{min(pauses):.2f}", f"{pause_s}", min(pauses) >= pause_s),
        Verdict("requests/s of the 49 others, beside it and beside none", f"{with_it:,.0f} and {without:,.0f}", "", True),
        Verdict("what the others lose", f"{100 * loss:.1f} %", "5 %", loss < 0.05),
    ]


def pause_after_refusal(requests: Sequence[dict]) -> float:
    """How long a host was left alone after its answer 429; what was under way by then does not count."""
    refused = next(request for request in requests if "/retry-after/" in request["url"])
    later = [request["time_s"] for request in requests if request["time_s"] > refused["ended_s"] + UNDER_WAY_S]
    return min(later) - refused["ended_s"]


def dead(tools: Tools) -> tuple[list[str], list[Verdict]]:
    rows, living = 10_000, 10
    with hosts(tools, living, rows) as (bases, _), black_hole() as hole:
        urls = [f"{hole}/{row}" for row in range(rows)] + [f"{bases[row % living]}/ok?row={row}" for row in range(rows)]
        run = fetch(tools, urls, "--connect-timeout", "1", "--parallel-max-host", "6")
    errors = collections.Counter(record["error"] for record in run.records[:] if record["row"] < rows)
    attempts = sum(record["attempts"] for record in run.records if record["row"] < rows)
    good = sum(record["ok"] for record in run.records)
    told = ", ".join(f"{count:,} {error}" for error, count in errors.most_common())
    return [run.command], [
        Verdict("connections tried to the dead host", str(attempts), "20", 0 < attempts <= 20),
        Verdict("its rows", told, "", set(errors) <= {"connect.timeout", "host.down"}),
        Verdict("rows of the other hosts answered well", f"{good:,}", f"{rows:,}", good == rows),
        Verdict("time, s", f"{run.wall_s:.2f}", "", True),
    ]


CASES = {"sorted": sorted_by_host, "retry-after": retry_after, "dead": dead}


# --- the table ----------------------------------------------------------------------------------------------------


def table(name: str, commands: Sequence[str], verdicts: Sequence[Verdict]) -> str:
    lines = [f"## {name}: {case_of(name)}", "", "| what | got | at most | |", "| --- | ---: | ---: | --- |"]
    lines += [f"| {v.what} | {v.got} | {v.limit} | {'good' if v.good else '**missed**'} |" for v in verdicts]
    return "\n".join([*lines, "", *(f"    {command}" for command in commands), ""])


def case_of(name: str) -> str:
    """What the head of this file says of a case."""
    line = next(line for line in __doc__.splitlines() if line.startswith(f"  {name} "))
    return line.removeprefix(f"  {name}").strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help="what to show [all]")
    parser.add_argument("--bin", type=Path, default=RELEASE, help="where the two programs are [target/release]")
    parser.add_argument("--record", action="store_true", help="keep the tables under results/, by date")
    options = parser.parse_args()
    unknown = set(options.case) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    programs = [options.bin.resolve() / name for name in ("overlapped", "overlapped-testkit")]
    if missing := [str(program) for program in programs if not program.is_file()]:
        parser.error(f"not built: {', '.join(missing)}; see --help")
    tables, all_good = [], True
    for name in options.case or CASES:
        with tempfile.TemporaryDirectory(prefix="overlapped-politeness-") as folder:
            commands, verdicts = CASES[name](Tools(*programs, Path(folder)))
        tables.append(table(name, commands, verdicts))
        print(tables[-1], flush=True)
        all_good &= all(verdict.good for verdict in verdicts)
    if options.record:
        head = f"# What hosts saw, {datetime.date.today()}\n\n{os.cpu_count()} cores, {platform.system()} {platform.release()}.\n"
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / f"{datetime.date.today()}.md").write_text("\n".join([head, *tables]))
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
