#!/usr/bin/env python3
"""Two builds of the benchmark in turn: CPU seconds a million jobs, and the ratio within each round.

    compare.py OLD NEW [--rounds N] [--jobs N]

OLD and NEW are programs built from this folder's sources, against the two versions of the executor. CPU time of the whole process, so
that other work on the machine moves it little; the order changes from round to round.
"""

import argparse
import math
import os
import re
import statistics
import subprocess

COUNTED = {
    "plain": "plain, `gather`",
    "turn": "plain, awaited in turn",
    "timeout": "with a timeout",
    "cancellable": "cancellable",
    "view": "in a view",
    "trip": "round trip, one outstanding",
}
CROWDS = [("gather", 2, 1), ("gather", 2, 8), ("gather", 64, 1), ("gather", 64, 8)]


def counted(program, kind, jobs):
    """CPU seconds a million jobs."""
    child = subprocess.Popen([program, "count", kind, str(jobs)])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{program} count {kind} failed"
    return (usage.ru_utime + usage.ru_stime) * 1e6 / jobs


def crowd(program, kind, workers, submitters):
    """As the program itself measures it, while 10,000 jobs are outstanding."""
    command = [program, "jobs", str(workers), str(submitters), "noop"]
    env = dict(os.environ, ONLY=kind)
    while True:
        told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        # On a crowded machine no batch may fit into most of its samples: then it is infinite, and run again.
        cost = float(re.search(r"\(([^)]+)\)", told)[1])
        if math.isfinite(cost):
            return cost


def row(name, measure, programs, rounds):
    samples = []
    for number in range(rounds):
        order = [0, 1] if number % 2 == 0 else [1, 0]
        sample = [0.0, 0.0]
        for which in order:
            sample[which] = measure(programs[which])
        samples.append(sample)
    old, new = (statistics.median(sample[which] for sample in samples) for which in (0, 1))
    ratios = sorted(new / old for old, new in samples)
    low, high = ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]
    print(f"| {name} | {old:.3f} | {new:.3f} | {statistics.median(ratios):.2f} | {low:.2f} to {high:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--jobs", type=int, default=300_000)
    args = parser.parse_args()
    programs = [os.path.abspath(args.old), os.path.abspath(args.new)]
    print("| CPU s a million jobs | old | new | new : old | half of the rounds |")
    print("| --- | --- | --- | --- | --- |")
    for kind, name in COUNTED.items():
        jobs = args.jobs // 5 if kind == "trip" else args.jobs
        row(f"{name}, 1 worker", lambda program: counted(program, kind, jobs), programs, args.rounds)
    for kind, workers, submitters in CROWDS:
        name = f"10,000 outstanding, {workers} workers, {submitters} submitting"
        row(name, lambda program: crowd(program, kind, workers, submitters), programs, max(args.rounds // 2, 3))


if __name__ == "__main__":
    main()
