"""Extensions of requests on `overlapped.requests`, in an interpreter of their own: extensions.py SERVER FOLDER."""

from __future__ import annotations

import gzip
import sys
from email.utils import formatdate
from pathlib import Path

import overlapped.requests

overlapped.requests.install()

import requests  # noqa: E402
import requests_cache  # noqa: E402
import requests_mock  # noqa: E402
import responses  # noqa: E402
from cachecontrol import CacheControl  # noqa: E402
from requests.adapters import HTTPAdapter  # noqa: E402
from requests_oauthlib import OAuth1Session  # noqa: E402
from requests_toolbelt import MultipartEncoder, MultipartEncoderMonitor, sessions  # noqa: E402
from requests_toolbelt.downloadutils import stream  # noqa: E402
from requests_toolbelt.utils import dump  # noqa: E402
from serving import Reader, served  # noqa: E402
from urllib3.util import Retry  # noqa: E402

assert requests.__name__ == "overlapped.requests"
SERVER, FOLDER = sys.argv[1], Path(sys.argv[2])


@responses.activate
def responses_answers() -> None:
    responses.get("http://x.example/", json={"a": 1}, status=201, headers={"X": "1"})
    responses.get("http://x.example/e", body=requests.exceptions.ConnectionError("boom"))
    response = requests.get("http://x.example/?b=1")
    assert (response.status_code, response.json(), response.headers["x"]) == (201, {"a": 1}, "1")
    for url in ("http://x.example/e", "http://other.example/"):
        try:
            requests.get(url)
        except requests.ConnectionError:
            continue
        raise AssertionError(url)
    with requests.get("http://x.example/", stream=True) as response:
        assert b"".join(response.iter_content(2)) == b'{"a": 1}'
    assert len(responses.calls) == 4


def requests_mock_answers() -> None:
    with requests_mock.Mocker() as mocker:
        mocker.get("http://y.example/", text="hello")
        mocker.post("http://y.example/p", [{"status_code": 500}, {"json": {"k": 2}}])
        assert requests.get("http://y.example/").text == "hello"
        assert requests.post("http://y.example/p", data=b"x").status_code == 500
        assert requests.post("http://y.example/p", json={"q": 1}).json() == {"k": 2}
        assert mocker.call_count == 3 and mocker.request_history[2].json() == {"q": 1}
    session, adapter = requests.Session(), requests_mock.Adapter()
    session.mount("mock://", adapter)
    adapter.register_uri("GET", "mock://t/", text="data")
    assert session.get("mock://t/").text == "data"


def toolbelt_sends_and_receives() -> None:
    seen: list[int] = []
    with open(__file__, "rb") as file:
        encoder = MultipartEncoder({"field": "value", "file": ("name.txt", file, "text/plain")})
        monitor = MultipartEncoderMonitor(encoder, lambda monitor: seen.append(monitor.bytes_read))
        response = requests.post(SERVER + "/echo", data=monitor, headers={"Content-Type": monitor.content_type})
    assert response.json()["body"].count(encoder.boundary_value) == 3 and seen[-1] == encoder.len
    assert b"POST /echo HTTP/1.1" in dump.dump_all(response)
    assert sessions.BaseUrlSession(base_url=SERVER + "/").get("ok").text == "ok\n"
    with requests.get(SERVER + "/bytes/100000", stream=True) as response:
        path = Path(stream.stream_response_to_file(response, path=str(FOLDER / "bytes")))
    assert path.stat().st_size == 100_000


def a_retry_of_urllib3_is_obeyed() -> None:
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=Retry(total=2, status_forcelist=[500], backoff_factor=0)))
    response = session.get(SERVER + "/ok")
    assert response.text == "ok\n" and response.raw.retries.history == ()
    response = session.get(SERVER + "/flaky?fail=1&status=500&key=extensions")
    assert response.ok and [entry.status for entry in response.raw.retries.history] == [500]
    for url, error in (
        (SERVER + "/status/500", requests.exceptions.RetryError),
        ("http://127.0.0.1:1/", requests.exceptions.ConnectionError),
    ):
        try:
            session.get(url)
        except error:
            continue
        raise AssertionError(url)


TEXT = b"text of a page, " * 1000
KEPT = b"HTTP/1.1 200 OK\r\nDate: %b\r\nCache-Control: max-age=600\r\n" % formatdate(usegmt=True).encode()


def caches_keep_what_may_be_kept() -> None:
    asked: list[bytes] = []

    def serve(reader: Reader) -> None:
        while head := reader.head():
            target = head.split()[1]
            asked.append(target)
            body, kind = (gzip.compress(TEXT), b"Content-Encoding: gzip\r\n") if b"gzip" in target else (TEXT, b"")
            if b"chunked" in target:
                body, kind = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), kind + b"Transfer-Encoding: chunked\r\n"
            else:
                kind += b"Content-Length: %d\r\n" % len(body)
            reader.connection.sendall(KEPT + kind + b"\r\n" + body)

    with served(serve) as base:
        paths = ["plain", "gzip", "chunked", "gzip-chunked"]
        for make in (lambda: CacheControl(requests.Session()), lambda: requests_cache.CachedSession(backend="memory")):
            for streamed in ({}, {"stream": True}):
                asked.clear()
                session = make()
                for path in paths:
                    first, second = session.get(base + path, **streamed), None
                    assert b"".join(first.iter_content(1000)) == TEXT, path
                    second = session.get(base + path, **streamed)
                    assert second.from_cache and second.content == TEXT and second.text[:4] == "text", path
                assert asked == [f"/{path}".encode() for path in paths]
    session = CacheControl(requests.Session())
    pages = [session.get(SERVER + "/etag/abc") for _ in range(2)]
    assert [(page.status_code, page.text, page.from_cache) for page in pages] == [(200, "etag abc\n", n) for n in (False, True)]


def requests_oauthlib_signs() -> None:
    session = OAuth1Session("key", client_secret="secret", resource_owner_key="a", resource_owner_secret="b")
    headers = dict(session.get(SERVER + "/echo", params={"q": "\u00fc b"}).json()["headers"])
    assert headers["Authorization"].startswith("OAuth oauth_nonce=") and "oauth_signature=" in headers["Authorization"]


responses_answers()
requests_mock_answers()
toolbelt_sends_and_receives()
caches_keep_what_may_be_kept()
requests_oauthlib_signs()
a_retry_of_urllib3_is_obeyed()
