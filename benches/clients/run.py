"""Runs the clients in turn against nginx on loopback, and prints medians and ratios of CPU time as a Markdown table."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))
from server import Nginx  # noqa: E402

GROUPS = {"blocking": ["ours-blocking", "ureq", "reqwest-blocking"], "many": ["ours-many", "reqwest-many"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=50_000)
    options = parser.parse_args()
    cpu: dict[str, list[float]] = {}
    rate: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, Nginx(Path(folder), body_bytes=1024, parallel=64) as server:
        for _ in range(options.rounds):
            for name in [name for names in GROUPS.values() for name in names]:
                command = [options.program, name, f"{server.url}/x", str(options.requests)]
                words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                requests, wall, used = int(words[0]), float(words[1]), float(words[2])
                cpu.setdefault(name, []).append(used / requests * 100_000)
                rate.setdefault(name, []).append(requests / wall)
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors, {options.rounds} rounds\n")
    print("| client | requests/s | CPU s/100k | our CPU |\n| --- | --- | --- | --- |")
    for names in GROUPS.values():
        for name in names:
            ratios = [ours / theirs for ours, theirs in zip(cpu[names[0]], cpu[name])]
            row = [statistics.median(rate[name]), statistics.median(cpu[name]), statistics.median(ratios)]
            print(f"| {name} | {row[0]:,.0f} | {row[1]:.2f} | {row[2]:.2f} x |")


if __name__ == "__main__":
    main()
