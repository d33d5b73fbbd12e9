"""One run of one client: how it is started, whether it did what it was asked for, and what is kept of it."""

from __future__ import annotations

import collections
import dataclasses
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Sequence

import clients
import measure
from clients import Client, Programs, Task, Told
from measure import Cost
from report import Result
from server import Missing, Nginx, Seen, Testkit

SETTLE_S = 0.3
QUIET_ATTEMPTS = 3
NOISE_CORES = 0.15  # more than this of a core busy with something else: the figures are doubtful


@dataclass(frozen=True)
class Settings:
    """What the command line asked for."""

    programs: Programs
    testkit: Path
    folder: Path
    rows: int
    parallel: int
    rounds: int
    timeout_s: float
    quiet_s: float  # how long to wait for a quiet machine before each run
    only: Sequence[str]
    big: bool


@dataclass(frozen=True)
class Measured:
    """One run of one client."""

    client: Client
    rows: int  # requests that were asked for, or for a timed client those that the server saw
    cost: Cost
    seen: Seen | None
    told: Told

    # The figures of a run that did not do what it was asked for are unknown, so that no median counts them.

    @property
    def wall_s(self) -> float | None:
        return None if self.complaint else self.cost.wall_s

    @property
    def cpu_s(self) -> float | None:
        return None if self.complaint else self.cost.cpu_s

    @property
    def peak_rss_bytes(self) -> int | None:
        return None if self.complaint else self.cost.peak_rss_bytes

    @property
    def usual_rss_bytes(self) -> float | None:
        return None if self.complaint else self.cost.usual_rss_bytes

    @property
    def rate(self) -> float | None:
        """Requests a second."""
        return None if self.complaint else self.rows / self.cost.wall_s

    @property
    def cpu_per_100k_s(self) -> float | None:
        return None if self.complaint else self.cost.cpu_s / self.rows * 100_000

    @property
    def connections(self) -> int | None:
        return self.seen.connections if self.seen and not self.complaint else None

    @property
    def server_busy(self) -> float | None:
        """The part of the time that the server's processor was at work for this run."""
        return self.seen.cpu_s / self.cost.wall_s if self.seen and not self.complaint else None

    @property
    def disturbed(self) -> bool:
        """The machine was busy with something else meanwhile."""
        return self.cost.others_cores > NOISE_CORES

    @property
    def complaint(self) -> str:
        """Empty when the run did what it was asked for."""
        if self.cost.exit_code is None:
            return "stopped: out of time"
        if self.cost.exit_code != 0:
            return f"exit code {self.cost.exit_code}"
        if self.told.complaint:
            return self.told.complaint
        count = self.told.answered
        if count is None:
            count = self.seen.requests if self.seen else self.rows
        return "" if count == self.rows else f"{count:,} of {self.rows:,} rows answered"


def run_with_nginx(client: Client, task: Task, nginx: Nginx, settings: Settings) -> Measured:
    """One run of the client against nginx, in a quiet moment if that was asked for."""
    return _least_disturbed(settings, lambda: _run_once_with_nginx(client, task, nginx, settings))


def run_with_testkit(client: Client, task: Task, server: Testkit, settings: Settings) -> Measured:
    """The same against the test server, which keeps no counters."""
    return _least_disturbed(settings, lambda: _run_once_with_testkit(client, task, server, settings))


def _least_disturbed(settings: Settings, run: Callable[[], Measured]) -> Measured:
    """With --quiet a disturbed run is repeated. Which one counts is decided by the noise, never by the figures."""
    attempts: list[Measured] = []
    for _ in range(QUIET_ATTEMPTS if settings.quiet_s else 1):
        measure.wait_for_quiet(settings.quiet_s, NOISE_CORES)
        attempts.append(run())
        if not attempts[-1].disturbed:
            break
    return min(attempts, key=lambda attempt: attempt.cost.others_cores)


def _run_once_with_nginx(client: Client, task: Task, nginx: Nginx, settings: Settings) -> Measured:
    before = nginx.seen()
    cost = _run_in_empty_folder(client, task, settings.timeout_s, nginx.pids)
    seen = nginx.seen_since(before)
    rows = seen.requests if client.timed else task.lists.rows
    # What a run wrote is deleted before it reaches the disk: the next client shall not pay for it.
    told = _told_and_removed(client, task)
    time.sleep(SETTLE_S)
    return Measured(client, rows, cost, seen, told)


def _run_in_empty_folder(client: Client, task: Task, timeout_s: float, server_pids: Sequence[int]) -> Cost:
    shutil.rmtree(task.folder, ignore_errors=True)
    task.folder.mkdir()
    return measure.run(client.command(task), task.folder, timeout_s, server_pids)


def _told_and_removed(client: Client, task: Task) -> Told:
    try:
        return client.told(task)
    except OSError:
        return Told(complaint="it left no output")
    finally:
        shutil.rmtree(task.folder, ignore_errors=True)


def _run_once_with_testkit(client: Client, task: Task, server: Testkit, settings: Settings) -> Measured:
    cost = _run_in_empty_folder(client, task, settings.timeout_s, server.pids)
    told = _told_and_removed(client, task)
    time.sleep(SETTLE_S)
    return Measured(client, task.lists.rows, cost, None, told)


def chosen_of(settings: Settings, available: Sequence[Client]) -> list[Client]:
    """The clients that `--only` names, by the beginning of their names."""
    chosen = [c for c in available if not settings.only or any(c.name.startswith(name) for name in settings.only)]
    if chosen:
        return chosen
    if available:
        raise Missing("--only names none of these: " + ", ".join(client.name for client in available))
    raise Missing("no client to run: build ours by `cargo build --release`, or install a peer (see --help)")


def our_client(settings: Settings, name: str) -> Client:
    for client in clients.ours(settings.programs):
        if client.name == name:
            return client
    raise Missing("our program is not built: `cargo build --release`, or name it by --bin")


def _notes(chosen: Sequence[Client], runs: Sequence[Measured]) -> list[str]:
    """What a reader has to know about the table: versions, what each client keeps, what went wrong, noise."""
    lines = []
    for client in chosen:
        note = f": {client.note}" if client.note else ""
        lines.append(f"{client.name} ({client.version or 'version unknown'}){note}")
    lines += [f"**{complaint}**" for complaint in _complaints(runs)] or [
        "Every run ended well and every row was answered, with status 200 where the client tells."
    ]
    lines.append(_noise(runs))
    return lines


def result(
    title: str,
    lead: str,
    table: list[list[str]],
    chosen: Sequence[Client],
    runs: Sequence[Measured],
    commands: list[str],
) -> Result:
    """What `report` prints and keeps."""
    return {
        "title": title,
        "lead": lead,
        "table": table,
        "notes": _notes(chosen, runs),
        "commands": commands,
        "complaints": _complaints(runs),
        "runs": [_raw(run) for run in runs],
    }


def _noise(runs: Sequence[Measured]) -> str:
    cores = statistics.median(run.cost.others_cores for run in runs)
    busy = f"Busy with other work meanwhile: {cores:.2f} cores in the median"
    disturbed = collections.Counter(run.client.name for run in runs if run.disturbed)
    if not disturbed:
        return f"{busy}."
    names = ", ".join(f"{name} {count} ×" for name, count in disturbed.items())
    return f"**{busy}. Disturbed (more than {NOISE_CORES} cores), and not to be compared: {names}.**"


def _complaints(runs: Sequence[Measured]) -> list[str]:
    return sorted({f"{run.client.name}: {run.complaint}" for run in runs if run.complaint})


def _raw(run: Measured) -> dict[str, Any]:
    return {
        "client": run.client.name,
        "version": run.client.version,
        "rows": run.rows,
        "answered": run.told.answered,
        "complaint": run.complaint,
        **dataclasses.asdict(run.cost),
        "server": dataclasses.asdict(run.seen) if run.seen else None,
    }


def say(where: str, run: Measured) -> None:
    """A line on standard error while it runs."""
    trouble = f"  ! {run.complaint}" if run.complaint else ""
    figures = f"{run.cost.wall_s:8.3f} s {run.cost.cpu_s:8.3f} CPU s"
    print(f"{where:>14}  {run.client.name:<30} {figures}{trouble}", file=sys.stderr, flush=True)
