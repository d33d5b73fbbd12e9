"""Every option of `overlapped.fetch` does what its name says."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import overlapped
import pytest
import trustme
from serving import OK, Reader, served

Url = Callable[[str], str]


def one(urls: Any, **options: Any) -> overlapped.Record:
    """The only record of a run."""
    (record,) = overlapped.fetch([urls], **{"retries": 0, **options})
    return record


def sent(record: overlapped.Record) -> dict[str, str]:
    """The header fields that the server got."""
    return {name.lower(): value for name, value in record.json()["headers"]}


@contextlib.contextmanager
def crowded() -> Iterator[tuple[str, list[int]]]:
    """A server that answers when two requests are there, and how many there were at most."""
    running, most = [0], [0]
    lock, two = threading.Lock(), threading.Event()

    def serve(reader: Reader) -> None:
        while reader.head():
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
                if running[0] == 2:
                    two.set()
            assert two.wait(60)
            with lock:
                running[0] -= 1
            reader.connection.sendall(OK)

    with served(serve) as base:
        yield base, most


@contextlib.contextmanager
def counted(answer: Callable[[bytes], bytes] = lambda head: OK) -> Iterator[tuple[str, list[bytes]]]:
    """A server, and the heads that it got."""
    heads: list[bytes] = []

    def serve(reader: Reader) -> None:
        while head := reader.head():
            heads.append(head)
            reader.connection.sendall(answer(head))

    with served(serve) as base:
        yield base, heads


def test_ordered(url: Url) -> None:
    go_on = threading.Event()

    def serve(reader: Reader) -> None:
        while head := reader.head():
            if b"GET /first " in head:
                assert go_on.wait(60)
            reader.connection.sendall(OK)

    with served(serve) as base:
        run = overlapped.fetch([base + "first", base + "second"], ordered=False)
        assert next(run).row == 1
        go_on.set()
        assert [record.row for record in run] == [0]


@pytest.mark.parametrize("name", ["limit", "per_host"])
def test_limit_and_per_host(name: str) -> None:
    with crowded() as (base, most):
        assert [record.status for record in overlapped.fetch([base] * 12, **{name: 2})] == [200] * 12
        assert most == [2]


def test_rate() -> None:
    with counted() as (base, heads), overlapped.fetch([base] * 9, rate=1e-6) as run:
        assert next(run).status == 200
        run.cancel()
        assert list(run) == [] and len(heads) == 1


def test_rate_per_host() -> None:
    with counted() as (base, heads):
        other = base.replace("127.0.0.1", "localhost")
        with overlapped.fetch([base, base, other, other], rate_per_host=1e-6, ordered=False) as run:
            assert {next(run).host, next(run).host} == {"127.0.0.1", "localhost"}
            run.cancel()
            assert list(run) == [] and len(heads) == 2


def test_retries(url: Url) -> None:
    assert [one(url("/close"), retries=retries).attempts for retries in (0, 2)] == [1, 3]


def test_timeout(url: Url) -> None:
    assert "timeout" in str(one(url("/silent"), timeout=0.05).error)
    assert one(url("/ok"), timeout=None).ok


def test_host_down_after() -> None:
    record = one("http://127.0.0.1:1/", host_down_after=0.5)
    assert (record.error, record.status) == ("connect.refused", None)


def test_connect_timeout(url: Url) -> None:
    # With a queue of connections that is full, the system answers no further one.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as queue:
        for _ in range(8):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        record = one(f"http://127.0.0.1:{listener.getsockname()[1]}/", connect_timeout=0.05)
        assert record.error == "connect.timeout"
    assert one(url("/ok"), connect_timeout=None).ok


def test_method_headers_and_body(url: Url) -> None:
    record = one(url("/echo"), method="PUT", headers={"X-One": "1"}, body=b"hello")
    assert (record.json()["method"], record.json()["body"], sent(record)["x-one"]) == ("PUT", "hello", "1")


def test_auth_and_bearer(url: Url) -> None:
    assert sent(one(url("/echo"), auth=("user", "word")))["authorization"] == "Basic dXNlcjp3b3Jk"
    assert sent(one(url("/echo"), bearer="token"))["authorization"] == "Bearer token"


def test_max_body(url: Url) -> None:
    assert one(url("/bytes/1000"), max_body=999).error == "body.too_large"
    assert one(url("/bytes/1000"), max_body=1000).ok


def test_max_redirects(url: Url) -> None:
    assert one(url("/redirect/2"), max_redirects=0).status == 302
    assert one(url("/redirect/2"), max_redirects=1).error == "redirect.too_many"
    assert one(url("/redirect/2"), max_redirects=2).redirects == 2


def spools() -> int:
    """How many files without a name this process has open."""
    numbers = os.listdir("/proc/self/fd")
    names = []
    for number in numbers:
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{number}"))
    return sum(name.startswith("/") and name.endswith(" (deleted)") for name in names)


def test_max_memory(url: Url) -> None:
    before = spools()
    with overlapped.fetch([url("/bytes/1000000")] * 20, max_memory=4 << 20) as run:
        for _ in range(6000):
            if spools() > before:
                break
            time.sleep(0.01)
        assert spools() > before and [len(record.body) for record in run] == [1_000_000] * 20
    with overlapped.fetch([url("/bytes/1000000")] * 20) as run:
        assert [len(record.body) for record in run] == [1_000_000] * 20 and spools() <= before + 1


def test_keep_body_and_sha256(url: Url) -> None:
    record = one(url("/bytes/1000"), sha256=True)
    assert record.sha256 == hashlib.sha256(record.body).hexdigest()
    record = one(url("/bytes/1000"), keep_body=False)
    assert (record.bytes, record.body, record.sha256) == (1000, b"", None)


def test_fail(url: Url) -> None:
    assert one(url("/status/404"), fail=[(500, 599)]).ok
    assert one(url("/ok"), fail=[(200, 200), (500, 599)]).error == "status"


def test_robots() -> None:
    rules = b"User-agent: *\nDisallow: /no\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(rules), rules)
    with counted(lambda head: answer if b" /robots.txt " in head else OK) as (base, heads):
        assert one(base + "no", robots=True).error == "policy.robots"
        assert [head.split()[1] for head in heads] == [b"/robots.txt"]
        assert one(base + "no").ok


def test_public_only(url: Url) -> None:
    assert str(one(url("/ok"), public_only=True).error).startswith("policy.")


def test_ca_file_and_insecure_hosts(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def serve(reader: Reader) -> None:
        while reader.head():
            reader.connection.sendall(OK)

    with served(serve, context) as base:
        assert str(one(base).error).startswith("tls.")
        assert one(base, ca_file=tmp_path / "ca.pem").ok
        assert one(base, insecure_hosts=["localhost"]).ok
        assert not one(base, insecure_hosts=["other.test"]).ok


def test_hsts(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def serve(reader: Reader) -> None:
        while reader.head():
            reader.connection.sendall(OK.replace(b"\r\n\r\n", b"\r\nStrict-Transport-Security: max-age=60\r\n\r\n"))

    with served(serve, context) as base:
        rows = [base, base.replace("https:", "http:")]
        options: dict[str, Any] = {"ca_file": tmp_path / "ca.pem", "limit": 1, "retries": 0}
        first, second = overlapped.fetch(rows, hsts=True, **options)
        assert first.ok and second.ok and second.notes == ["hsts"]
        first, second = overlapped.fetch(rows, **options)
        assert first.ok and not second.ok and second.notes == []


def test_body_dir(url: Url, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"from a file")
    (tmp_path / "secret").write_bytes(b"not for them")
    row = {"url": url("/echo"), "body_file": "a.txt"}
    record = one(row, body_dir=tmp_path / "in")
    assert record.json()["body"] == "from a file" and record.method == "POST"
    assert one({**row, "body_file": Path("a.txt")}, body_dir=str(tmp_path / "in")).ok
    assert not one(row).ok
    assert not one({**row, "body_file": "../secret"}, body_dir=tmp_path / "in").ok
    with pytest.raises(ValueError, match="row 0: a row has either a body or a body_file"):
        one({**row, "body": "b"}, body_dir=tmp_path / "in")


def test_hosts(url: Url) -> None:
    mine = {"headers": {"X-Own": "1", "User-Agent": "mine"}, "auth": ("user", "word")}
    rows = [url("/echo"), url("/echo").replace("127.0.0.1", "localhost")]
    own, other = map(sent, overlapped.fetch(rows, headers={"X-All": "1"}, hosts={"127.0.0.1": mine}))
    assert (own["x-own"], own["user-agent"], own["x-all"]) == ("1", "mine", "1") and own["authorization"].startswith("Basic ")
    assert other["x-all"] == "1" and not {"x-own", "authorization"} & other.keys()
    assert sent(one(rows[0], hosts={"127.0.0.1": {"bearer": "token"}}))["authorization"] == "Bearer token"
    with counted() as (proxy, heads):
        assert one("http://a.invalid/", hosts={"a.invalid": {"proxy": proxy}}).ok
        assert one(rows[0], proxies=proxy, hosts={"127.0.0.1": {"proxy": None}}).ok
        assert [head.split()[1] for head in heads] == [b"http://a.invalid/"]


def test_hosts_have_limits_of_their_own() -> None:
    with crowded() as (base, most):
        assert all(record.ok for record in overlapped.fetch([base] * 6, hosts={"127.0.0.1": {"limit": 2}}))
        assert most == [2]
    with counted() as (base, heads):
        begin = time.monotonic()
        assert all(record.ok for record in overlapped.fetch([base] * 4, hosts={"127.0.0.1": {"rate": 10}}))
        assert time.monotonic() - begin > 0.25
    for hosts, error, message in (
        ({"a.test": {"limits": 1}}, ValueError, "hosts\\['a.test'\\] has no key 'limits'; it may have limit, rate"),
        ({"a.test": {"limit": -1}}, ValueError, "limit in hosts\\['a.test'\\] is -1; it must be between 0"),
        ({"a.test": {"limit": True}}, TypeError, "limit in hosts\\['a.test'\\] must be an int or None, not bool"),
        ({"a.test": {"rate": 0}}, ValueError, "rate in hosts\\['a.test'\\] is 0"),
        ({"a.test": {"rate": True}}, TypeError, "rate in hosts\\['a.test'\\] must be a number or None, not bool"),
        ({"a.test": {"bearer": ""}}, ValueError, "bearer in hosts\\['a.test'\\] is empty; None sends no token"),
        ({"a.test/": {}}, ValueError, "a.test/"),
    ):
        with pytest.raises(error, match=message):
            overlapped.fetch([], hosts=hosts)  # type: ignore[arg-type]


def test_proxies(url: Url) -> None:
    with counted() as (proxy, heads):
        for proxies in (proxy, {"http": proxy}, {"all": proxy}):
            assert one("http://a.invalid/", proxies=proxies).ok
        assert [head.split()[1] for head in heads] == [b"http://a.invalid/"] * 3
        assert one(url("/ok"), proxies={"all": proxy, "no_proxy": "127.0.0.1"}).ok and len(heads) == 3
    with pytest.raises(ValueError, match="proxies has no key 'ftp'"):
        overlapped.fetch([], proxies={"ftp": "x"})


def test_threads(url: Url) -> None:
    hosts = [url("/ok").replace("127.0.0.1", f"127.0.0.{number}") for number in range(1, 60)]
    goes_on = threading.Event()

    def rows() -> Iterator[str]:
        yield from hosts
        goes_on.wait(60)

    for threads in (1, 8):
        goes_on.clear()
        before = set(os.listdir("/proc/self/task"))
        run = overlapped.fetch(rows(), threads=threads)
        assert next(run).ok
        more = set(os.listdir("/proc/self/task")) - before
        # Beside those that fetch there are some that read and write.
        assert (len(more) >= 8) == (threads == 8)
        goes_on.set()
        assert len(list(run)) == len(hosts) - 1


def test_out_resume_retry_failed_and_overwrite(url: Url, tmp_path: Path) -> None:
    out, state = tmp_path / "results.ndjson", {"status": b"503 No"}

    def answer(head: bytes) -> bytes:
        return OK if b" /ok " in head else b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % state["status"]

    def statuses() -> list[int]:
        return [record["status"] for record in map(json.loads, out.read_text().splitlines())]

    with counted(answer) as (base, heads):
        rows = [base + "ok", base + "other"]
        overlapped.fetch(rows, out=out, retries=0).wait()
        assert (statuses(), len(heads)) == ([200, 503], 2)
        with pytest.raises(FileExistsError):
            overlapped.fetch(rows, out=out, retries=0)
        overlapped.fetch(rows, out=out, retries=0, resume=True).wait()
        assert (statuses(), len(heads)) == ([200, 503], 2)
        state["status"] = b"200 OK"
        overlapped.fetch(rows, out=out, retries=0, retry_failed=True).wait()
        assert (statuses(), len(heads)) == ([200, 200], 3)
        overlapped.fetch(rows[:1], out=out, retries=0, overwrite=True).wait()
        assert (statuses(), len(heads)) == ([200], 4)


def test_progress(url: Url, capsys: pytest.CaptureFixture[str]) -> None:
    overlapped.fetch([url("/ok")], progress=True).wait()
    shown = threading.Event()
    text = ""
    for _ in range(6000):
        text += capsys.readouterr().err
        if text.endswith("\n"):
            break
        shown.wait(0.01)
    assert "1/1 (100%) done" in text


def test_no_option_is_left_out() -> None:
    named = "_and_".join(name for name in globals() if name.startswith("test_"))
    options = set(inspect.signature(overlapped.fetch).parameters) - {"urls"}
    assert {option for option in options if option not in named} == set()
