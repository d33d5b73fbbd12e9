#!/usr/bin/env python3
"""Runs `overlapped` beside its peers, in turn, against the same server on loopback, and prints a table.

Takes the peers that are on PATH (wrk, oha, curl, wget2, aria2c, and Python's requests and aiohttp) and leaves out the
others. Installs nothing, needs Linux and Python 3.10. Build first: cargo build --release -p overlapped-cli -p
overlapped-testkit --bins --example bare_sockets

scenarios:
  list         distinct URLs from a file, 1 KB bodies (the default)
  bodies       a tenth of the rows, 100 KB bodies
  hosts        the same on 10, 1,000 and 200,000 hosts, http and https; needs root
  memory       our peak memory with lists of 10^5 and 10^6 rows (10^7 too with --big)
  durable      with and without a journal, to NDJSON and (a fifth of the rows) to files, beside the disk alone
  inflight     10,000 requests at once to a server that answers after 1 s
  experiment   five answers of 1.3 to 2.4 s in real time: how near to the longest
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import report
from clients import Programs
from hosts import enter_namespace
from runs import Settings
from scenarios import SCENARIOS
from server import Missing

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = _parse()
    # A stop from outside unwinds like ^C: the server ends and the folder goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    programs = Programs(
        ours=options.bin.resolve(),
        path=os.pathsep.join([*options.path, os.environ.get("PATH", os.defpath)]),
        python=shutil.which(options.python) or options.python,
        baseline=options.baseline and options.baseline.resolve(strict=True),
    )
    if not programs.ours.is_file():
        print(f"{options.bin} is not built: the peers alone. See --help.", file=sys.stderr)
    all_well = True
    try:
        if "hosts" in (options.scenario or []):
            enter_namespace()
        for scenario in options.scenario or ["list"]:
            all_well &= _run(scenario, options, programs)
    except Missing as missing:
        print(f"run.py: {missing}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if all_well else 1


def _run(scenario: str, options: argparse.Namespace, programs: Programs) -> bool:
    """Runs a scenario and prints its table; false when a run did not do what it was asked for."""
    with tempfile.TemporaryDirectory(prefix="overlapped-bench-", dir=options.work) as folder:
        settings = Settings(
            programs=programs,
            testkit=options.testkit.resolve(),
            folder=Path(folder),
            rows=options.rows,
            parallel=options.parallel,
            rounds=options.rounds,
            timeout_s=options.timeout,
            quiet_s=options.quiet,
            only=options.only,
            big=options.big,
        )
        result = SCENARIOS[scenario](settings)
    print(report.render(result), flush=True)
    if options.record:
        print(f"kept in {report.record(scenario, result).name}", file=sys.stderr)
    return not result["complaints"]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    release = Path("target/release") if Path.cwd() == ROOT else ROOT / "target/release"
    add = parser.add_argument
    add("--scenario", action="append", choices=SCENARIOS, help="what to measure; again for more [list]")
    add("--only", action="append", default=[], metavar="NAME", help="clients whose names begin so; again for more")
    add("--bin", type=Path, default=release / "overlapped", help="our program [target/release/overlapped]")
    add("--baseline", type=Path, metavar="PROGRAM", help="list, bodies: an earlier build of ours, run in turn with this one")
    add("--testkit", type=Path, default=release / "overlapped-testkit", help="our test server [beside it]")
    add("--path", action="append", default=[], metavar="FOLDER", help="look for peers here first; again for more")
    add("--python", default=sys.executable, help="the interpreter with requests or aiohttp [this one]")
    add("--rows", type=_count, default=200_000, metavar="N", help="length of the list; slow peers get a part [200000]")
    add("-j", "--parallel", type=_count, default=64, metavar="N", help="requests at once, where none are given [64]")
    add("--rounds", type=_count, default=3, metavar="N", help="how often each client runs [3]")
    add("--timeout", type=float, default=120, metavar="S", help="a run that takes longer is stopped [120]")
    add("--quiet", type=float, default=0, metavar="S", help="wait so long for a quiet machine before each run [0]")
    add("--work", type=Path, metavar="FOLDER", help="where lists and outputs go meanwhile [temporary folder]")
    add("--big", action="store_true", help="memory: 10^7 rows as well, for some minutes and up to 10 GB of disk")
    add("--record", action="store_true", help="keep table and raw figures under benches/peers/results/, by date")
    return parser.parse_args()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
