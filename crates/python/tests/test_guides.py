"""Every block of Python in the guides runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

GUIDES = Path(__file__).resolve().parents[3] / "docs/python"

BLOCKS = [
    pytest.param(block, id=f"{guide.stem}-{number}")
    for guide in sorted(GUIDES.glob("*.md"))
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", guide.read_text(), re.MULTILINE | re.DOTALL))
]


def test_there_are_guides() -> None:
    assert len(BLOCKS) >= 8


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_a_guide_runs(block: str, url: Callable[[str], str], tmp_path: Path) -> None:
    names = f"SERVER, FOLDER = {url('')!r}, {str(tmp_path)!r}\n"
    command = [sys.executable, "-W", "default", "-b", "-c", names + block]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
