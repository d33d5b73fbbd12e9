"""The programs that are compared, and the command line of each."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import records

OURS = "overlapped"
BARE = "bare sockets"
PYTHON_CLIENT = Path(__file__).with_name("fetch_with_python.py")
PLAIN_SYNC = Path(__file__).with_name("plain_sync.py")
# What our program makes durable at once (limits::COMMIT_RESULTS), and what a row of NDJSON has beside its body.
GROUP_ROWS = 2048
RECORD_BYTES = 800


@dataclass(frozen=True)
class Lists:
    """The same distinct URLs in the forms that the clients read."""

    rows: int
    plain: Path
    curl: Path
    first_url: str


@dataclass(frozen=True)
class Task:
    """One run: the list, how many requests at once, and an empty folder to work in."""

    lists: Lists
    parallel: int
    folder: Path


@dataclass(frozen=True)
class Told:
    """What a finished run says of itself."""

    # Rows answered with status 200; None: it does not say, the server's counter has to do.
    answered: int | None = None
    complaint: str = ""


@dataclass(frozen=True)
class Client:
    """A program, how to start it, and how it tells what it did."""

    name: str
    program: str
    version: str
    command: Callable[[Task], list[str]]
    # Looks at what a run left behind.
    told: Callable[[Task], Told] = lambda _: Told()
    # A slow client gets this part of the rows, so that a round stays short.
    share_of_rows: float = 1.0
    # It runs for a time, not for a number of requests.
    timed: bool = False
    # What the table says of it.
    note: str = ""


@dataclass(frozen=True)
class Programs:
    """Where to look for programs."""

    ours: Path
    path: str
    python: str
    # An earlier build of ours, to compare with.
    baseline: Path | None = None

    def find(self, name: str) -> str | None:
        return shutil.which(name, path=self.path)


def write_lists(folder: Path, base_url: str, rows: int, with_curl: bool = True) -> Lists:
    """Writes `rows` distinct URLs, `base_url` followed by the row's number."""
    lists = Lists(rows, folder / f"urls-{rows}.txt", folder / f"urls-{rows}.curl", f"{base_url}0")
    with open(lists.plain, "w", encoding="ascii") as plain:
        plain.writelines(f"{base_url}{row}\n" for row in range(rows))
    if with_curl:
        with open(lists.curl, "w", encoding="ascii") as curl:
            curl.writelines(f'url = "{base_url}{row}"\noutput = "/dev/null"\n' for row in range(rows))
    return lists


def ours(programs: Programs) -> list[Client]:
    """Our program: records with the bodies in them, and without."""
    if not programs.ours.is_file():
        return []
    return [
        fetching(OURS, programs.ours, note="a record a row to NDJSON, bodies included"),
        fetching(f"{OURS} --no-body", programs.ours, "--no-body", note="a record a row to NDJSON"),
    ]


def _baseline(programs: Programs) -> Client | None:
    if programs.baseline is None:
        return None
    return fetching("baseline", programs.baseline, note="the earlier build, records with bodies to NDJSON")


def fetching(name: str, program: Path, *flags: str, note: str) -> Client:
    """Our program, or an earlier build of it, with these flags."""
    def command(task: Task) -> list[str]:
        words = [str(program), "fetch", f"@{task.lists.plain}", "-j", str(task.parallel)]
        return [*words, *flags, "-o", str(output_of(task))]

    return Client(name, str(program), _version([str(program), "--version"]), command, _told_by_records, note=note)


def durable(programs: Programs, kind: str, body_bytes: int) -> list[Client]:
    """Our program without and with a journal, writing `lines` (NDJSON) or `files`; and the disk alone."""
    program = programs.ours
    if not program.is_file():
        return []
    version = _version([str(program), "--version"])
    told, size = (_told_by_records, body_bytes + RECORD_BYTES) if kind == "lines" else (_told_by_files, body_bytes)

    def client(name: str, durability: str, note: str, then_sync: bool = False) -> Client:
        def command(task: Task) -> list[str]:
            output = str(output_of(task)) if kind == "lines" else f"{files_of(task)}/"
            words = [str(program), "fetch", f"@{task.lists.plain}", "-j", str(task.parallel), "-s"]
            words += ["--durability", durability, "-o", output]
            return ["sh", "-c", f"{shlex.join(words)} && sync -f {shlex.quote(output)}"] if then_sync else words

        return Client(f"{kind}: {name}", str(program), version, command, told, note=note)

    def alone(task: Task) -> list[str]:
        output = output_of(task) if kind == "lines" else files_of(task)
        numbers = [str(number) for number in (task.lists.rows, size, GROUP_ROWS)]
        return [programs.python, str(PLAIN_SYNC), kind, str(output), *numbers]

    python = _version([programs.python, "--version"])
    note = f"{size:,} bytes a row, synced every {GROUP_ROWS:,} rows, and nothing else"
    return [
        client("none", "none", "nothing is synced, most of it reaches the disk after the end"),
        client("none, then sync", "none", "the same, and ends when all of it is on the disk", then_sync=True),
        client("group", "group", "with its journal"),
        Client(f"{kind}: the disk alone", programs.python, python, alone, _told_by_count, note=note),
    ]


def files_of(task: Task) -> Path:
    """Where files go that are kept until the scenario ends.

    Some file systems (ext4 without a journal) do not give an inode away again for minutes, and look past every one of
    them when they need the next: after 20,000 files were removed, making as many takes six times as long.
    """
    return task.folder.with_name(f"{task.folder.name}-files")


def _told_by_files(task: Task) -> Told:
    names = [entry.name for entry in os.scandir(files_of(task))]
    unfinished = sum(name.startswith(".") for name in names)
    return Told(len(names), f"{unfinished} files without their names" if unfinished else "")


def _told_by_count(task: Task) -> Told:
    text = (task.folder / "stdout").read_text().strip()
    return Told(int(text)) if text.isdecimal() else Told(complaint="it printed no count")


def output_of(task: Task) -> Path:
    """Where our records go."""
    return task.folder / "out.ndjson"


def _told_by_records(task: Task) -> Told:
    verdict = records.verify(output_of(task), task.lists.rows)
    return Told(verdict.good, "" if verdict.complete else str(verdict))


def peers(programs: Programs) -> list[Client]:
    """Every peer that is installed."""
    finders = (_baseline, bare, _wrk, _oha, _oha_from_list, _curl, _wget2, _aria2c, _aiohttp, _requests)
    return [client for find in finders if (client := find(programs)) is not None]


def bare(programs: Programs) -> Client | None:
    """Sockets and nothing else."""
    program = programs.ours.parent / "examples" / BARE.replace(" ", "_")
    if not program.is_file():
        return None

    def command(task: Task) -> list[str]:
        return [str(program), str(task.lists.plain), str(task.parallel)]

    def told(task: Task) -> Told:
        text = (task.folder / "stdout").read_text().strip()
        return Told(int(text)) if text.isdigit() else Told(complaint="it did not end well")

    return Client(BARE, str(program), "of this checkout", command, told, note="one thread, keeps nothing: the floor")


def _wrk(programs: Programs) -> Client | None:
    program = programs.find("wrk")
    if program is None:
        return None

    def command(task: Task) -> list[str]:
        return [program, "-t1", f"-c{task.parallel}", "-d3s", task.lists.first_url]

    version = _version([program, "--version"])
    return Client("wrk", program, version, command, timed=True, note="3 s on one URL, keeps nothing")


def _oha(programs: Programs) -> Client | None:
    return _oha_with(programs, "oha", "one URL, keeps latencies", lambda lists: [lists.first_url])


def _oha_from_list(programs: Programs) -> Client | None:
    note = "URLs drawn from the list, keeps latencies"
    return _oha_with(programs, "oha --urls-from-file", note, lambda lists: ["--urls-from-file", str(lists.plain)])


def _oha_with(programs: Programs, name: str, note: str, target: Callable[[Lists], list[str]]) -> Client | None:
    program = programs.find("oha")
    if program is None:
        return None

    def command(task: Task) -> list[str]:
        words = [program, "--no-tui", "--output-format", "json", "-n", str(task.lists.rows), "-c", str(task.parallel)]
        return [*words, *target(task.lists)]

    def told(task: Task) -> Told:
        try:
            return Told(json.loads((task.folder / "stdout").read_text())["statusCodeDistribution"].get("200", 0))
        except (ValueError, KeyError):
            return Told(complaint="its summary cannot be read")

    return Client(name, program, _version([program, "--version"]), command, told, note=note)


def _curl(programs: Programs) -> Client | None:
    program = programs.find("curl")
    if program is None:
        return None

    def command(task: Task) -> list[str]:
        words = [program, "-q", "-sS", "--parallel", "--parallel-max", str(task.parallel)]
        return [*words, "-w", "%{http_code}\\n", "-K", str(task.lists.curl)]

    version = _version([program, "--version"])
    return Client("curl -Z", program, version, command, _count_of_200, note="bodies to /dev/null, a status line a row")


def curl_immediate(programs: Programs) -> Client | None:
    """curl that does not wait for its first connection before it opens more."""
    plain = _curl(programs)
    if plain is None:
        return None

    def command(task: Task) -> list[str]:
        words = plain.command(task)
        return [*words[:-2], "--parallel-immediate", *words[-2:]]

    name = "curl -Z --parallel-immediate"
    return Client(name, plain.program, plain.version, command, _count_of_200, note=plain.note)


def _count_of_200(task: Task) -> Told:
    with open(task.folder / "stdout", "rb") as lines:
        return Told(sum(line == b"200\n" for line in lines))


def _wget2(programs: Programs) -> Client | None:
    program = programs.find("wget2")
    if program is None:
        return None

    def command(task: Task) -> list[str]:
        words = [program, "--no-config", "-q", "--no-hsts", f"--max-threads={task.parallel}"]
        return [*words, "-O", "/dev/null", "-i", str(task.lists.plain)]

    version = _version([program, "--version"])
    return Client("wget2", program, version, command, note="bodies to /dev/null, no statuses")


def _aria2c(programs: Programs) -> Client | None:
    program = programs.find("aria2c")
    if program is None:
        return None

    def command(task: Task) -> list[str]:
        words = [program, "--no-conf", "-q", f"-j{task.parallel}", "--file-allocation=none"]
        return [*words, "-d", str(task.folder / "files"), "-i", str(task.lists.plain)]

    version = _version([program, "--version"])
    return Client("aria2c", program, version, command, share_of_rows=0.025, note="a file a row")


def _requests(programs: Programs) -> Client | None:
    return _python_client(programs, "requests", 0.02, "requests.Session a thread, statuses counted")


def _aiohttp(programs: Programs) -> Client | None:
    return _python_client(programs, "aiohttp", 0.1, "one session, statuses counted")


def _python_client(programs: Programs, library: str, share_of_rows: float, note: str) -> Client | None:
    version = _version([programs.python, "-c", f"import {library}; print({library}.__version__)"])
    if not version:
        return None

    def command(task: Task) -> list[str]:
        return [programs.python, str(PYTHON_CLIENT), library, str(task.lists.plain), str(task.parallel)]

    name = f"Python {library}"
    return Client(name, programs.python, version, command, _told_by_count, share_of_rows=share_of_rows, note=note)


def _version(command: list[str]) -> str:
    """The first number with dots that the program prints; empty where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return ""
    # wrk prints its version and calls that an error.
    found = re.search(r"\d+\.\d[\w.]*", done.stdout + done.stderr)
    return found.group() if found and "ModuleNotFoundError" not in done.stderr else ""


def shown(command: list[str], client: Client, folder: Path) -> str:
    """The command as it may be kept: no path of this machine in it."""
    words = " ".join(word if re.fullmatch(r"[\w@%+=:,./-]+", word) else f"'{word}'" for word in command)
    words = words.replace(client.program, os.path.basename(client.program)).replace(f"{folder}/", "")
    return words.replace(f"{PYTHON_CLIENT.parent}/", "")
