"""A server of the testkit for all tests, on a loopback address."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Tests interrupt themselves and their programs; in the background a shell has the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def url() -> Iterator[Callable[[str], str]]:
    """The URL of a path on the server; its routes are in crates/testkit/ROUTES.md."""
    program = os.environ.get("OVERLAPPED_TESTKIT", str(ROOT / "target/debug/overlapped-testkit"))
    command = [program, "--until-eof", "--seconds", "900"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        base = server.stdout.readline().strip()
        assert base.startswith("http://"), f"{program} did not start"
        yield lambda path: base.rstrip("/") + path
        server.stdin.close()
        server.wait(timeout=30)
