"""What awaiting a call that does nothing costs: `Executor.run`, `asyncio.to_thread`, `run_in_executor` on either pool.

    python benches/python/executor.py [--uvloop]
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import overlapped

CALLS = 20_000
TOGETHER = 1_000
WORKERS = 4


async def in_a_row(call: Callable[[], Awaitable[Any]]) -> None:
    for _ in range(CALLS // 10):
        await call()


async def together(call: Callable[[], Awaitable[Any]]) -> None:
    for _ in range(CALLS // TOGETHER):
        await asyncio.gather(*(call() for _ in range(TOGETHER)))


async def measured(shape: Callable[..., Awaitable[None]], call: Callable[[], Awaitable[Any]], calls: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    await shape(call)
    return (time.perf_counter() - wall) / calls * 1e6, (time.process_time() - cpu) / calls * 1e6


async def main(rounds: int) -> None:
    loop = asyncio.get_running_loop()
    ours = overlapped.Executor(WORKERS)
    standard = concurrent.futures.ThreadPoolExecutor(WORKERS)
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(WORKERS))
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "overlapped.Executor.run": lambda: ours.run(int),
        "asyncio.to_thread": lambda: asyncio.to_thread(int),
        "run_in_executor(overlapped.Executor)": lambda: loop.run_in_executor(ours, int),
        "run_in_executor(ThreadPoolExecutor)": lambda: loop.run_in_executor(standard, int),
    }
    print(f"{type(loop).__module__}, {WORKERS} workers, medians of {rounds} rounds, microseconds a call: wall / CPU\n")
    print("| | one after the other | 1,000 together |\n| --- | --- | --- |")
    seen: dict[str, list[list[tuple[float, float]]]] = {name: [[], []] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seen[name][0].append(await measured(in_a_row, call, CALLS // 10))
            seen[name][1].append(await measured(together, call, CALLS))
    for name, shapes in seen.items():
        cells = (" / ".join(f"{statistics.median(column):.1f}" for column in zip(*runs)) for runs in shapes)
        print(f"| {name} | {' | '.join(cells)} |")
    ours.shutdown()
    standard.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    if options.uvloop:
        import uvloop

        uvloop.run(main(options.rounds))
    else:
        asyncio.run(main(options.rounds))
