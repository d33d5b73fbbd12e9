"""`overlapped.requests` on the client in Rust: what the connection sees, and what a waiting thread does meanwhile."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from overlapped import requests
from overlapped.requests import _places
from programs import run_python
from serving import OK, Reader, served

Url = Callable[[str], str]


def answer_all(reader: Reader) -> None:
    while reader.head():
        reader.connection.sendall(OK)


def test_the_phases_of_a_request_are_told(url: Url) -> None:
    with requests.Session() as session:
        first, second = session.get(url("/ok")).timings, session.get(url("/ok")).timings
        assert first is not None and first.connect is not None and first.wait is not None
        assert second is not None and second.connect is None and second.total > 0
        assert "wait=" in repr(second)


def test_a_body_that_comes_in_pieces_is_given_on_in_pieces() -> None:
    taken = threading.Event()

    def serve(reader: Reader) -> None:
        reader.head()
        reader.connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert taken.wait(60)
        reader.connection.sendall(b"6\r\nsecond\r\n0\r\n\r\n")

    with served(serve) as base, requests.get(base, stream=True, timeout=60) as response:
        pieces = response.iter_content(512)
        assert next(pieces) == b"first"
        taken.set()
        assert list(pieces) == [b"second"]


def test_a_body_that_is_sent_may_come_from_a_response(url: Url) -> None:
    with requests.Session() as session:
        download = session.get(url("/text/300000"), stream=True)
        blocks = (block for block in download.iter_content(10_000))
        seen: list[int] = []

        def passed_on() -> Iterator[bytes]:
            for block in blocks:
                # A request within a request.
                seen.append(session.get(url("/ok")).status_code)
                yield block

        assert len(session.post(url("/echo"), data=passed_on()).json()["body"]) == 300_000
        assert seen == [200] * 30


def test_an_error_of_the_iterator_reaches_the_caller_and_the_connection_is_closed() -> None:
    sent: list[bytes] = []
    there, closed = threading.Event(), threading.Event()

    def serve(reader: Reader) -> None:
        reader.head()
        there.set()
        try:
            while block := reader.connection.recv(65536):
                sent.append(block)
        finally:
            closed.set()

    def body() -> Iterator[bytes]:
        yield b"begun"
        assert there.wait(60)
        raise LookupError("the rest is lost")

    with served(serve) as base:
        with pytest.raises(LookupError, match="the rest is lost"):
            requests.post(base, data=body())
        assert closed.wait(60) and b"0\r\n\r\n" not in b"".join(sent)


def test_an_answer_that_comes_before_the_body_was_sent_ends_the_sending() -> None:
    def serve(reader: Reader) -> None:
        reader.head()
        reader.connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        while reader.connection.recv(65536):
            pass

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(65536)

    with served(serve) as base:
        assert requests.post(base, data=endless(), timeout=60).status_code == 413


def test_the_wait_for_an_answer_to_a_stream_had_no_limit() -> None:
    def serve(reader: Reader) -> None:
        reader.head()
        while reader.connection.recv(65536):
            pass

    with served(serve) as base, pytest.raises(requests.ReadTimeout):
        requests.post(base, data=iter([b"a", b"b"]), timeout=(60, 0.2))


PROGRAM = """
import signal, sys, threading
from overlapped import requests

print("ready", flush=True)
try:
    requests.get(sys.argv[1], stream=True).content
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
def test_ctrl_c_interrupts_a_request(answer: bytes) -> None:
    there, closed = threading.Event(), threading.Event()

    def serve(reader: Reader) -> None:
        reader.head()
        reader.connection.sendall(answer)
        there.set()
        try:
            while reader.connection.recv(65536):
                pass
        finally:
            closed.set()

    with served(serve) as base:
        command = [sys.executable, "-c", PROGRAM, base]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            assert there.wait(60)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60)[0] == "interrupted\n"
            assert process.returncode == 0 and closed.wait(60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_makes_connections_of_its_own() -> None:
    connections: list[int] = []

    def serve(reader: Reader) -> None:
        connections.append(1)
        answer_all(reader)

    with served(serve) as base:
        code = f"""
import os
from overlapped import requests

session = requests.Session()
held = session.get({base!r}, stream=True)
assert session.get({base!r}).text == "ok"
child = os.fork()
if child == 0:
    assert session.get({base!r}).text == "ok"
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert session.get({base!r}).text == "ok" and held.text == "ok"
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert 2 <= len(connections) <= 3


def test_retries_are_made_where_they_are_asked_for() -> None:
    asked: list[bytes] = []

    def serve(reader: Reader) -> None:
        while head := reader.head():
            asked.append(head.split(b" ")[0])
            after = b"" if b"alone " in head else b"Retry-After: 0\r\n"
            again = b"HTTP/1.1 503 Busy\r\n" + after + b"Content-Length: 0\r\n\r\n"
            reader.connection.sendall(again if len(asked) < 3 else OK)

    with served(serve) as base:
        assert requests.Session().get(base).status_code == 503 and len(asked) == 1
        asked.clear()
        assert requests.Session(retries=5).get(base).text == "ok" and len(asked) == 3
        asked.clear()
        # It may not be sent twice, unless the server says with Retry-After that it has not carried it out.
        assert requests.Session(retries=5).post(base + "alone").status_code == 503 and len(asked) == 1
        asked.clear()
        assert requests.Session(retries=5).post(base).text == "ok" and len(asked) == 3


def test_a_host_has_as_many_requests_as_it_may_have() -> None:
    lock, running, most = threading.Lock(), [0], [0]
    full = threading.Event()

    def serve(reader: Reader) -> None:
        while reader.head():
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
                if running[0] == 3:
                    full.set()
            assert full.wait(60)
            with lock:
                running[0] -= 1
            reader.connection.sendall(OK)

    with served(serve) as base, requests.Session(max_per_host=3) as session, ThreadPoolExecutor(12) as executor:
        assert [response.text for response in executor.map(session.get, [base] * 24)] == ["ok"] * 24
        assert most[0] == 3
        # A response that was not read keeps its place until it is closed.
        held = [session.get(base, stream=True) for _ in range(3)]
        for response in held:
            response.close()
        assert session.get(base).text == "ok"
    with pytest.raises(ValueError, match="max_per_host"):
        requests.Session(max_per_host=0)


def test_certificates_are_verified_as_each_request_says(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    peers: list[object] = []

    def serve(reader: Reader) -> None:
        assert isinstance(reader.connection, ssl.SSLSocket)
        while reader.head():
            peers.append(reader.connection.getpeercert())
            reader.connection.sendall(OK)

    ca, wrong, folder = tmp_path / "ca.pem", tmp_path / "wrong.pem", tmp_path / "folder"
    folder.mkdir()
    for path, issuer in ((ca, authority), (wrong, other), (folder / "ca.pem", authority)):
        issuer.cert_pem.write_to_path(str(path))
    mine = authority.issue_cert("me@example.org")
    chain, key, both = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "both.pem"
    mine.cert_chain_pems[0].write_to_path(str(chain))
    mine.private_key_pem.write_to_path(str(key))
    mine.private_key_and_cert_chain_pem.write_to_path(str(both))
    with served(serve, context) as base, requests.Session() as session:
        session.trust_env = False
        for verify in (True, str(wrong)):
            with pytest.raises(requests.exceptions.SSLError):
                session.get(base, verify=verify)
        for verify in (False, str(ca), str(folder)):
            assert session.get(base, verify=verify).text == "ok"
        with pytest.raises(requests.exceptions.SSLError):
            session.get(base)
        assert len(peers) == 3 and not any(peers)
        for cert in ((str(chain), str(key)), str(both)):
            assert session.get(base, verify=str(ca), cert=cert).text == "ok"
            assert peers[-1]
        with pytest.raises(requests.exceptions.SSLError):
            session.get(base, verify=str(key))
        with pytest.raises(OSError, match="no.pem"):
            session.get(base, verify=str(tmp_path / "no.pem"))


def test_a_proxy_that_forwards_gets_whole_urls_and_who_asks() -> None:
    heads: list[bytes] = []

    def serve(reader: Reader) -> None:
        while head := reader.head():
            heads.append(head)
            denies = b"/denied" in head
            reader.connection.sendall(b"HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n" if denies else OK)

    with served(serve) as base, requests.Session() as session:
        session.proxies = {"http": base.replace("//", "//me:s%40cret@")}
        assert session.get("http://h.example:81/a?b", headers={"X-One": "1"}).text == "ok"
        own = {"Proxy-Authorization": "Own"}
        assert session.get("http://h.example/", headers=own).text == "ok"
        # What the proxy answers by itself is a response too.
        assert session.get("http://h.example/denied").status_code == 407
    assert heads[0].startswith(b"GET http://h.example:81/a?b HTTP/1.1\r\nHost: h.example:81\r\n")
    assert b"\r\nX-One: 1\r\n" in heads[0] and heads[0].count(b"\r\nProxy-Authorization: Basic bWU6c0BjcmV0\r\n") == 1
    assert b"\r\nProxy-Authorization: Own\r\n" in heads[1] and b"Basic" not in heads[1]


def test_a_tunnel_is_asked_for_and_kept(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    heads: list[bytes] = []

    def serve(reader: Reader) -> None:
        heads.append(reader.head())
        reader.connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        with context.wrap_socket(reader.connection, server_side=True) as tls:
            answer_all(Reader(tls))

    with served(serve) as base, requests.Session() as session:
        proxies = {"https": base.replace("//", "//me:secret@")}
        for _ in range(2):
            assert session.get("https://localhost/", proxies=proxies, verify=str(tmp_path / "ca.pem")).text == "ok"
    assert len(heads) == 1 and heads[0].startswith(b"CONNECT localhost:443 HTTP/1.1\r\n")
    assert b"proxy-authorization: basic bwu6c2vjcmv0\r\n" in heads[0].lower()


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_is_asked_for_a_connection(scheme: str) -> None:
    asked: list[bytes] = []

    def serve(reader: Reader) -> None:
        assert reader.connection.recv(3)[:1] == b"\x05"
        reader.connection.sendall(b"\x05\x00")
        asked.append(reader.connection.recv(512))
        reader.connection.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
        answer_all(reader)

    with served(serve) as base:
        proxy = base.replace("http://", f"{scheme}://").rstrip("/")
        assert requests.get("http://localhost:81/", proxies={"http": proxy}, timeout=60).text == "ok"
    # The name, or one of its addresses.
    assert (b"localhost" in asked[0]) == (scheme == "socks5h") and asked[0].endswith(b"\x00\x51")


def test_hooks_that_ask_the_same_host_waited_for_the_places_of_their_own_requests(url: Url) -> None:
    session, together = requests.Session(max_per_host=3), threading.Barrier(3, timeout=60)

    def hook(response: requests.Response, **_: object) -> None:
        together.wait()
        response.headers["token"] = session.get(url("/bytes/300000"), hooks={"response": []}).content[:1].hex()

    def ask(_: int) -> bool:
        response = session.get(url("/bytes/3000000"), hooks={"response": hook})
        return len(response.content) == 3_000_000 and len(response.headers["token"]) == 2

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(ask, range(3))) == [True] * 3
    # All places are free again, and no more than these.
    streams = [session.get(url("/bytes/3000000"), stream=True) for _ in range(3)]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(session.get, url("/ok"))
        assert not waiting.done()
        streams.pop().close()
        assert waiting.result(60).ok


def test_the_iterator_of_a_body_that_asks_the_same_host_waited_for_the_place_of_its_request(url: Url) -> None:
    session = requests.Session(max_per_host=1)

    def body() -> Iterator[bytes]:
        yield session.get(url("/ok")).content

    assert session.post(url("/echo"), data=body()).json()["body"] == "ok\n"


def test_a_thread_waited_for_its_own_unread_response(url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"""
        import threading
        from overlapped import requests

        assert threading.active_count() == 1
        with requests.Session(max_per_host=2) as session:
            held = [session.get({url("/bytes/3000000")!r}, stream=True) for _ in range(2)]
            try:
                session.get({url("/ok")!r})
            except RuntimeError as error:
                assert "all places of 127.0.0.1 (max_per_host=2)" in str(error)
            else:
                raise AssertionError
            held[0].content
            assert session.get({url("/ok")!r}).ok
        """
    done = run_python(program, seconds=60)
    assert (done.returncode, done.stderr) == (0, "")
    # Another thread might read it; it is waited for, but not for ever.
    monkeypatch.setattr(_places, "HANDED_OVER_SECONDS", 0.1)
    over = threading.Event()
    with ThreadPoolExecutor(1) as threads, requests.Session(max_per_host=1) as session:
        threads.submit(over.wait, 60)
        with session.get(url("/bytes/3000000"), stream=True):
            with pytest.raises(RuntimeError, match="max_per_host=1"):
                session.get(url("/ok"))
        assert session.get(url("/ok")).ok
        over.set()


def test_a_response_that_another_thread_reads_is_waited_for(url: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_places, "HANDED_OVER_SECONDS", 0.1)
    with ThreadPoolExecutor(1) as threads, requests.Session(max_per_host=1) as session:
        response = session.get(url("/drip?bytes=20&every_ms=50"), stream=True)
        begun = threading.Event()

        def read() -> int:
            blocks = response.iter_content(1)
            next(blocks)
            begun.set()
            return 1 + sum(map(len, blocks))

        count = threads.submit(read)
        assert begun.wait(60) and session.get(url("/ok")).ok and count.result(60) == 20
