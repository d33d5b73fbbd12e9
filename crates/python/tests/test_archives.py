"""Archives (HAR, WARC) and their index, read by those who take them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema

Url = Callable[[str], str]

STRING, NUMBER = {"type": "string"}, {"type": "number", "minimum": -1}


def structure(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """An object with these members, and any that begin with `_`."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | optional,
        "patternProperties": {"^_": True},
        "additionalProperties": False,
    }


PAIRS = {"type": "array", "items": structure({"name": STRING, "value": STRING})}
WHEN = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$"}
REQUEST = structure(
    {
        "method": STRING,
        "url": STRING,
        "httpVersion": STRING,
        "cookies": PAIRS,
        "headers": PAIRS,
        "queryString": PAIRS,
        "headersSize": NUMBER,
        "bodySize": NUMBER,
    }
)
RESPONSE = structure(
    {
        "status": {"type": "integer", "minimum": 0},
        "statusText": STRING,
        "httpVersion": STRING,
        "cookies": PAIRS,
        "headers": PAIRS,
        "content": structure({"size": NUMBER, "mimeType": STRING}, text=STRING, encoding={"const": "base64"}),
        "redirectURL": STRING,
        "headersSize": NUMBER,
        "bodySize": NUMBER,
    }
)
DONE = {"type": "number", "minimum": 0}
TIMINGS = structure({"send": DONE, "wait": DONE, "receive": DONE}, blocked=NUMBER, dns=NUMBER, connect=NUMBER, ssl=NUMBER)
ENTRY = structure(
    {
        "startedDateTime": WHEN,
        "time": DONE,
        "request": REQUEST,
        "response": RESPONSE,
        "cache": structure({}),
        "timings": TIMINGS,
    },
    serverIPAddress=STRING,
)
# http://www.softwareishard.com/blog/har-12-spec/
LOG = structure(
    {
        "version": {"const": "1.2"},
        "creator": structure({"name": STRING, "version": STRING}),
        "entries": {"type": "array", "items": ENTRY},
    }
)
HAR = structure({"log": LOG})


def fetched(folder: Path, asked: list[str], *more: str, code: int = 0) -> None:
    """Runs the command with a list."""
    (folder / "urls.txt").write_text("\n".join(asked))
    command = [sys.executable, "-m", "overlapped", "-s", *more, f"@{folder / 'urls.txt'}"]
    assert subprocess.run(command, timeout=120).returncode == code


def test_har_obeys_its_schema(url: Url, tmp_path: Path) -> None:
    pages = ["/ok?a=1&b=%C3%A9", "/status/404", "/redirect/2", "/bytes/3000000", "/bytes/10", "/gzip/5000"]
    asked = [*map(url, pages), "no url", "http://127.0.0.1:1/"]
    fetched(tmp_path, asked, "--retry=0", "--max-host-errors=0", "-o", str(tmp_path / "r.har"), code=1)
    archive = json.loads((tmp_path / "r.har").read_text())
    jsonschema.validate(archive, HAR)
    entries = archive["log"]["entries"]
    assert sorted(entry["_row"] for entry in entries) == list(range(len(asked)))
    for entry in entries:
        timings = entry["timings"]
        phases = [time for name, time in timings.items() if name != "ssl" and time >= 0]
        assert abs(entry["time"] - sum(phases)) < 1e-6
        assert timings["ssl"] <= timings["connect"]
