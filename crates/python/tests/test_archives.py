"""Archives (HAR, WARC) and their index, read by those who take them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import overlapped
import pytest
import requests
from cdxj_indexer.main import CDXJIndexer
from fastwarc.warc import ArchiveIterator as FastIterator
from surt import surt
from warcio.archiveiterator import ArchiveIterator
from warcio.bufferedreaders import ChunkedDataReader

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


def test_fetch_writes_har(url: Url, tmp_path: Path) -> None:
    records = list(overlapped.fetch([url("/gzip/2000")], out=tmp_path / "r.har"))
    archive = json.loads((tmp_path / "r.har").read_text())
    jsonschema.validate(archive, HAR)
    (entry,) = archive["log"]["entries"]
    assert entry["response"]["content"]["text"].encode() == records[0].body
    assert {"name": "accept", "value": "*/*"} in entry["request"]["headers"]


def test_fetch_refuses_warc(url: Url, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="written by the command"):
        overlapped.fetch([url("/ok")], out=tmp_path / "r.warc.gz")
    assert not list(tmp_path.iterdir())


# --- WARC ---------------------------------------------------------------------------------------------------------

PAGES = ["/ok?a=1", "/status/404", "/chunked/200000", "/gzip/20000", "/bytes/300000?x", "/redirect/2", "/text/3000?x=1"]


def crawled(url: Url, folder: Path, *more: str) -> tuple[Path, list[str]]:
    """An archive of these pages, each of which is fetched twice, and of rows without a response; and the URLs in order."""
    asked = [*map(url, PAGES + PAGES), "no url", "http://127.0.0.1:1/"]
    options = ["--ordered", "--retry=0", "--max-host-errors=0", "--cdxj", *more]
    fetched(folder, asked, *options, "-o", str(folder / "crawl.warc.gz"), code=1)
    return folder / "crawl.warc.gz", asked


def sha1(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def test_warcio_reads_an_archive(url: Url, tmp_path: Path) -> None:
    path, asked = crawled(url, tmp_path)
    kinds: dict[str, list[str]] = {}
    names, seen = set(), {}
    with path.open("rb") as file:
        iterator = ArchiveIterator(file, no_record_parse=True)
        for record in iterator:
            fields, block = record.rec_headers, record.raw_stream.read()
            assert record.rec_headers.protocol == "WARC/1.1"
            assert fields["WARC-Block-Digest"] == sha1(block)
            names.add(fields["WARC-Record-ID"])
            kinds.setdefault(fields["Overlapped-Row"] or "file", []).append(record.rec_type)
    assert len(names) == sum(map(len, kinds.values())) and kinds["file"] == ["warcinfo"]
    assert kinds["0"] == kinds["3"] == ["request", "response", "metadata"]
    assert kinds["9"] == kinds["13"] == ["request", "revisit", "metadata"]
    assert kinds["5"] == ["request", "response"] * 3 + ["metadata"]
    assert kinds["14"] == kinds["15"] == ["metadata"]
    with path.open("rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type == "response":
                fields = record.rec_headers
                assert record.http_headers.get_statuscode() in ("200", "302", "404")
                stream = record.raw_stream
                if record.http_headers.get_header("Transfer-Encoding") == "chunked":
                    stream = ChunkedDataReader(stream)
                payload = b"".join(iter(lambda stream=stream: stream.read(65_536), b""))
                assert fields["WARC-Payload-Digest"] == sha1(payload)
                seen[fields["WARC-Target-URI"]] = payload
    for address in asked[:5]:
        with requests.get(address, stream=True, timeout=60) as response:
            assert seen[address] == response.raw.read()


def test_fastwarc_reads_an_archive(url: Url, tmp_path: Path) -> None:
    path, _ = crawled(url, tmp_path)
    counts: dict[str, int] = {}
    with path.open("rb") as file:
        for record in FastIterator(file, parse_http=False):
            name = record.headers["WARC-Type"]
            counts[name] = counts.get(name, 0) + 1
            assert record.verify_block_digest()
    # Two redirects in each of two rows; three payloads of 512 bytes and more are there twice.
    assert counts == {"warcinfo": 1, "request": 18, "response": 14, "revisit": 4, "metadata": 16}


def test_the_index_is_that_of_others(url: Url, tmp_path: Path) -> None:
    path, _ = crawled(url, tmp_path)
    theirs = tmp_path / "theirs.cdxj"
    CDXJIndexer(output=str(theirs), inputs=[str(path)], sort=True, records="response,revisit").process_all()
    mine, theirs = (file.read_text().splitlines() for file in (tmp_path / "crawl.cdxj", theirs))
    assert mine == sorted(mine) and len(mine) == len(theirs) == 18
    for line, other in zip(mine, theirs, strict=True):
        assert line.split(" ", 2)[:2] == other.split(" ", 2)[:2]
        fields, others = json.loads(line.split(" ", 2)[2]), json.loads(other.split(" ", 2)[2])
        assert fields == {name: others[name] for name in fields}


def test_keys_of_an_index_are_those_of_surt(url: Url, tmp_path: Path) -> None:
    queries = ["", "?", "?b=2&a=1&A&a=", "?%7e=%26&q=%2525", "?sid=0123456789abcdef0123456789abcdef&x", "?cfid=1&cftoken=2&z"]
    paths = ["/", "/A//b/", "/%7Euser/%E9%20", "/a%2Fb/%2e%2e/c", "/x;y=1"]
    asked = [url(path + query) for path in paths for query in queries]
    fetched(tmp_path, asked, "--retry=0", "--max-host-errors=0", "--cdxj", "-o", str(tmp_path / "c.warc"), code=1)
    lines = [line.split(" ", 2) for line in (tmp_path / "c.cdxj").read_text().splitlines()]
    assert len(lines) == len(asked)
    for key, _, fields in lines:
        assert key == surt(json.loads(fields)["url"])


def test_pywb_serves_a_crawl(url: Url, tmp_path: Path) -> None:
    pytest.importorskip("pywb", reason="pywb does not support this version of Python")
    path, asked = crawled(url, tmp_path)
    collection = tmp_path / "collections" / "c"
    for name, file in (("archive", path), ("indexes", tmp_path / "crawl.cdxj")):
        (collection / name).mkdir(parents=True)
        shutil.copy(file, collection / name)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    wayback = "import sys; from pywb.apps.cli import wayback; wayback(sys.argv[1:])"
    command = [sys.executable, "-c", wayback, "-p", str(port), "-b", "127.0.0.1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            for page, address in zip(PAGES, asked, strict=False):
                served = requests.get(f"http://127.0.0.1:{port}/c/2100id_/{address}", allow_redirects=False, timeout=60)
                live = requests.get(address, allow_redirects=False, timeout=60)
                assert (served.status_code, served.content) == (live.status_code, live.content), page
        finally:
            server.terminate()
