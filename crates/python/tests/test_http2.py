"""`http2=True`: sessions whose requests share a connection of HTTP/2, against a server of another library."""

from __future__ import annotations

import asyncio
import pickle
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import trustme
from serving import Reader, served

import overlapped
from overlapped import requests


class Served:
    """A server that answers each request with its path, and what it has seen."""

    def __init__(self) -> None:
        self.url = ""
        self.ca = ""
        self.protocols: list[str | None] = []
        self.fields: list[list[tuple[bytes, bytes]]] = []

    def serve(self, reader: Reader) -> None:
        connection = reader.connection
        assert isinstance(connection, ssl.SSLSocket)
        self.protocols.append(connection.selected_alpn_protocol())
        if connection.selected_alpn_protocol() != "h2":
            while reader.head():
                connection.sendall(b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nok")
            return
        protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        protocol.initiate_connection()
        connection.sendall(protocol.data_to_send())
        while block := connection.recv(65536):
            for event in protocol.receive_data(block):
                if isinstance(event, h2.events.RequestReceived):
                    assert event.headers is not None and event.stream_id is not None
                    self.fields.append([(bytes(name), bytes(value)) for name, value in event.headers])
                    path = dict(self.fields[-1])[b":path"]
                    protocol.send_headers(event.stream_id, [(":status", "404" if b"missing" in path else "200"), ("x-path", path)])
                    protocol.send_data(event.stream_id, path, end_stream=True)
            connection.sendall(protocol.data_to_send())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    seen = Served()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    seen.ca = str(tmp_path / "ca.pem")
    with served(seen.serve, context) as url:
        seen.url = url
        yield seen


def test_the_requests_of_threads_share_a_connection(server: Served) -> None:
    with requests.Session(http2=True) as session:
        session.verify = server.ca
        first = session.get(server.url + "first", headers={"X-Mixed": "1"})
        assert (first.text, first.reason, first.raw.version) == ("/first", "OK", 20)
        assert first.headers["X-Path"] == "/first"
        with ThreadPoolExecutor(8) as threads:
            paths = [f"/{number}" for number in range(100)]
            answers = threads.map(lambda path: session.get(server.url + path[1:]).text, paths)
            assert list(answers) == paths
        with pytest.raises(requests.HTTPError, match="404 Client Error: Not Found for url"):
            session.get(server.url + "missing").raise_for_status()
    assert server.protocols == ["h2"]
    names = [name for name, _ in server.fields[0]]
    assert b"x-mixed" in names and b"connection" not in names and b"host" not in names


def test_only_where_it_is_asked_for(server: Served) -> None:
    with requests.Session() as session:
        session.verify = server.ca
        response = session.get(server.url)
        assert (response.text, response.reason, response.raw.version) == ("ok", "Fine", 11)
    assert server.protocols == ["http/1.1"]


def test_the_requests_of_tasks_share_a_connection(server: Served) -> None:
    async def main() -> list[str]:
        async with overlapped.AsyncSession(http2=True) as session:
            session.verify = server.ca
            await session.get(server.url)
            responses = await asyncio.gather(*(session.get(f"{server.url}{number}") for number in range(50)))
            return [response.text for response in responses]

    assert asyncio.run(main()) == [f"/{number}" for number in range(50)]
    assert server.protocols == ["h2"]


def test_a_copy_of_a_session_has_it_too(server: Served) -> None:
    session = pickle.loads(pickle.dumps(requests.Session(http2=True)))
    session.verify = server.ca
    assert session.get(server.url + "copy").raw.version == 20
