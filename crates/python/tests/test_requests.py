"""`overlapped.requests`, beside the tests of requests itself: what it keeps, and what it mends."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import json
import pickle
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from overlapped import requests
from serving import OK, Reader, served

Url = Callable[[str], str]


def sent(response: requests.Response) -> dict[str, Any]:
    """What the server's /echo saw."""
    seen: dict[str, Any] = response.json()
    return seen


def headers_of(response: requests.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in sent(response)["headers"]}


def test_a_response_has_what_one_expects(url: Url) -> None:
    response = requests.get(url("/echo"), params={"q": "a b", "n": [1, 2]}, headers={"X-One": "1"})
    assert (response.status_code, response.ok, response.reason) == (200, True, "OK")
    assert response.url == url("/echo?q=a+b&n=1&n=2")
    assert sent(response)["target"] == "/echo?q=a+b&n=1&n=2"
    assert headers_of(response)["x-one"] == "1"
    assert headers_of(response)["user-agent"].startswith("python-overlapped/")
    assert response.elapsed.total_seconds() > 0
    assert repr(response) == "<Response [200]>"


def test_bodies_of_every_kind_are_sent(url: Url) -> None:
    def check(expected: str, content_type: str | None = None, **kwargs: Any) -> None:
        response = requests.post(url("/echo"), **kwargs)
        assert sent(response)["body"] == expected
        assert headers_of(response).get("content-type") == content_type

    form = "application/x-www-form-urlencoded"
    check("a=1&b=2&b=3", form, data={"a": 1, "b": [2, 3]})
    check("plain", data="plain")
    check("bytes", data=b"bytes")
    check('{"a": [1, null]}', "application/json", json={"a": [1, None]})
    check("a file", data=io.BytesIO(b"a file"))
    check("in parts", data=iter([b"in ", b"parts"]))
    check("", data=iter([]))


def test_files_are_sent_as_a_multipart_form(url: Url) -> None:
    files = {"one": ("näme.txt", io.BytesIO(b"content"), "text/plain", {"X-Part": "1"}), "two": "text"}
    response = requests.post(url("/echo"), data={"field": "ü"}, files=files)
    content_type = headers_of(response)["content-type"]
    boundary = content_type.partition("boundary=")[2]
    body = sent(response)["body"]
    assert content_type.startswith("multipart/form-data; boundary=")
    assert body.count(f"--{boundary}\r\n") == 3 and body.endswith(f"--{boundary}--\r\n")
    part = 'name="one"; filename="näme.txt"\r\nContent-Type: text/plain\r\nX-Part: 1\r\n\r\ncontent\r\n'
    assert part in body
    assert 'name="field"\r\n\r\nü\r\n' in body and 'name="two"; filename="two"\r\n\r\ntext\r\n' in body


def test_redirects_are_followed_and_can_be_looked_at(url: Url) -> None:
    response = requests.get(url("/redirect/3"))
    assert [earlier.status_code for earlier in response.history] == [302, 302, 302]
    response = requests.get(url("/redirect/1"), allow_redirects=False)
    assert response.is_redirect and response.next is not None
    session = requests.Session()
    session.max_redirects = 2
    with pytest.raises(requests.TooManyRedirects):
        session.get(url("/redirect/3"))


def test_errors_have_the_classes_of_requests(url: Url) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.get("http://127.0.0.1:1/")
    with pytest.raises(requests.ReadTimeout):
        requests.get(url("/delay/5000"), timeout=0.05)
    with pytest.raises(requests.HTTPError) as error:
        requests.get(url("/status/503")).raise_for_status()
    assert error.value.response.status_code == 503
    with pytest.raises(requests.exceptions.MissingSchema):
        requests.get("no-url")
    assert issubclass(requests.ReadTimeout, requests.Timeout)
    assert issubclass(requests.RequestException, OSError)


def test_a_session_has_a_default_timeout(url: Url) -> None:
    session = requests.Session()
    session.timeout = 0.05
    with pytest.raises(requests.ReadTimeout):
        session.get(url("/delay/5000"))
    assert session.get(url("/delay/100"), timeout=30).status_code == 200


def test_verify_false_is_not_overridden_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/some/path")
    session = requests.Session()
    settings = session.merge_environment_settings("https://h.example/", {}, None, None, None)
    assert settings["verify"] == "/some/path"
    session.verify = False
    settings = session.merge_environment_settings("https://h.example/", {}, None, None, None)
    assert settings["verify"] is False


def test_netrc_does_not_replace_an_authorization_that_is_given(
    url: Url, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert headers_of(requests.get(url("/echo")))["authorization"].startswith("Basic ")
    given = requests.get(url("/echo"), headers={"authorization": "Bearer mine"})
    assert headers_of(given)["authorization"] == "Bearer mine"


def test_threads_share_a_session(url: Url) -> None:
    session = requests.Session()
    with ThreadPoolExecutor(8) as executor:
        responses = list(executor.map(lambda n: session.get(url("/echo"), params={"n": n}), range(200)))
    assert [sent(response)["target"] for response in responses] == [f"/echo?n={n}" for n in range(200)]


def test_a_body_is_streamed_and_its_connection_used_again(url: Url) -> None:
    with requests.Session() as session:
        with session.get(url("/echo"), stream=True) as response:
            assert json.loads(b"".join(response.iter_content(7)))["target"] == "/echo"
            assert response.raw.closed
        lines = session.post(url("/echo"), data="x", stream=True).iter_lines()
        assert json.loads(b"".join(lines))["body"] == "x"


def recorded(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives each connection this answer, and the heads of the requests that it has seen."""
    heads: list[bytes] = []

    def serve(reader: Reader) -> None:
        if head := reader.head():
            heads.append(head)
            reader.connection.sendall(answer)

    with served(serve) as base:
        yield base, heads


def one_answer(answer: bytes) -> Iterator[str]:
    """A server that gives each connection this answer and then closes it."""
    for base, _ in recorded(answer):
        yield base


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", requests.exceptions.ChunkedEncodingError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n", requests.exceptions.ChunkedEncodingError),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nwrong",
            requests.exceptions.ContentDecodingError,
        ),
        (b"rubbish\r\n\r\n", requests.ConnectionError),
        (b"", requests.ConnectionError),
    ],
)
def test_a_response_that_is_not_whole_is_an_error(answer: bytes, error: type[Exception]) -> None:
    for base in one_answer(answer):
        with pytest.raises(error):
            requests.get(base)


def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    for base in one_answer(answer):
        session = requests.Session()
        for _ in range(5):
            assert session.get(base).text == "ok"


def test_cookies_live_as_long_as_the_session() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n\r\n"
    for base in one_answer(answer):
        session = requests.Session()
        response = session.get(base)
        assert response.cookies.get_dict() == {"a": "1", "b": "2"}
        assert session.get(base).request.headers["Cookie"] == "a=1; b=2"
        assert "Cookie" not in requests.get(base).request.headers


def test_an_adapter_of_ones_own_answers_for_its_prefix() -> None:
    class Canned(requests.adapters.BaseAdapter):
        def send(self, request: Any, **kwargs: Any) -> requests.Response:
            response = requests.Response()
            response.status_code, response._content, response.request = 218, b"canned", request
            response.url = request.url
            return response

        def close(self) -> None:
            pass

    session = requests.Session()
    session.mount("mock://", Canned())
    assert session.get("mock://anything").text == "canned"


def test_responses_and_sessions_are_pickled(url: Url) -> None:
    response = pickle.loads(pickle.dumps(requests.get(url("/echo"))))
    assert response.json()["target"] == "/echo"
    session = requests.Session()
    session.headers["X-Mine"] = "1"
    assert pickle.loads(pickle.dumps(session)).headers["x-mine"] == "1"


def test_a_proxy_is_asked_and_its_failure_named(url: Url) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy"
    for base in one_answer(answer):
        assert requests.get("http://h.example/x", proxies={"http": base}).text == "proxy"
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("http://h.example/", proxies={"http": "http://127.0.0.1:1"})


def test_header_values_were_sent_as_utf8() -> None:
    for base, heads in recorded(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"):
        requests.get(base, headers={"X-C": "\xfc", b"X-D": "\xfc".encode()})
        assert b"\r\nX-C: \xfc\r\n" in heads[0] and b"\r\nX-D: \xc3\xbc\r\n" in heads[0]
        with pytest.raises(UnicodeEncodeError):
            requests.get(base, headers={"X-C": "\u2603"})


def test_an_empty_location_was_followed() -> None:
    for base, heads in recorded(b"HTTP/1.1 302 F\r\nLocation: \r\nContent-Length: 0\r\n\r\n"):
        response = requests.get(base)
        assert (response.status_code, response.history, len(heads)) == (302, [], 1)


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("a/../echo/./b", "/echo/b"),
        ("a/b/..", "/a/"),
        ("../..", "/"),
        ("ec\nho", "/ec%0Aho"),
        ("[x]?a=50%", "/%5Bx%5D?a=50%25"),
        ("a%2fb?c=%7e&d=[]#f", "/a%2Fb?c=~&d=%5B%5D"),
        ("\xfc ?q=\xe9", "/%C3%BC%20?q=%C3%A9"),
    ],
)
def test_urls_were_not_normalised(asked: str, target: str) -> None:
    for base, heads in recorded(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"):
        requests.get(base + asked)
        assert heads[0].split(b" ")[1].decode() == target


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ("http://[::1:1/", requests.exceptions.InvalidURL),
        ("http://127.0\n.0.1/", requests.exceptions.InvalidURL),
        (5, requests.exceptions.MissingSchema),
        (None, requests.exceptions.MissingSchema),
    ],
)
def test_what_is_no_url_raised_errors_of_other_modules(
    asked: object, error: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine h.example login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with pytest.raises(error):
        requests.get(asked)


@pytest.mark.parametrize("answer", [b"", b"rubbish\r\n\r\n", b"HTTP/1.1 407 Auth\r\n\r\n"])
def test_no_tunnel_could_be_asked_for(answer: bytes) -> None:
    for base, heads in recorded(answer):
        with pytest.raises(requests.exceptions.ProxyError):
            requests.get("https://h.invalid/", proxies={"https": base})
        assert heads[0].startswith(b"CONNECT h.invalid:443 HTTP/1.")


def test_a_bytearray_could_not_be_sent(url: Url) -> None:
    for data in (bytearray(b"abc"), memoryview(b"abc")):
        response = requests.post(url("/echo"), data=data)
        assert sent(response)["body"] == "abc" and headers_of(response)["content-length"] == "3"


def test_a_folded_value_had_a_line_break() -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-A: 1\r\n  more\r\nContent-Length: 0\r\n\r\n"
    for base, _ in recorded(answer):
        response = requests.get(base)
        assert response.headers["x-a"] == "1 more"
        assert ("X-A", "1 more") in response.raw.getheaders()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "5 bytes read, 4 more expected"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "2 bytes read"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n", "2 bytes read"),
    ],
)
def test_a_body_that_was_cut_said_that_nothing_had_come(answer: bytes, message: str) -> None:
    for base, _ in recorded(answer):
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match=message):
            requests.get(base)


def test_an_adapter_with_a_context_of_its_own_did_not_use_it() -> None:
    context = ssl.create_default_context()

    class Own(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, ssl_context=context)

    prepared = requests.Request("GET", "https://h.example/").prepare()
    for adapter in (Own(), pickle.loads(pickle.dumps(requests.adapters.HTTPAdapter()))):
        endpoint, _ = adapter._endpoint(prepared, True, None, None)
        assert endpoint.context is (context if isinstance(adapter, Own) else None)
    assert endpoint.authority == "h.example"


LINES = b"line 1\nline 2\nend"


class ByHttpClient(requests.adapters.HTTPAdapter):
    """Sends its requests as those over a SOCKS proxy are."""

    def _exchange(self, *args: Any) -> Any:
        return self._by_http_client(*args)


@pytest.fixture(params=[requests.adapters.HTTPAdapter, ByHttpClient])
def either(request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    """A session by way of the client in Rust, and one by way of `http.client`."""
    with requests.Session() as session:
        session.mount("http://", request.param())
        yield session


@contextlib.contextmanager
def compressed() -> Iterator[str]:
    """A server that answers with lines in gzip."""
    body = gzip.compress(LINES)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"

    def serve(client: Reader) -> None:
        while client.head():
            client.connection.sendall(head % len(body) + body)

    with served(serve) as server:
        yield server


def test_a_raw_response_decodes_if_it_is_told_to(either: requests.Session) -> None:
    with compressed() as server:

        def raw() -> Any:
            return either.get(server, stream=True).raw

        wire, plain = io.BytesIO(), io.BytesIO()
        shutil.copyfileobj(raw(), wire)
        response = raw()
        response.decode_content = True
        shutil.copyfileobj(response, plain)
        assert gzip.decompress(wire.getvalue()) == LINES and plain.getvalue() == LINES
        assert response.tell() == len(wire.getvalue())
        response = raw()
        response.decode_content = True
        assert b"".join(response.stream(4)) == LINES
        response = raw()
        response.decode_content = True
        assert response.read(decode_content=False) == wire.getvalue()
        assert list(raw()) == [b"line 1\n", b"line 2\n", b"end"]


def test_a_raw_response_is_a_file_of_io(either: requests.Session, url: Url) -> None:
    def answer(client: Reader) -> None:
        while client.head():
            client.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(LINES), LINES))

    with served(answer) as server:

        def raw(auto_close: bool = True) -> Any:
            response = either.get(server, stream=True).raw
            response.auto_close = auto_close
            return response

        assert list(raw()) == [b"line 1\n", b"line 2\n", b"end"]
        assert io.TextIOWrapper(raw()).read() == LINES.decode()
        assert list(io.TextIOWrapper(raw(auto_close=False))) == ["line 1\n", "line 2\n", "end"]
        assert io.BufferedReader(raw()).read() == LINES
        assert list(io.BufferedReader(raw(auto_close=False))) == [b"line 1\n", b"line 2\n", b"end"]
        response = raw()
        assert isinstance(response, io.IOBase) and not response.closed and not response.isclosed()
        assert (response.readable(), response.writable(), response.seekable()) == (True, False, False)
        room = bytearray(4)
        assert (response.readinto(room), bytes(room), response.tell()) == (4, b"line", 4)
        assert response.readline() == b" 1\n" and response.read1(2) == b"li"
        assert response.read() == b"ne 2\nend" and response.closed
        assert response.readinto(room) == 0 and response.read1() == b""
        with raw() as response:
            assert response.read(1) == b"l"
        assert response.closed and response.read() == b""
        assert raw().data == LINES
        # What is read of one response is sent to another server.
        assert sent(either.post(url("/echo"), data=raw()))["body"] == LINES.decode()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", requests.exceptions.ChunkedEncodingError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", requests.exceptions.ChunkedEncodingError),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno",
            requests.exceptions.ContentDecodingError,
        ),
    ],
)
def test_a_body_that_was_cut_was_empty_when_it_was_asked_for_again(
    answer: bytes, error: type[Exception], either: requests.Session
) -> None:
    for server in one_answer(answer):
        response = either.get(server, stream=True)
        for _ in range(3):
            with pytest.raises(error):
                response.content  # noqa: B018
        with pytest.raises(error):
            response.text  # noqa: B018
        response = either.get(server, stream=True)
        for _ in range(2):
            with pytest.raises(error):
                list(response.iter_content(2))
        with pytest.raises(error):
            response.content  # noqa: B018


def test_a_location_that_is_not_utf8_led_to_another_place() -> None:
    targets: list[bytes] = []

    def serve(client: Reader) -> None:
        while head := client.head():
            targets.append(head.split()[1])
            location = b"HTTP/1.1 302 Found\r\nLocation: /e/\xfc?\xe4=%41#x\r\nContent-Length: 0\r\n\r\n"
            client.connection.sendall(OK if len(targets) % 2 == 0 else location)

    with served(serve) as server:
        assert requests.get(server).text == "ok"
        assert targets == [b"/", b"/e/%FC?%E4=A"]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("__version__", "__version__ __title__ __build__"),
        ("exceptions", "BaseHTTPError"),
        ("models", "HTTPError ConnectionError InvalidURL MissingSchema ChunkedEncodingError CaseInsensitiveDict HTTPBasicAuth"),
        ("compat", "json chardet"),
        ("utils", "urlparse parse_url DEFAULT_CA_BUNDLE_PATH"),
        ("adapters", "DEFAULT_CA_BUNDLE_PATH PoolManager DEFAULT_POOL_TIMEOUT RetryError"),
        ("cookies", "Cookie CookieJar"),
    ],
)
def test_names_that_code_imports_were_missing(module: str, names: str) -> None:
    for place in ("overlapped.requests", "requests"):
        found = importlib.import_module(f"{place}.{module}")
        assert [name for name in names.split() if not hasattr(found, name)] == []
    assert requests.__version__ == importlib.import_module("requests").__version__
    requests.check_compatibility(urllib3_version="2.0", chardet_version=None, charset_normalizer_version=None)


def test_names_of_other_packages_are_not_imported_unless_asked_for() -> None:
    modules = "{'urllib3', 'chardet', 'charset_normalizer'}"
    code = f"import sys, overlapped.requests; print(*sorted({modules} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_what_cannot_be_sent_as_it_is_said_is_refused() -> None:
    for server, heads in recorded(OK):
        with requests.Session() as session:
            prepared = requests.Request("POST", server, data="abc").prepare()
            prepared.headers["Content-Length"] = "2"
            with pytest.raises(requests.exceptions.InvalidHeader):
                session.send(prepared)
            with pytest.raises(ValueError, match="CONNECT"):
                session.request("CONNECT", server)
        assert heads == []


def test_hooks_of_an_adapter_are_called_that_the_guide_names() -> None:
    called: list[str] = []

    class Hooked(requests.adapters.HTTPAdapter):
        def cert_verify(self, *args: Any) -> None:
            called.append("cert_verify")

        def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> None:
            called.append("get_connection_with_tls_context")

        def request_url(self, *args: Any) -> str:
            called.append("request_url")
            return super().request_url(*args)

        def add_headers(self, *args: Any, **kwargs: Any) -> None:
            called.append("add_headers")

        def proxy_headers(self, proxy: str) -> dict[str, str]:
            called.append("proxy_headers")
            return super().proxy_headers(proxy)

        def build_response(self, *args: Any) -> requests.Response:
            called.append("build_response")
            return super().build_response(*args)

    for server in one_answer(OK):
        with requests.Session() as session:
            session.mount("http://", Hooked())
            assert session.get("http://h.invalid/", proxies={"http": server}).text == "ok"
    assert called == ["proxy_headers", "request_url", "add_headers", "build_response"]


def test_what_extensions_of_requests_do_with_the_body_was_missing(url: Callable[[str], str]) -> None:
    response = requests.get(url("/bytes/100000"), stream=True)
    taken = []

    class Tee:
        def __init__(self, file: Any) -> None:
            self.file, self.closed = file, False

        def read(self, amt: int | None = None) -> bytes:
            block: bytes = self.file.read(amt)
            taken.append(block)
            self.closed = self.file.closed
            return block

    response.raw._fp = Tee(response.raw._fp)
    assert not response.raw.closed and len(response.content) == 100_000 and b"".join(taken) == response.content
    assert response.raw.closed and response.raw._fp.file.isclosed()
    response.raw._fp = io.BytesIO(b"again")
    assert not response.raw.closed and response.raw.read() == b"again"


def test_names_of_a_body_of_urllib3_were_missing(url: Callable[[str], str]) -> None:
    response = requests.get(url("/redirect/1"))
    raw = response.raw
    assert raw.url == raw.geturl() == response.url == url("/redirect/0")
    assert (raw.version_string, raw.chunked, raw.retries) == ("HTTP/1.1", False, None)
    assert requests.get(url("/echo"), stream=True).raw.json()["target"] == "/echo"
    response = requests.get(url("/bytes/3000000"), stream=True)
    response.raw.drain_conn()
    assert response.raw.closed and response.raw.read() == b""
    requests.get(url("/truncate"), stream=True).raw.drain_conn()
