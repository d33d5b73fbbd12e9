"""Sessions over HTTP/2 whose server resets streams, ends the connection, or stays silent; and their threads, tasks and forks."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import overlapped
import pytest
import trustme
from hyperframe.frame import GoAwayFrame, SettingsFrame
from overlapped import requests
from programs import run_python
from serving import Reader, served

BIG = 1_000_000


class Server:
    """What a path names is what happens to its stream, or to the connection."""

    def __init__(self) -> None:
        self.url = self.ca = ""
        self.lock = threading.Lock()
        self.connections = 0
        self.paths: list[str] = []
        self.resets: list[str] = []
        # GOAWAY is sent once.
        self.has_gone = False
        self.streams_at_once = 100

    def serve(self, reader: Reader) -> None:
        with self.lock:
            self.connections += 1
        Connection(self, reader.connection).run()


class Connection:
    """One connection of the server."""

    def __init__(self, server: Server, connection: Any) -> None:
        self.server, self.socket = server, connection
        self.protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        # By stream: its path, and what is to be sent.
        self.open: dict[int, str] = {}
        self.left: dict[int, bytes] = {}
        # Streams from this one on are not served.
        self.gone_from = 2**31

    def run(self) -> None:
        self.protocol.initiate_connection()
        self.flush()
        # h2 would end the connection for streams that a client has begun before it could know the limit.
        limit = SettingsFrame(settings={SettingsFrame.MAX_CONCURRENT_STREAMS: self.server.streams_at_once})
        self.socket.sendall(limit.serialize())
        while block := self.socket.recv(65536):
            for event in self.protocol.receive_data(block):
                self.handle(event)
            self.send()
            self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.protocol.data_to_send())

    def handle(self, event: Any) -> None:
        if (getattr(event, "stream_id", None) or 0) >= self.gone_from:
            return
        if isinstance(event, h2.events.RequestReceived):
            path = dict(event.headers)[b":path"].decode()
            with self.server.lock:
                self.server.paths.append(path)
            self.open[event.stream_id] = path
        elif isinstance(event, h2.events.DataReceived):
            self.protocol.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            with self.server.lock:
                self.server.resets.append(self.open.pop(event.stream_id, ""))
            self.left.pop(event.stream_id, None)
        if isinstance(event, h2.events.StreamEnded):
            self.answer(event.stream_id, self.open[event.stream_id])

    def answer(self, stream: int, path: str) -> None:
        if path.startswith("/never"):
            return
        if path.startswith("/reset"):
            self.protocol.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            self.open.pop(stream)
            return
        if path.startswith("/gone") and not self.server.has_gone:
            # This stream is the first that is not served any more. h2 would end the connection at once.
            self.server.has_gone, self.gone_from = True, stream
            self.flush()
            self.socket.sendall(GoAwayFrame(stream_id=0, last_stream_id=stream - 2).serialize())
            return
        self.protocol.send_headers(stream, [(":status", "200")])
        if path.startswith("/cut"):
            self.protocol.send_data(stream, b"begin")
            self.protocol.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            self.open.pop(stream)
            return
        self.left[stream] = b"b" * BIG if path.startswith("/big") else path.encode()

    def send(self) -> None:
        for stream, left in list(self.left.items()):
            while left and (room := min(self.protocol.local_flow_control_window(stream), 16384)) > 0:
                self.protocol.send_data(stream, left[:room])
                left = left[room:]
            self.left[stream] = left
            if not left:
                self.protocol.end_stream(stream)
                del self.left[stream]
                self.open.pop(stream, None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    seen = Server()
    seen.ca = str(tmp_path / "ca.pem")
    with served(seen.serve, context) as url:
        seen.url = url
        yield seen


@pytest.fixture
def session(server: Server) -> Iterator[requests.Session]:
    with requests.Session(http2=True) as session:
        session.verify = server.ca
        yield session


def outcome(session: requests.Session, url: str) -> str:
    try:
        return str(session.get(url, timeout=60).text)
    except requests.RequestException as error:
        return type(error).__name__


def test_a_stream_that_is_reset_fails_alone(server: Server, session: requests.Session) -> None:
    assert outcome(session, server.url + "first") == "/first"
    names = [f"reset{number}" if number % 3 == 0 else f"ok{number}" for number in range(60)]
    with ThreadPoolExecutor(12) as threads:
        outcomes = list(threads.map(lambda name: outcome(session, server.url + name), names))
    assert outcomes == ["ConnectionError" if name.startswith("reset") else f"/{name}" for name in names]
    assert server.connections == 1
    assert all(server.paths.count(f"/{name}") == 1 for name in names if name.startswith("ok"))


def test_a_body_that_is_reset_is_not_taken_for_a_whole_one(server: Server, session: requests.Session) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        session.get(server.url + "cut")
    with session.get(server.url + "cut", stream=True) as response:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(response.iter_content(1))
    assert outcome(session, server.url + "ok") == "/ok"


def test_what_a_server_that_leaves_has_not_served_is_sent_again(server: Server, session: requests.Session) -> None:
    assert outcome(session, server.url + "first") == "/first"
    names = ["gone", *(f"ok{number}" for number in range(20))]
    with ThreadPoolExecutor(len(names)) as threads:
        outcomes = list(threads.map(lambda name: outcome(session, server.url + name), names))
    assert outcomes == [f"/{name}" for name in names]
    assert server.connections >= 2
    # Those that are not safe to be sent twice were not processed, and are sent again too.
    server.has_gone = False
    assert session.post(server.url + "gone-post", data=b"x").text == "/gone-post"


def test_more_threads_than_a_connection_has_streams(server: Server, session: requests.Session) -> None:
    server.streams_at_once = 2
    names = [f"ok{number}" for number in range(40)]
    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(lambda name: outcome(session, server.url + name), names)) == [f"/{name}" for name in names]
    assert sorted(server.paths) == sorted(f"/{name}" for name in names)
    assert server.connections <= 20


def test_a_limit_in_time_ends_one_stream(server: Server, session: requests.Session) -> None:
    assert outcome(session, server.url + "first") == "/first"
    with ThreadPoolExecutor(2) as threads:
        never = threads.submit(session.get, server.url + "never", timeout=(60, 0.5))
        assert outcome(session, server.url + "other") == "/other"
        with pytest.raises(requests.ReadTimeout):
            never.result()
    assert outcome(session, server.url + "last") == "/last"
    assert server.connections == 1


def test_a_body_that_nobody_reads_does_not_stop_others(server: Server, session: requests.Session) -> None:
    with session.get(server.url + "big-unread", stream=True) as unread:
        assert next(unread.iter_content(10)) == b"b" * 10
        for number in range(5):
            assert len(session.get(f"{server.url}big{number}", timeout=60).content) == BIG
    assert outcome(session, server.url + "last") == "/last"
    assert server.connections == 1


def test_a_cancelled_task_ends_one_stream(server: Server) -> None:
    async def main() -> None:
        async with overlapped.AsyncSession(http2=True) as session:
            session.verify = server.ca
            await session.get(server.url + "first")
            for name, options in (("never-plain", {}), ("never-other", {"params": {"a": "b"}})):
                tasks = [asyncio.create_task(session.get(f"{server.url}{name}{number}", **options)) for number in range(10)]
                others = asyncio.gather(*(session.get(f"{server.url}ok{number}") for number in range(50)))
                await asyncio.sleep(0.1)
                for task in tasks:
                    task.cancel()
                assert [response.text for response in await others] == [f"/ok{number}" for number in range(50)]
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(result, asyncio.CancelledError) for result in results)
            assert (await session.get(server.url + "last")).text == "/last"

    asyncio.run(main())
    assert server.connections == 1
    assert sum(path.startswith("/never") for path in server.resets) == sum(path.startswith("/never") for path in server.paths)


FORKS = """
    import os, sys, threading
    from overlapped import requests

    url, ca = sys.argv[1:] if sys.argv[1:] else (URL, CA)
    session = requests.Session(http2=True)
    session.verify = ca
    assert session.get(url + "before").text == "/before"
    held = session.get(url + "big", stream=True)
    for number in range(3):
        child = os.fork()
        if child == 0:
            try:
                assert session.get(url + f"child{number}").text == f"/child{number}"
                assert session.get(url + f"child{number}").raw.version == 20
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert session.get(url + f"parent{number}").text == f"/parent{number}"
    assert len(held.content) == 1_000_000
    session.close()
    print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_connections_of_its_own(server: Server) -> None:
    done = run_python(f"URL, CA = {server.url!r}, {server.ca!r}\n" + "\n".join(line[4:] for line in FORKS.splitlines()))
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
    # One of the parent, and one of each child.
    assert server.connections == 4


def test_a_session_that_is_closed_while_threads_use_it_goes_on(server: Server, session: requests.Session) -> None:
    names = [f"ok{number}" for number in range(200)]

    def one(number: int) -> str:
        if number % 20 == 0:
            session.close()
        return outcome(session, server.url + names[number])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(200))) == [f"/{name}" for name in names]
