"""Every block of Python in the guides to the program runs: on outputs that the program has written, and on a small site."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

GUIDES = Path(__file__).resolve().parents[3] / "docs/guide"
BLOCKS = [
    pytest.param(block, id=f"{guide.stem}-{number}")
    for guide in sorted(GUIDES.glob("*.md"))
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", guide.read_text(), re.MULTILINE | re.DOTALL))
]
ROWS = 30


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 6


@pytest.fixture(scope="module")
def outputs(url: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the outputs that the guide to formats begins with, by its own commands."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "urls.txt").write_text("".join(url(f"/row/{row}\n") for row in range(ROWS)))
    shell = re.search(r"^```sh\n(.*?)^```", (GUIDES / "formats.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shell is not None
    commands = [line.split("#")[0].split() for line in shell[1].splitlines()]
    assert len(commands) == 2
    for name, *words in commands:
        assert name == "overlapped"
        subprocess.run([sys.executable, "-m", "overlapped", "-s", *words], cwd=folder, check=True, timeout=120)
    return folder


class Page(BaseHTTPRequestHandler):
    """A site of three pages, of which one is met twice, and one that robots.txt forbids."""

    asked: list[str] = []

    def do_GET(self) -> None:
        pages = {
            "/": '<a href="a.html">a</a> <a href="/b.html#part">b</a> <a href="secret/">no</a>',
            "/a.html": '<a href="/b.html">b</a> <a href="https://other.test/">elsewhere</a>',
            "/b.html": "<p>no links</p>",
            "/robots.txt": "User-agent: *\nDisallow: /secret/\n",
        }
        self.asked.append(self.path)
        text = pages.get(self.path)
        body = (text or "").encode()
        self.send_response(200 if text else 404)
        self.send_header("Content-Type", "text/plain" if self.path == "/robots.txt" else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_a_guide_runs(block: str, outputs: Path, site: str) -> None:
    Page.asked.clear()
    names = f"SERVER, ROWS = {site!r}, {ROWS}\n"
    done = subprocess.run([sys.executable, "-b", "-c", names + block], cwd=outputs, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    if "SERVER" in block:
        assert set(Page.asked) == {"/", "/a.html", "/b.html", "/robots.txt"}
        assert all(Page.asked.count(page) == 1 for page in ("/", "/a.html", "/b.html"))
