"""Programs that run in an interpreter of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time


def run_python(
    code: str, *flags: str, env: dict[str, str] | None = None, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, with further variables in its environment."""
    command = [sys.executable, *flags, "-c", textwrap.dedent(code)]
    env = {**os.environ, **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=env)


def check_interrupted(code: str) -> None:
    """Sends SIGINT to a program that has printed `ready`; its `KeyboardInterrupt` handler is to print `interrupted`."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(timeout=20) == 0
