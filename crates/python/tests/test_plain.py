"""Plain requests go another way than all others; nothing else about them differs."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import overlapped
import pytest
from overlapped import requests
from overlapped.requests import _plain
from serving import OK, Reader, served

Url = Callable[[str], str]


def is_plain(response: requests.Response) -> bool:
    """Whether it came by the way of plain requests: nothing else about it was asked for."""
    return _plain.is_over(response)


def general(session: requests.Session, url: str) -> requests.Response:
    """The same request by the way of all others."""
    response = session.get(url, hooks={"response": lambda response, **_: response})
    assert not is_plain(response)
    return response


def test_the_bytes_of_a_plain_request_are_those_of_any_other() -> None:
    heads: list[bytes] = []

    def serve(reader: Reader) -> None:
        while head := reader.head():
            heads.append(head)
            reader.connection.sendall(OK)

    paths = ["", "a", "a/b;c=1/", "a?b=c&d=e'f", "a?", "%7Ea/%2fb", "a%zz", "a b", "./a/../b", "ä?ö#ü", "a#b", "a?b?c", "?a"]
    with served(serve) as base, requests.Session() as session:
        session.headers["X-Own"] = "Ü".encode("latin-1")
        session.headers["Accept-Encoding"] = None
        ways = [is_plain(session.get(base + path)) for path in paths]
        for path in paths:
            general(session, base + path)
        assert heads[: len(paths)] == heads[len(paths) :]
        assert all(b"X-Own: \xdc\r\n" in head and b"Accept-Encoding" not in head for head in heads)
        assert ways == [True] * 4 + [False] * 7 + [True] * 2


def test_a_plain_response_has_all_that_any_other_has(url: Url) -> None:
    with requests.Session() as session:
        session.headers["X-One"] = "1"
        plain, other = session.get(url("/echo")), general(session, url("/echo"))
        assert is_plain(plain) and plain.content == other.content and plain.ok and is_plain(plain)
        assert "X-Two" not in plain.text
        session.headers["X-Two"] = "2"
        for name in ("url", "encoding", "reason", "history", "is_redirect", "links", "next", "cookies", "connection"):
            assert getattr(plain, name) == getattr(other, name), name
        assert plain.headers.keys() == other.headers.keys()
        assert list(plain.request.headers.items()) == list(other.request.headers.items())
        assert (plain.request.method, plain.request.url) == ("GET", url("/echo"))
        assert plain.raw.status == 200 and plain.raw.read() == b"" and plain.timings is not None
        assert plain.elapsed.total_seconds() > 0
        assert not hasattr(plain, "no_such_attribute")
        plain.close()


def test_what_is_set_before_the_rest_is_asked_for_stays(url: Url) -> None:
    with requests.Session() as session:
        response = session.get(url("/echo"))
        response.encoding, response.reason = "latin-1", "mine"
        assert is_plain(response) and response.url == url("/echo") and not is_plain(response)
        assert (response.encoding, response.reason, response.status_code) == ("latin-1", "mine", 200)


def test_a_plain_response_can_be_pickled_and_copied(url: Url) -> None:
    with requests.Session() as session:
        for duplicate in (lambda response: pickle.loads(pickle.dumps(response)), copy.copy):
            response = session.get(url("/echo"))
            assert is_plain(response)
            again = duplicate(response)
            assert (again.status_code, again.content, again.url) == (200, response.content, url("/echo"))
            assert again.headers == response.headers


def test_threads_see_one_rest_of_a_response(url: Url) -> None:
    with requests.Session() as session, ThreadPoolExecutor(8) as threads:
        for _ in range(50):
            response, together = session.get(url("/echo")), threading.Barrier(8)

            def seen(response: Any = response, together: Any = together) -> tuple[int, int, int]:
                together.wait(60)
                return id(response.headers), id(response.request), id(response.raw)

            assert len(set(threads.map(lambda _, seen=seen: seen(), range(8)))) == 1


def test_a_setting_counts_from_the_next_request_on(url: Url) -> None:
    def sent(session: requests.Session) -> dict[str, str]:
        return {name.lower(): value for name, value in session.get(url("/echo")).json()["headers"]}

    with requests.Session() as session:
        assert "x-one" not in sent(session)
        session.headers["X-One"] = "1"
        assert sent(session)["x-one"] == "1"
        session.headers.update({"x-one": "2", "Host": "a.test"})
        assert (sent(session)["x-one"], sent(session)["host"]) == ("2", "a.test")
        session.headers = {"X-One": "3"}
        assert sent(session)["x-one"] == "3" and "accept" not in sent(session)
        session.headers = requests.structures.CaseInsensitiveDict({"X-One": "4"})
        assert sent(session)["x-one"] == "4"
        session.cookies.set("a", "b")
        assert sent(session)["cookie"] == "a=b"
        session.cookies.clear()
        assert "cookie" not in sent(session)
        session.auth = ("user", "word")
        assert sent(session)["authorization"].startswith("Basic ")
        session.auth, session.params = None, {"q": "1"}
        assert session.get(url("/echo")).json()["target"] == "/echo?q=1"
        session.params = {}
        session.hooks["response"].append(lambda response, **_: setattr(response, "hooked", True))
        assert session.get(url("/echo")).hooked
        session.hooks["response"].clear()
        session.headers["X-One"] = "a\nb"
        with pytest.raises(requests.exceptions.InvalidHeader):
            session.get(url("/echo"))


def test_the_environment_counts_from_the_next_request_on(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with requests.Session() as session:
        assert is_plain(session.get(url("/ok")))
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password word\n")
        assert "Basic" in session.get(url("/echo")).text
        (tmp_path / ".netrc").unlink()
        assert "Basic" not in session.get(url("/echo")).text
        with monkeypatch.context() as patch:
            patch.setenv("http_proxy", "http://127.0.0.1:1")
            patch.setenv("no_proxy", "")
            with pytest.raises(requests.exceptions.ProxyError):
                session.get(url("/ok"))
            session.trust_env = False
            assert is_plain(session.get(url("/ok")))
            session.trust_env = True
        assert is_plain(session.get(url("/ok")))


def test_an_attribute_of_an_adapter_counts_from_the_next_request_on(url: Url) -> None:
    with requests.Session() as session:
        adapter = session.get_adapter(url("/echo"))
        assert is_plain(session.get(url("/echo"))) and is_plain(session.get(url("/echo")))
        adapter.max_retries = 1
        assert not is_plain(session.get(url("/echo")))
        adapter.max_retries = 0
        assert is_plain(session.get(url("/echo")))
        adapter.add_headers = lambda request, **_: request.headers.update({"X-Added": "1"})
        assert "X-Added" in session.get(url("/echo")).text


async def test_a_netrc_file_counts_from_the_next_request_on(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with overlapped.AsyncSession() as session:

        async def sent() -> str:
            return str((await session.get(url("/echo"))).text)

        for _ in range(3):
            assert not any("Basic" in text for text in await asyncio.gather(*(sent() for _ in range(20))))
            (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password word\n")
            assert all("Basic" in text for text in await asyncio.gather(*(sent() for _ in range(20))))
            (tmp_path / ".netrc").unlink()


def test_a_proxy_in_mixed_case_was_seen_late(url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SOMETHING", "1")
    with requests.Session() as session:
        assert is_plain(session.get(url("/ok")))
        # The number of variables is the same.
        monkeypatch.delenv("SOMETHING")
        monkeypatch.setenv("Http_Proxy", "http://127.0.0.1:1")
        with pytest.raises(requests.exceptions.ProxyError):
            session.get(url("/ok"))
        monkeypatch.setenv("Http_Proxy", "")
        assert session.get(url("/ok")).ok


def test_a_change_of_the_environment_was_not_seen_by_get(url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")

    def error() -> str | None:
        (record,) = overlapped.fetch([url("/ok")], retries=0)
        single = overlapped.get(url("/ok"))
        assert single.error == record.error
        return single.error

    assert error() is None
    for name in ("http_proxy", "HTTP_PROXY", "Http_Proxy", "all_proxy", "ALL_PROXY"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "http://127.0.0.1:1")
            assert error() == "proxy.unreachable", name
            patch.setenv("NO_PROXY", "127.0.0.1")
            patch.delenv("no_proxy")
            assert error() is None
        assert error() is None
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    # A CGI script gets the field `Proxy` of its request under this name.
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    assert error() is None


def test_what_is_replaced_is_called(url: Url) -> None:
    class Mine(requests.Session):
        def send(self, request: Any, **kwargs: Any) -> Any:
            seen.append("subclass")
            return super().send(request, **kwargs)

    class Plain(requests.Session):
        pass

    class Adding(requests.adapters.HTTPAdapter):
        def add_headers(self, request: Any, **_: Any) -> None:
            request.headers["X-Added"] = "1"

    seen: list[str] = []
    Mine().get(url("/ok"))
    assert seen == ["subclass"] and is_plain(Plain().get(url("/ok")))
    answer = requests.Response()
    answer.status_code = 299
    for target, name in (
        (requests.Session, "send"),
        (requests.adapters.HTTPAdapter, "send"),
        (requests.adapters.HTTPAdapter, "build_response"),
    ):
        with mock.patch.object(target, name, return_value=answer):
            assert requests.get(url("/ok")).status_code == 299
    with mock.patch.object(requests.sessions, "get_netrc_auth", return_value=("user", "word")):
        assert "Basic" in requests.get(url("/echo")).text
    session = requests.Session()
    with mock.patch.object(session, "send", return_value=answer):
        assert session.get(url("/ok")).status_code == 299
    session.mount("http://", Adding())
    assert "X-Added" in session.get(url("/echo")).text
    session.mount("http://", requests.adapters.HTTPAdapter())
    assert is_plain(session.get(url("/ok")))
    session.mount(url("/echo"), Adding())
    assert "X-Added" in session.get(url("/echo")).text


class Shown(requests.adapters.HTTPAdapter):
    """Adds a header, and so its requests are not plain."""

    def add_headers(self, request: Any, **_: Any) -> None:
        request.headers["X-Changed"] = "1"


def set_header(session: requests.Session) -> None:
    session.headers["X-Changed"] = "1"


def replace_header(session: requests.Session) -> None:
    session.headers["Accept"] = "X-Changed"


def replace_headers(session: requests.Session) -> None:
    session.headers = {"X-Changed": "1"}


def set_cookie(session: requests.Session) -> None:
    session.cookies.set("a", "X-Changed")


def replace_cookies(session: requests.Session) -> None:
    session.cookies = requests.cookies.cookiejar_from_dict({"a": "X-Changed"})


def set_param(session: requests.Session) -> None:
    session.params["X-Changed"] = "1"


def replace_params(session: requests.Session) -> None:
    session.params = {"X-Changed": "1"}


def set_auth(session: requests.Session) -> None:
    session.auth = lambda request: request.headers.update({"X-Changed": "1"}) or request


def append_hook(session: requests.Session) -> None:
    session.hooks["response"].append(lambda response, **_: response.__dict__.update(_content=b"X-Changed"))


def replace_hooks(session: requests.Session) -> None:
    session.hooks = {"response": [lambda response, **_: response.__dict__.update(_content=b"X-Changed")]}


def mount_another(session: requests.Session) -> None:
    session.mount("http://", Shown())


def mount_longer(session: requests.Session) -> None:
    session.mount("http://127.0.0.1", Shown())


def change_an_adapter(session: requests.Session) -> None:
    session.adapters["http://"].add_headers = lambda request, **_: request.headers.update({"X-Changed": "1"})


def change_the_session(session: requests.Session) -> None:
    get_adapter = Shown()
    session.get_adapter = lambda url: get_adapter  # type: ignore[assignment,method-assign]


def change_the_class(session: requests.Session) -> None:
    session.__class__ = ShownSession


class ShownSession(requests.Session):
    """Sends another header."""

    def get_adapter(self, url: str) -> Any:
        return Shown()


CHANGES = (
    set_header,
    replace_header,
    replace_headers,
    set_cookie,
    replace_cookies,
    set_param,
    replace_params,
    set_auth,
    append_hook,
    replace_hooks,
    mount_another,
    mount_longer,
    change_an_adapter,
    change_the_session,
    change_the_class,
)


@pytest.mark.parametrize("change", CHANGES)
async def test_each_change_counts_from_the_next_request_on(change: Callable[[requests.Session], None], url: Url) -> None:
    with requests.Session() as session:
        for _ in range(2):
            assert "X-Changed" not in session.get(url("/echo")).text
        change(session)
        for _ in range(2):
            assert "X-Changed" in session.get(url("/echo")).text
    async with overlapped.AsyncSession() as session:
        for _ in range(2):
            assert "X-Changed" not in (await session.get(url("/echo"))).text
        change(session._session)
        for _ in range(2):
            assert "X-Changed" in (await session.get(url("/echo"))).text


async def test_a_session_that_asks_in_its_own_way_is_asked(url: Url) -> None:
    asked: list[str] = []

    class Based(overlapped.AsyncSession):
        async def request(self, method: Any, path: Any, **kwargs: Any) -> requests.Response:
            asked.append(path)
            return await super().request(method, url(path), **kwargs)

    class Further(Based):
        async def get(self, path: Any, **kwargs: Any) -> requests.Response:
            return await super().get("/ok", **kwargs)

    async with Based() as session, Further() as further:
        responses = [await session.get("/echo"), await session.request("GET", "/ok"), await further.get("/none")]
        assert [response.url for response in responses] == [url("/echo"), url("/ok"), url("/ok")]
    assert asked == ["/echo", "/ok", "/ok"]


def test_what_follows_from_a_response_follows(url: Url) -> None:
    answers = {
        b"/set": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
        b"/to": b"HTTP/1.1 302 Found\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n",
        b"/coded": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno",
        b"/short": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nno",
        b"/none": b"no HTTP\r\n\r\n",
    }

    def serve(reader: Reader) -> None:
        while head := reader.head():
            reader.connection.sendall(answer := answers.get(head.split()[1], OK))
            if b"close" in answer:
                return

    with served(serve) as base, requests.Session() as session:
        response = session.get(base + "to")
        assert (response.url, [hop.status_code for hop in response.history]) == (base + "end", [302])
        first = session.get(base + "to", allow_redirects=False)
        assert first.status_code == 302 and first.next is not None and first.next.url == base + "end"
        with pytest.raises(requests.exceptions.ContentDecodingError):
            session.get(base + "coded")
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="2 bytes read, 7 more expected"):
            session.get(base + "short")
        with pytest.raises(requests.exceptions.ConnectionError) as raised:
            session.get(base + "none")
        assert raised.value.request.url == base + "none"
        session.get(base + "set")
        assert session.cookies.get_dict() == {"a": "b"}


async def test_what_follows_is_awaited(url: Url) -> None:
    async with overlapped.AsyncSession() as session:
        assert is_plain(await session.get(url("/ok"), timeout=60))
        response = await session.get(url("/redirect/3"))
        assert len(response.history) == 3 and response.status_code == 200
        with pytest.raises(requests.exceptions.ReadTimeout, match="read timeout=0.01"):
            await session.get(url("/delay/60000"), timeout=(60, 0.01))
        with pytest.raises(requests.exceptions.InvalidURL):
            await session.get("http://")


async def test_requests_of_tasks_that_are_woken_together_are_all_made(url: Url) -> None:
    async with overlapped.AsyncSession(limit=40) as session, overlapped.AsyncSession() as other:

        async def some(session: overlapped.AsyncSession) -> int:
            return sum([(await session.get(url("/ok"))).status_code == 200 for _ in range(10)])

        both = [some(session) for _ in range(60)] + [some(other) for _ in range(60)]
        assert await asyncio.wait_for(asyncio.gather(*both), 60) == [10] * 120


async def test_a_request_that_is_given_up_before_it_left_is_not_made() -> None:
    seen: list[bytes] = []

    def serve(reader: Reader) -> None:
        while head := reader.head():
            seen.append(head.split()[1])
            reader.connection.sendall(OK)

    with served(serve) as base:
        async with overlapped.AsyncSession() as session:

            async def one(path: str) -> None:
                await session.get(base + path)

            await one("first")
            # In the pass of the loop that has the response, further requests are held back; this one is then given up.
            given_up = asyncio.ensure_future(one("given-up"))
            await asyncio.sleep(0)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            await one("last")
    # It may have left, on a connection of its own, which the server may serve later.
    assert seen[0] == b"/first" and b"/last" in seen and len(seen) <= 3


def test_one_url_gives_its_record(url: Url) -> None:
    record = overlapped.get(url("/echo"), headers={"X-One": "1"}, body=b"hello", timeout=60)
    assert (record.status, record.ok, record.method) == (200, True, "POST")
    assert ["x-one", "1"] in [[name.lower(), value] for name, value in record.json()["headers"]]
    record = overlapped.get(url("/redirect/2"))
    assert (record.status, record.redirects, record.row) == (200, 2, record.row)
    failed = overlapped.get("http://127.0.0.1:1/")
    assert (failed.ok, failed.status, failed.error) == (False, None, "connect.refused")
    assert overlapped.get("no url").error == "input.url"
    with pytest.raises(TypeError):
        overlapped.get(7)  # type: ignore[arg-type]
    with ThreadPoolExecutor(8) as threads:
        records = threads.map(overlapped.get, [url("/ok")] * 200)
        assert sum(record.status == 200 for record in records) == 200
