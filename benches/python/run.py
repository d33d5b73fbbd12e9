"""Clients of Python beside each other, on one nginx: 1 KB bodies, 64 requests at a time (one for the sessions).

    python benches/python/run.py            # in an environment with overlapped, pycurl, aiohttp, httpx, pyreqwest, uvloop and requests

Interleaved rounds; the medians are printed. CPU is that of the whole process, the start of the interpreter included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "peers")]

from clients import CLIENTS  # noqa: E402
from server import Nginx  # noqa: E402

# Of how many requests of the fastest clients others make one. Those that are compared make as many: the start of the interpreter is
# in their time.
SHARES = {"overlapped_requests": 5, "httpx": 20, "requests": 20, "aiohttp": 5, "async_session": 5, "pyreqwest": 5, "overlapped_get": 5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100_000, help="of the fast clients; a fifth or a twentieth of others")
    parser.add_argument("--only", nargs="*", default=list(CLIENTS))
    options = parser.parse_args()
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in options.only}
    with tempfile.TemporaryDirectory() as folder, Nginx(Path(folder), 1000, 64) as nginx:
        for _ in range(options.rounds):
            for name in options.only:
                share = next((share for part, share in SHARES.items() if part in name), 1)
                count = options.requests // share
                seen[name].append(measured(name, f"http://127.0.0.1:{nginx.port}", count))
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {options.rounds} rounds, medians\n")
    print("| client | requests/s | CPU s / 10,000 |\n| --- | --- | --- |")
    for name, runs in seen.items():
        rate, cpu = (statistics.median(column) for column in zip(*runs))
        print(f"| {name} | {rate:,.0f} | {cpu:.3f} |")


def measured(name: str, base: str, count: int) -> tuple[float, float]:
    command = [sys.executable, str(HERE / "clients.py"), name, base, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{name} failed")
    return float(output), (usage.ru_utime + usage.ru_stime) / count * 10_000


if __name__ == "__main__":
    main()
