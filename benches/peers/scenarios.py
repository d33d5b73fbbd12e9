"""What is measured: each scenario starts its server, runs its clients and returns a result for `report`."""

from __future__ import annotations

import dataclasses
import os
import shutil
import statistics
from pathlib import Path
from typing import Sequence

import clients
import measure
import report
from clients import OURS, Client, Lists, Task
from hosts import hosts
from runs import Measured, Settings, chosen_of, our_client, result, run_with_nginx, run_with_testkit, say
from server import Missing, Nginx, Testkit

DURABLE_ROUNDS_MIN = 9
EXPERIMENT_S = (1.904, 1.293, 2.078, 2.381, 2.218)


# --- list and bodies ----------------------------------------------------------------------------------------------


def list_of_urls(settings: Settings) -> report.Result:
    """Distinct URLs from a file, 1 KB bodies: the main job."""
    title = f"list: {settings.rows:,} distinct URLs, 1 KB bodies, {settings.parallel} at once"
    return _throughput(settings, title, 1024)


def bodies(settings: Settings) -> report.Result:
    """The same with 100 KB bodies and a tenth of the rows."""
    fewer = dataclasses.replace(settings, rows=max(1, settings.rows // 10))
    title = f"bodies: {fewer.rows:,} distinct URLs, 100 KB bodies, {fewer.parallel} at once"
    return _throughput(fewer, title, 100_000)


def _throughput(settings: Settings, title: str, body_bytes: int) -> report.Result:
    chosen = chosen_of(settings, clients.ours(settings.programs) + clients.peers(settings.programs))
    with Nginx(settings.folder, body_bytes, settings.parallel) as nginx:
        lists = {rows: _nginx_list(settings, nginx, rows) for rows in {_rows_of(c, settings.rows) for c in chosen}}
        runs, commands = [], {}
        for number in range(settings.rounds):
            # Each round starts with another client, so that no one always comes after the same neighbour.
            start = number % len(chosen)
            for client in chosen[start:] + chosen[:start]:
                task = Task(lists[_rows_of(client, settings.rows)], settings.parallel, settings.folder / "run")
                commands[client.name] = clients.shown(client.command(task), client, settings.folder)
                runs.append(run_with_nginx(client, task, nginx, settings))
                say(f"round {number + 1}/{settings.rounds}", runs[-1])
        server = f"nginx {nginx.version()}"
    table = _throughput_table(chosen, runs)
    lead = f"{server}, one worker, loopback, keep-alive. Medians of {settings.rounds} interleaved rounds."
    return result(title, lead, table, chosen, runs, [commands[client.name] for client in chosen])


def _nginx_list(settings: Settings, nginx: Nginx, rows: int) -> Lists:
    return clients.write_lists(settings.folder, f"{nginx.url}/row/", rows)


def _rows_of(client: Client, rows: int) -> int:
    return max(1, int(rows * client.share_of_rows))


def _throughput_table(chosen: Sequence[Client], runs: Sequence[Measured]) -> list[list[str]]:
    head = ["client", "rows", "requests/s", "spread", "CPU s/100k", "peak MB", "conns", "server busy"]
    ours = [run for run in runs if run.client.name == OURS]
    rows = [head + (["our rate", "our CPU"] if ours else [])]
    for client in chosen:
        own = [run for run in runs if run.client is client]
        cells = [
            client.name,
            report.number(_median(own, "rows")),
            report.number(_median(own, "rate")),
            report.percent(_spread([run.rate for run in own])),
            report.number(_median(own, "cpu_per_100k_s"), 3),
            report.megabytes(_median(own, "peak_rss_bytes")),
            report.number(_median(own, "connections")),
            report.percent(_median(own, "server_busy")),
        ]
        if ours:
            cells.append(_ratio_in_rounds([run.rate for run in ours], [run.rate for run in own]))
            cells.append(_ratio_in_rounds([run.cpu_per_100k_s for run in ours], [run.cpu_per_100k_s for run in own]))
        rows.append(cells)
    return rows


def _spread(values: Sequence[float | None]) -> float | None:
    """From the least to the most, as a part of the median."""
    known = [value for value in values if value is not None]
    return (max(known) - min(known)) / statistics.median(known) if len(known) > 1 else None


def _ratio_in_rounds(ours: Sequence[float | None], theirs: Sequence[float | None]) -> str:
    """The median over the rounds of ours to theirs in the same round: what is slow for both cancels out."""
    return report.ratio(measure.median_known([a / b for a, b in zip(ours, theirs) if a and b]))


# --- memory -------------------------------------------------------------------------------------------------------


def memory(settings: Settings) -> report.Result:
    """Our peak memory must not grow with the list."""
    client = our_client(settings, f"{OURS} --no-body")
    sizes = [100_000, 1_000_000] + ([10_000_000] if settings.big else [])
    _need_disk(settings.folder, sizes[-1] * 1000)
    runs = []
    with Nginx(settings.folder, 1024, settings.parallel) as nginx:
        for rows in sizes:
            lists = clients.write_lists(settings.folder, f"{nginx.url}/row/", rows, with_curl=False)
            task = Task(lists, settings.parallel, settings.folder / "run")
            longer = dataclasses.replace(settings, timeout_s=settings.timeout_s * max(1, rows / 500_000))
            # The peak is in the first second, while the window fills, and differs a little from run to run.
            for _ in range(settings.rounds if rows <= 1_000_000 else 1):
                runs.append(run_with_nginx(client, task, nginx, longer))
                say(f"{rows:,} rows", runs[-1])
        command = clients.shown(client.command(task), client, settings.folder)
    lead = f"With a journal. Medians of {settings.rounds} rounds, 10^7 once. Within 1.10 × of the first is well."
    title = f"memory: our peak with longer and longer lists, {settings.parallel} at once"
    return result(title, lead, _memory_table(sizes, runs), [client], runs, [command])


def _memory_table(sizes: Sequence[int], runs: Sequence[Measured]) -> list[list[str]]:
    rows = [["rows", "peak MB", "spread", "of the first", "usual MB", "CPU s/100k", "requests/s"]]
    smallest = _median([run for run in runs if run.rows == sizes[0]], "peak_rss_bytes")
    for size in sizes:
        own = [run for run in runs if run.rows == size]
        peak = _median(own, "peak_rss_bytes")
        cells = [
            f"{size:,}",
            report.megabytes(peak),
            report.percent(_spread([run.peak_rss_bytes for run in own])),
            report.ratio(peak / smallest if peak and smallest else None),
            report.megabytes(_median(own, "usual_rss_bytes")),
            report.number(_median(own, "cpu_per_100k_s"), 3),
            report.number(_median(own, "rate")),
        ]
        rows.append(cells)
    return rows


def _need_disk(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        need = f"this needs {size / 1e9:.0f} GB on disk and there are {free / 1e9:.0f}"
        raise Missing(f"{need}; name another folder by --work")


# --- durable ------------------------------------------------------------------------------------------------------


def durable(settings: Settings) -> report.Result:
    """What a journal costs: the same run without and with one, beside the disk alone."""
    body_bytes = 1024
    # Writing makes runs differ by more than what is looked for.
    settings = dataclasses.replace(settings, rounds=max(settings.rounds, DURABLE_ROUNDS_MIN))
    _need_disk(settings.folder, settings.rounds * settings.rows * 4096)
    chosen, runs, commands = [], [], []
    with Nginx(settings.folder, body_bytes, settings.parallel) as nginx:
        for kind, rows in (("lines", settings.rows), ("files", max(1, settings.rows // 5))):
            able = clients.durable(settings.programs, kind, body_bytes)
            if not able:
                raise Missing("our program is not built: `cargo build --release`, or name it by --bin")
            lists = _nginx_list(settings, nginx, rows)
            for number in range(settings.rounds):
                start = number % len(able)
                for client in able[start:] + able[:start]:
                    task = Task(lists, settings.parallel, settings.folder / f"run-{len(runs)}")
                    # What the run before has left to be written is not this one's.
                    os.sync()
                    runs.append(run_with_nginx(client, task, nginx, settings))
                    say(f"round {number + 1}/{settings.rounds}", runs[-1])
            commands += [clients.shown(client.command(task), client, settings.folder) for client in able]
            chosen += able
        server = f"nginx {nginx.version()}"
    lead = (
        f"{server}, one worker, loopback, {settings.parallel} at once. Medians of {settings.rounds} interleaved "
        "rounds. With its journal it should take 10 % more at the most."
    )
    title = f"durable: {settings.rows:,} rows to NDJSON and {rows:,} to files, 1 KB bodies, with and without a journal"
    return result(title, lead, _durable_table(chosen, runs), chosen, runs, commands)


def _durable_table(chosen: Sequence[Client], runs: Sequence[Measured]) -> list[list[str]]:
    rows = [["what", "rows", "rows/s", "spread", "CPU s/100k", "rate of none", "CPU of none"]]
    for client in chosen:
        own = [run for run in runs if run.client is client]
        without = [run for run in runs if run.client.name == f"{client.name.partition(':')[0]}: none"]
        cells = [
            client.name,
            report.number(_median(own, "rows")),
            report.number(_median(own, "rate")),
            report.percent(_spread([run.rate for run in own])),
            report.number(_median(own, "cpu_per_100k_s"), 3),
            _ratio_in_rounds([run.rate for run in own], [run.rate for run in without]),
            _ratio_in_rounds([run.cpu_per_100k_s for run in own], [run.cpu_per_100k_s for run in without]),
        ]
        rows.append(cells)
    return rows


# --- in flight ----------------------------------------------------------------------------------------------------


def inflight(settings: Settings) -> report.Result:
    """10,000 requests that all wait at the same time, for 1 s each; 64 of them show what a request adds."""
    few, many = 64, 10_000
    ours = clients.ours(settings.programs)[1:]
    able = [c for c in clients.peers(settings.programs) if c.name in (clients.BARE, "oha", "Python aiohttp")]
    chosen = chosen_of(settings, ours + able)
    runs, commands = [], []
    with Testkit(settings.testkit) as server:
        lists = {n: clients.write_lists(settings.folder, f"{server.url}/delay/1000?row=", n) for n in (few, many)}
        for _ in range(settings.rounds):
            for client in chosen:
                for size in (few, many):
                    task = Task(lists[size], size, settings.folder / "run")
                    runs.append(run_with_testkit(client, task, server, settings))
                    say(f"{size:,} in flight", runs[-1])
        commands = [clients.shown(c.command(task), c, settings.folder) for c in chosen]
    table = _inflight_table(chosen, runs, few, many)
    lead = f"The project's test server on the same machine. Process start to end, medians of {settings.rounds}."
    title = f"inflight: {many:,} requests at once to a server that answers after 1 s"
    return result(title, lead, table, chosen, runs, commands)


def _inflight_table(chosen: Sequence[Client], runs: Sequence[Measured], few: int, many: int) -> list[list[str]]:
    rows = [["client", "s over the ideal", "KiB a request", "peak MB", "peak MB of 64", "CPU s"]]
    for client in chosen:
        of_few, of_many = ([r for r in runs if r.client is client and r.rows == n] for n in (few, many))
        base, peak = _median(of_few, "peak_rss_bytes"), _median(of_many, "peak_rss_bytes")
        each = (peak - base) / (many - few) / 1024 if base and peak else None
        wall = _median(of_many, "wall_s")
        over = wall - 1.0 if wall else None
        cells = [report.number(over, 3), report.number(each, 1), report.megabytes(peak), report.megabytes(base)]
        rows.append([client.name, *cells, report.number(_median(of_many, "cpu_s"), 2)])
    return rows


# --- experiment ---------------------------------------------------------------------------------------------------


def experiment(settings: Settings) -> report.Result:
    """Five answers of 1.3 to 2.4 s, in real time: how near to the longest?"""
    every = clients.ours(settings.programs)[:1] + clients.peers(settings.programs)
    immediate = clients.curl_immediate(settings.programs)
    able = [c for c in every if c.name in (OURS, "curl -Z", "Python aiohttp", "Python requests")]
    chosen = chosen_of(settings, able + ([immediate] if immediate else []))
    runs, ideal = [], max(EXPERIMENT_S)
    with Testkit(settings.testkit) as server:
        lists = clients.write_lists(settings.folder, f"{server.url}/experiment/", len(EXPERIMENT_S))
        task = Task(lists, len(EXPERIMENT_S), settings.folder / "run")
        for number in range(settings.rounds):
            for client in chosen:
                runs.append(run_with_testkit(client, task, server, settings))
                say(f"round {number + 1}/{settings.rounds}", runs[-1])
        commands = [clients.shown(c.command(task), c, settings.folder) for c in chosen]
    table = _experiment_table(chosen, runs, ideal)
    lead = f"Process start to end; the longest answer takes {ideal} s. Medians of {settings.rounds}."
    title = "experiment: five answers of " + ", ".join(f"{s:.3f}" for s in EXPERIMENT_S) + " s"
    return result(title, lead, table, chosen, runs, commands)


def _experiment_table(chosen: Sequence[Client], runs: Sequence[Measured], ideal: float) -> list[list[str]]:
    rows = [["client", "s", "ms over the longest", "best", "worst", "CPU s"]]
    for client in chosen:
        own = [run for run in runs if run.client is client]
        over_ms = [(run.wall_s - ideal) * 1000 for run in own if run.wall_s is not None]
        figures = (statistics.median(over_ms), min(over_ms), max(over_ms)) if over_ms else (None, None, None)
        cells = [report.number(_median(own, "wall_s"), 3), *(report.number(ms, 1) for ms in figures)]
        rows.append([client.name, *cells, report.number(_median(own, "cpu_s"), 3)])
    return rows


def _median(runs: Sequence[Measured], figure: str) -> float | None:
    """The median of one of `Measured`'s figures."""
    return measure.median_known([getattr(run, figure) for run in runs])


SCENARIOS = {
    "list": list_of_urls,
    "bodies": bodies,
    "hosts": hosts,
    "memory": memory,
    "durable": durable,
    "inflight": inflight,
    "experiment": experiment,
}
