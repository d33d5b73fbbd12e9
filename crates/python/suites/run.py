"""Runs the tests of other projects on `overlapped`, and compares with the original: run.py FOLDER

FOLDER has the source distributions of the projects. A test that passes on requests passes on `overlapped.requests` too, or is
one of EXEMPT; one of EXEMPT that passes is told as well, so that the list stays true.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent

# Seconds for a whole suite.
SECONDS = 900


class Suite(NamedTuple):
    """The tests of a project: its folder without the version, where they are, and what pytest is told."""

    folder: str
    tests: str
    options: tuple[str, ...] = ()


HTTPBIN = ("-p", "pytest_httpbin.plugin")
SUITES = {
    "requests": Suite(
        "requests-",
        "tests",
        (
            *HTTPBIN,
            *("-p", "pytest_mock"),
            # These connect to an address that is not in this machine.
            *("--deselect", "tests/test_requests.py::TestTimeout::test_connect_timeout"),
            *("--deselect", "tests/test_requests.py::TestTimeout::test_total_timeout_connect"),
        ),
    ),
    "requests-futures": Suite("requests_futures-", "tests", HTTPBIN),
    "requests-mock": Suite("requests-mock-", "tests", ("-p", "requests_mock.contrib._pytest_plugin")),
    "requests-toolbelt": Suite("requests-toolbelt-", "tests", ("-p", "betamax.fixtures.pytest")),
    "responses": Suite(
        "responses-",
        "responses",
        ("-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto", "-p", "pytest_httpserver.pytest_plugin"),
    ),
}

# Tests that pass on the original only, by a part of their names, and why.
POOL = "looks into a pool of urllib3, and there is none beneath"
EXEMPT = {
    "requests": {
        "test_session_close_proxy_clear": POOL,
        "test_different_connection_pool_for_tls_settings_": POOL,
        "test_chunked_encoding_error": "a head that ends with its connection is a ConnectionError, not a ChunkedEncodingError",
        "test_conflicting_content_lengths": "a head with two lengths is a ConnectionError, not an InvalidHeader",
    },
}

# Of CPython's tests of thread pools: how many fail by the plain run, because they import the class by the name it has in
# `concurrent.futures` in an interpreter of their own.
BY_NAME = 3


def outcomes(suite: Suite, root: Path, ours: bool) -> dict[str, str]:
    """By the name of a test: `passed`, `failed` or `skipped`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        alias = ("-p", "alias") if ours else ()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(HERE)}
        done = subprocess.run(
            [*command, *alias, *suite.options, suite.tests],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        if not report.exists():
            sys.exit(f"{root.name}: pytest has not run\n{done.stdout}{done.stderr}")
        cases = ElementTree.parse(report).getroot().iter("testcase")
        return {f"{case.get('classname')}::{case.get('name')}": _outcome(case) for case in cases}


def _outcome(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "passed" if case.find("skipped") is None else "skipped"


def compared(name: str, suite: Suite, root: Path) -> list[str]:
    """Runs a suite on the original and on ours; what is wrong."""
    original, ours = outcomes(suite, root, False), outcomes(suite, root, True)
    passed = [test for test, outcome in original.items() if outcome == "passed"]
    lost = [test for test in passed if ours.get(test) != "passed"]
    count = len(passed) - len(lost)
    print(f"{name}: {count} of the {len(passed)} that pass on requests ({len(original)} tests)", flush=True)
    wrong = []
    exempt = EXEMPT.get(name, {})
    for test in lost:
        reason = next((why for part, why in exempt.items() if part in test), None)
        print(f"  exempt {test}: {reason}" if reason else f"  FAILED {test}")
        if reason is None:
            wrong.append(f"{name}: {test} fails")
    wrong += [f"{name}: {part} is exempt and passes" for part in exempt if not any(part in test for test in lost)]
    return wrong


def cpython() -> list[str]:
    """Runs CPython's tests of thread pools, by the plain run and with the class in the place of the standard one."""
    wrong = []
    for in_place in ("", "1"):
        environment = {**os.environ, "OVERLAPPED_IN_PLACE": in_place}
        command = [sys.executable, str(HERE / "cpython.py")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
        lines = done.stdout.splitlines()
        result = lines[-1] if lines else done.stderr
        place = "in the place of the standard class" if in_place else "by the plain run"
        print(f"CPython {sys.version.split()[0]}, {place}: {result}", flush=True)
        failed = [line for line in lines if line.startswith("FAILED")]
        for line in failed:
            print(f"  {line}")
        if not lines or len(failed) > (0 if in_place else BY_NAME):
            wrong.append(f"CPython: {result}")
    return wrong


def main() -> None:
    folder = Path(sys.argv[1])
    wrong = cpython()
    for name, suite in SUITES.items():
        roots = [path for path in folder.glob(f"{suite.folder}[0-9]*") if path.is_dir()]
        if len(roots) != 1:
            sys.exit(f"{folder} has not one folder {suite.folder}*: remove it and run check-suites again")
        wrong += compared(name, suite, roots[0])
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
