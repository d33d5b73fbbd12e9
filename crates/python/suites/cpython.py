"""CPython's own tests of its thread pool, run with `overlapped.Executor`: cpython.py [NAME]

Without NAME each test runs in an interpreter of its own, and a line says what has failed. With `OVERLAPPED_IN_PLACE=1` in the
environment the class also is in the place of the standard one, in every interpreter that a test starts.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import os
import subprocess
import sys
import unittest
from types import ModuleType

import overlapped

SECONDS = 60
IN_PLACE = concurrent.futures.ThreadPoolExecutor if os.environ.get("OVERLAPPED_IN_PLACE") else None
PARTS = ("thread_pool", "wait", "as_completed", "shutdown", "init")


def modules() -> tuple[ModuleType, list[ModuleType]]:
    """The module with the mixin of thread pools, and those with tests: a package since 3.12, one module before."""
    name = "test.test_concurrent_futures"
    try:
        whole = importlib.import_module(name)
    except ImportError:
        sys.exit(f"{sys.executable} comes without {name}: name another interpreter by PYTHON")
    if hasattr(whole, "ThreadPoolMixin"):
        return whole, [whole]
    parts = [importlib.import_module(f"{name}.test_{part}") for part in PARTS]
    return importlib.import_module(f"{name}.util"), parts


def tests() -> dict[str, unittest.TestCase]:
    """The tests of thread pools, by name."""
    from test import support

    support.use_resources = ["walltime", "cpu"]  # type: ignore[attr-defined]
    home, parts = modules()
    mixin = home.ThreadPoolMixin
    mixin.executor_type = IN_PLACE or overlapped.Executor
    kinds = {
        kind
        for part in parts
        for kind in vars(part).values()
        if isinstance(kind, type) and issubclass(kind, unittest.TestCase) and issubclass(kind, mixin)
    }
    names = unittest.defaultTestLoader.getTestCaseNames
    return {f"{kind.__name__}.{name}": kind(name) for kind in sorted(kinds, key=str) for name in names(kind)}


def outcome(name: str) -> str | None:
    """Why a test has failed; None: it has passed."""
    command = [sys.executable, __file__, name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"not over after {SECONDS} s"
    lines = done.stderr.strip().splitlines() or ["no message"]
    return None if done.returncode == 0 else next((line for line in reversed(lines) if "Error" in line), lines[-1])


def main() -> None:
    if sys.argv[1:]:
        result = unittest.TextTestRunner(verbosity=0).run(tests()[sys.argv[1]])
        sys.stderr.flush()
        os._exit(0 if result.wasSuccessful() else 1)
    names = list(tests())
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        failures = [(name, why) for name, why in zip(names, threads.map(outcome, names)) if why is not None]
    for name, why in failures:
        print(f"FAILED {name}: {why}")
    print(f"{len(names) - len(failures)} of {len(names)} passed")


if __name__ == "__main__":
    main()
