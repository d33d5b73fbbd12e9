"""The programs of examples/python do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[3] / "examples/python"


def run(name: str, *words: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_article_s_program_overlaps_its_waits(url: Callable[[str], str]) -> None:
    urls = [url(f"/experiment/{number}") for number in range(5)]
    output = run("article.py", *urls)
    # Threads may write into each other's lines.
    events = re.findall(r"(Start|End): http", output)
    assert events[:10] == ["Start", "End"] * 5
    assert events[10:12] == ["Start"] * 2 and sorted(events[10:]) == ["End"] * 5 + ["Start"] * 5
    responses = str(["<Response [200]>"] * 5).replace("'", "")
    assert output.count(responses) == 2
    assert len(re.findall(r"(?:sequential|overlapped): \d+\.\d{3} s", output)) == 2


def test_the_shell_fetches_the_shards_of_a_list(url: Callable[[str], str], tmp_path: Path) -> None:
    program = tmp_path / "overlapped"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m overlapped "$@"\n')
    program.chmod(0o755)
    (tmp_path / "urls.txt").write_text("\n".join([*(url(f"/row/{row}") for row in range(50)), "no url"]))
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", str(EXAMPLES.parent / "cluster/shell.sh"), "urls.txt", "3", "2"]
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("shards    3 of 3\nrows      51, of which 1 failed\n")
    assert (tmp_path / "results/_SUCCESS").exists()


def test_a_bulk_run_writes_its_results_and_goes_on(url: Callable[[str], str], tmp_path: Path) -> None:
    urls, results = tmp_path / "urls.txt", tmp_path / "results.ndjson"
    urls.write_text(f"{url('/ok')}\n" * 50)
    assert run("bulk.py", str(urls), str(results)).startswith("50 of 50 succeeded")
    assert len(results.read_text().splitlines()) == 50


@pytest.mark.parametrize("name", ["list_of_urls", "awaited"])
def test_a_notebook_runs(name: str, url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER", url(""))
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output["data"]["text/plain"] for output in outputs if output["output_type"] == "execute_result"]
    pages = [output["data"].get("text/html", "") for output in outputs if "data" in output]
    if name == "list_of_urls":
        assert "(42, 40)" in texts and "[(200, 40, " in texts[-1]
        assert any("<svg" in page and "<th>by_status</th>" in page for page in pages)
        # What it shows at the end may come after the notebook.
        assert any("<progress" in page for page in pages)
    else:
        assert texts[0] == "True" and texts[1].startswith("Timings(")
        assert texts[2:] == ["[(7, 49), (8, 64), (9, 81)]", "200"]
