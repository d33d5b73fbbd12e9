"""The scenario `hosts`: the same number of rows on few, on a thousand and on ever new hosts, over http and https.

Every address of 127.0.0.0/8 is a host, so the server listens on all addresses of the machine. It does that in a network
namespace of its own, where nobody else can reach it; that needs root.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

import clients
import measure
import report
from clients import BARE, Client, Lists, Task
from runs import Measured, Settings, result, run_with_nginx, say
from server import Missing, Nginx

PARALLEL = 256
PARALLEL_HOST = 6
FEW, MANY = 10, 1_000
BODY_BYTES = 1024
# Idle connections of a client, and those in flight.
SERVER_CONNECTIONS = 16_384
INSIDE = "OVERLAPPED_BENCH_NAMESPACE"


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    client: Client
    task: Task
    # The line whose cost this one's is compared with.
    beside: str | None
    # The most connections that it may open.
    connections_max: int | None


def enter_namespace() -> None:
    """Starts this program again in a network namespace of its own, unless it is there already."""
    if os.environ.get(INSIDE):
        _raise_loopback()
        return
    program = shutil.which("unshare")
    if program is None or os.geteuid() != 0:
        raise Missing("the scenario hosts needs root and `unshare`: it makes a network namespace")
    os.environ[INSIDE] = "1"
    os.execv(program, [program, "--net", "--", sys.executable, *sys.argv])


def _raise_loopback() -> None:
    up, get, put = 0x1, 0x8913, 0x8914  # IFF_UP, SIOCGIFFLAGS, SIOCSIFFLAGS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, get, request))[1]
        fcntl.ioctl(any_socket, put, struct.pack("16sH14x", b"lo", flags | up))


def hosts(settings: Settings) -> report.Result:
    """What a row costs on 10, 1,000 and ever new hosts."""
    certificate = _certificate(settings.folder)
    with Nginx(
        settings.folder, BODY_BYTES, PARALLEL, address="0.0.0.0", connections=SERVER_CONNECTIONS, certificate=certificate
    ) as nginx:
        cases = _cases(settings, nginx)
        runs: list[tuple[Case, Measured]] = []
        for number in range(settings.rounds):
            start = number % len(cases)
            for case in cases[start:] + cases[:start]:
                runs.append((case, run_with_nginx(case.client, case.task, nginx, settings)))
                say(f"round {number + 1}/{settings.rounds}", runs[-1][1])
        lead = (
            f"nginx {nginx.version()}, one worker, loopback, keep-alive, {PARALLEL} at once, {PARALLEL_HOST} a host. "
            f"Medians of {settings.rounds} interleaved rounds. 1,000 hosts should cost 1.3 × of 10 at the most, ever new "
            "ones 1.5 × of what connecting, asking and closing costs without anything else."
        )
        commands = [_shown(case, settings.folder) for case in cases]
    title = f"hosts: {settings.rows:,} rows of 1 KB on {FEW}, {MANY:,} and {settings.rows:,} hosts"
    measured = [run for _, run in runs]
    made = result(title, lead, _table(cases, runs), [case.client for case in cases], measured, commands)
    made["complaints"] = made["complaints"] + _complaints(runs)
    made["notes"] = made["notes"] + [f"**{complaint}**" for complaint in _complaints(runs)]
    return made


def _cases(settings: Settings, nginx: Nginx) -> list[Case]:
    programs, rows = settings.programs, settings.rows
    able = [("", programs.ours)] + ([("baseline ", programs.baseline)] if programs.baseline else [])
    if not programs.ours.is_file():
        raise Missing("our program is not built: `cargo build --release`, or name it by --bin")
    folder = settings.folder / "run"
    lists = {
        hosts: _write_list(settings.folder, rows, hosts, lambda host: f"http://{_address(host)}:{nginx.port}")
        for hosts in (FEW, MANY, rows)
    }
    named = {
        hosts: _write_list(settings.folder, rows, hosts, lambda host: f"https://h{host}.bench.test:{nginx.tls_port}")
        for hosts in (FEW, MANY)
    }
    cases = []
    for which, program in able:

        def client(name: str, flags: Sequence[str]) -> Client:
            every = ["--parallel-max-host", str(PARALLEL_HOST), *flags]
            return clients.fetching(f"{which}{name}", program, *every, note="a record a row to NDJSON, bodies included")

        few = client(f"http, {FEW} hosts", [])
        cases.append(Case(few.name, few, Task(lists[FEW], PARALLEL, folder), None, FEW * PARALLEL_HOST))
        many = client(f"http, {MANY:,} hosts", [])
        limit = MANY * PARALLEL_HOST
        cases.append(Case(many.name, many, Task(lists[MANY], PARALLEL, folder), few.name, limit))
        new = client(f"http, {rows:,} hosts", [])
        cases.append(Case(new.name, new, Task(lists[rows], PARALLEL, folder), BARE, rows))
        trust = ["--cacert", str(settings.folder / "ca.pem")]
        pins = [["--resolve", f"h{host}.bench.test:{nginx.tls_port}:127.0.0.1"] for host in range(MANY)]
        flags = [trust + [word for pin in pins[:hosts] for word in pin] for hosts in (FEW, MANY)]
        few = client(f"https, {FEW} hosts", flags[0])
        cases.append(Case(few.name, few, Task(named[FEW], PARALLEL, folder), None, FEW * PARALLEL_HOST))
        many = client(f"https, {MANY:,} hosts", flags[1])
        cases.append(Case(many.name, many, Task(named[MANY], PARALLEL, folder), few.name, limit))
    bare = clients.bare(programs)
    if bare is not None:
        cases.append(Case(BARE, bare, Task(lists[rows], PARALLEL, folder), None, rows))
    return cases if not settings.only else [
        case for case in cases if any(case.name.startswith(name) for name in settings.only)
    ]


def _shown(case: Case, folder: Path) -> str:
    """The command with the first of a thousand `--resolve`."""
    words, seen, kept = case.client.command(case.task), 0, []
    for at, word in enumerate(words):
        pins = "--resolve" in words[max(0, at - 1) : at + 1]
        seen += word == "--resolve"
        if not pins or seen == 1:
            kept.append(word)
        elif word == "--resolve" and seen == 2:
            kept.append("...")
    return clients.shown(kept, case.client, folder)


def _address(host: int) -> str:
    """An address of 127.0.0.0/8 for each host, from 127.1.0.0 on."""
    return ".".join(map(str, (0x7F010000 + host).to_bytes(4, "big")))


def _write_list(folder: Path, rows: int, hosts: int, base: Callable[[int], str]) -> Lists:
    """Hosts in turn, as in a list that is not sorted."""
    path = folder / f"urls-{base(0).partition(':')[0]}-{hosts}.txt"
    with open(path, "w", encoding="ascii") as out:
        out.writelines(f"{base(row % hosts)}/row/{row}\n" for row in range(rows))
    return Lists(rows, path, path, f"{base(0)}/row/0")


def _certificate(folder: Path) -> Path:
    """An authority in `ca.pem`, and in the file that is returned a certificate for *.bench.test with its key."""
    program = shutil.which("openssl")
    if program is None:
        raise Missing("openssl is not installed: it makes the certificate of the server")
    names = folder / "names"
    names.write_text("subjectAltName=DNS:*.bench.test\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for words in (
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=bench CA"],
        ["req", *key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=bench"],
        ["x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30"]
        + ["-extfile", str(names), "-out", "leaf.crt"],
    ):
        subprocess.run([program, *words], cwd=folder, check=True, capture_output=True)
    both = folder / "leaf.pem"
    both.write_text((folder / "leaf.crt").read_text() + (folder / "leaf.key").read_text())
    return both


def _table(cases: Sequence[Case], runs: Sequence[tuple[Case, Measured]]) -> list[list[str]]:
    table = [["what", "requests/s", "CPU s/100k", "peak MB", "conns", "at most", "server busy", "CPU beside"]]
    for case in cases:
        own, beside = _of(runs, case.name), _of(runs, case.beside)
        ratios = [a.cpu_per_100k_s / b.cpu_per_100k_s for a, b in zip(own, beside) if a.cpu_per_100k_s and b.cpu_per_100k_s]
        ratio = report.ratio(measure.median_known(ratios))
        cells = [report.number(_median(own, "rate")), report.number(_median(own, "cpu_per_100k_s"), 3)]
        cells += [report.megabytes(_median(own, "peak_rss_bytes")), report.number(_median(own, "connections"))]
        cells += [report.number(case.connections_max), report.percent(_median(own, "server_busy"))]
        table.append([case.name, *cells, f"{ratio} of {case.beside}" if ratios else ""])
    return table


def _of(runs: Sequence[tuple[Case, Measured]], name: str | None) -> list[Measured]:
    return [run for case, run in runs if case.name == name]


def _median(runs: Sequence[Measured], figure: str) -> float | None:
    return measure.median_known([getattr(run, figure) for run in runs])


def _complaints(runs: Sequence[tuple[Case, Measured]]) -> list[str]:
    """Those who have opened more connections than they may. An earlier build may do what it did."""
    over = {
        f"{case.name}: {run.connections:,} connections, of {case.connections_max:,} at most"
        for case, run in runs
        if case.connections_max and run.connections and run.connections > case.connections_max
    }
    return sorted(line for line in over if not line.startswith("baseline"))
