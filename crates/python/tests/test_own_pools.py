"""Adapters that have made a `PoolManager` of urllib3, as the documentation of requests shows and extensions of it do."""

from __future__ import annotations

import asyncio
import pickle
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
import urllib3
from serving import OK, Reader, served
from urllib3.poolmanager import PoolManager

import overlapped
from overlapped import requests
from overlapped.requests.adapters import HTTPAdapter


class SourceAdapter(HTTPAdapter):
    """Its connections come from an address of their own."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:
        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, source_address=("127.0.0.9", 0)
        )

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        kwargs["source_address"] = ("127.0.0.9", 0)
        return super().proxy_manager_for(proxy, **kwargs)


class Seen:
    """A server's view: who has connected, and what was asked."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        self.lines: list[bytes] = []

    def serve(self, reader: Reader) -> None:
        self.peers.append(reader.connection.getpeername()[0])
        while head := reader.head():
            self.lines.append(head.partition(b"\r\n")[0])
            if b"chunked" in head:
                reader.until(b"0\r\n\r\n")
            reader.connection.sendall(OK)


class OptionsAdapter(HTTPAdapter):
    """The same by an option of the pool."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, source_address=("127.0.0.9", 0))


def session_with(adapter: HTTPAdapter) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


@pytest.mark.parametrize("adapter", [SourceAdapter, OptionsAdapter])
def test_its_connections_are_used_and_kept(adapter: type[HTTPAdapter]) -> None:
    seen = Seen()
    with served(seen.serve) as url, session_with(adapter()) as session:
        for _ in range(3):
            response = session.get(url)
            assert (response.text, response.url, response.timings) == ("ok", url, None)
        with session.get(url, stream=True) as response:
            assert b"".join(response.iter_content(1)) == b"ok"
        assert session.post(url, data=iter([b"a", b"b"])).ok
    assert seen.peers == ["127.0.0.9"]
    assert len(seen.lines) == 5


def test_a_copy_of_a_session_has_it_too() -> None:
    seen = Seen()
    with served(seen.serve) as url, pickle.loads(pickle.dumps(session_with(SourceAdapter()))) as session:
        assert session.get(url).ok
    assert seen.peers == ["127.0.0.9"]


def test_one_that_is_given_later_counts() -> None:
    seen, adapter = Seen(), HTTPAdapter()
    with served(seen.serve) as url, session_with(adapter) as session:
        assert session.get(url).ok
        adapter.poolmanager = PoolManager(source_address=("127.0.0.9", 0))
        assert session.get(url).ok
    assert seen.peers == ["127.0.0.1", "127.0.0.9"]


def test_requests_over_a_proxy_have_its_options() -> None:
    seen = Seen()
    with served(seen.serve) as url, session_with(SourceAdapter()) as session:
        session.proxies = {"http": url}
        assert session.get("http://name.example/path").text == "ok"
    assert seen.peers == ["127.0.0.9"]
    assert seen.lines == [b"GET http://name.example/path HTTP/1.1"]


def test_a_session_of_an_event_loop_uses_it() -> None:
    async def main(url: str) -> list[str]:
        async with overlapped.AsyncSession() as session:
            session.mount("http://", SourceAdapter())
            responses = await asyncio.gather(*(session.get(url) for _ in range(4)))
            return [response.text for response in responses]

    seen = Seen()
    with served(seen.serve) as url:
        assert asyncio.run(main(url)) == ["ok"] * 4
    assert set(seen.peers) == {"127.0.0.9"}


def test_certificates_are_verified_as_the_request_says(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    seen = Seen()
    with served(seen.serve, context) as url, session_with(SourceAdapter()) as session:
        with pytest.raises(requests.exceptions.SSLError):
            session.get(url)
        assert session.get(url, verify=str(tmp_path / "ca.pem")).text == "ok"


def close_at_once(reader: Reader) -> None:
    reader.head()


def test_errors_are_those_of_requests() -> None:
    with session_with(SourceAdapter()) as session:
        with pytest.raises(requests.ConnectionError):
            session.get("http://127.0.0.1:1/")
        with served(close_at_once) as url, pytest.raises(requests.ConnectionError):
            session.get(url)
        with served(lambda reader: reader.until(b"never")) as url, pytest.raises(requests.ReadTimeout):
            session.get(url, timeout=0.2)
        session.proxies = {"http": "http://127.0.0.1:1"}
        with pytest.raises(requests.exceptions.ProxyError):
            session.get("http://name.example/")


def test_a_retry_of_urllib3_is_obeyed() -> None:
    answers = [b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"] * 2 + [OK] + [b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"] * 9

    def serve(reader: Reader) -> None:
        while reader.head():
            reader.connection.sendall(answers.pop(0))

    retry = urllib3.Retry(total=2, status_forcelist=[503], backoff_factor=0)
    with served(serve) as url, session_with(SourceAdapter(max_retries=retry)) as session:
        assert session.get(url).text == "ok"
        with pytest.raises(requests.exceptions.RetryError):
            session.get(url)
