"""The package as a whole: its names, its command, and what importing it costs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import overlapped
import pytest


def test_every_public_name_is_there_and_documented() -> None:
    for name in overlapped.__all__:
        value = getattr(overlapped, name)
        assert name == "__version__" or value.__doc__, name
    assert set(overlapped.__all__) <= set(dir(overlapped))


def test_importing_it_imports_neither_asyncio_nor_an_http_client() -> None:
    code = "import sys, overlapped; print(*sorted({'asyncio', 'concurrent.futures', 'http', 'logging', 'ssl', 'email', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


@pytest.mark.parametrize(("given", "taken"), [(None, "10"), ("77", "77")])
def test_the_allocator_gives_memory_back_soon(given: str | None, taken: str) -> None:
    name = "MIMALLOC_PURGE_DELAY"
    env = {key: value for key, value in os.environ.items() if key != name} | ({name: given} if given else {})
    code = f"import os, overlapped; print(os.environ.get({name!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env | {"MIMALLOC_VERBOSE": "1"}
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(given)), done.stderr
    assert f"option 'purge_delay': {taken} " in done.stderr


def test_the_command_is_the_program() -> None:
    version = f"overlapped {overlapped.__version__}"
    command = Path(sysconfig.get_path("scripts")) / "overlapped"
    for words in ([sys.executable, "-m", "overlapped"], [str(command)] if command.exists() else None):
        if words is not None:
            done = subprocess.run([*words, "--version"], capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stdout.splitlines()[0]) == (0, version)
            done = subprocess.run([*words, "--no-such-flag"], capture_output=True, text=True, timeout=60)
            assert done.returncode == 2 and done.stderr.startswith("overlapped: ")


def test_extensions_of_requests_work_on_it(url: Callable[[str], str], tmp_path: Path) -> None:
    program = Path(__file__).with_name("extensions.py")
    command = [sys.executable, str(program), url(""), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
