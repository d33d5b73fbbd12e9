"""`overlapped.AsyncSession`."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import overlapped
import pytest
from overlapped import requests
from serving import OK, Reader, served

Url = Callable[[str], str]


async def test_the_names_of_requests_are_awaited(url: Url) -> None:
    async with overlapped.AsyncSession() as session:
        session.headers["X-One"] = "1"
        response = await session.post(url("/echo"), json={"a": 1})
        assert isinstance(response, requests.Response)
        assert ["X-One", "1"] in response.json()["headers"]
        for method in ("get", "put", "patch", "delete", "options", "head"):
            response = await getattr(session, method)(url("/echo"))
            assert (response.status_code, response.request.method) == (200, method.upper())
        with pytest.raises(requests.ConnectionError):
            await session.get("http://127.0.0.1:1/")
        with pytest.raises(AttributeError):
            session.no_such_setting = 1


async def test_requests_overlap() -> None:
    arrived, all_there = 0, asyncio.Event()

    async def answer_when_all_are_there(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        await reader.readuntil(b"\r\n\r\n")
        arrived += 1
        if arrived == 20:
            all_there.set()
        await all_there.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(answer_when_all_are_there, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, overlapped.AsyncSession(limit=20) as session:
        responses = await asyncio.wait_for(asyncio.gather(*(session.get(url) for _ in range(20))), 60)
        assert [response.text for response in responses] == ["ok"] * 20


async def test_a_cancelled_request_closes_its_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        async with overlapped.AsyncSession() as session:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            request = asyncio.create_task(session.get(url))
            connection, _ = await loop.sock_accept(listener)
            assert b"GET / HTTP/1.1" in await loop.sock_recv(connection, 65536)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            assert await asyncio.wait_for(loop.sock_recv(connection, 1), 20) == b""
            connection.close()


async def test_a_body_is_streamed(url: Url) -> None:
    async with overlapped.AsyncSession() as session:
        async with session.stream("GET", url("/bytes/300000")) as response:
            assert response.status_code == 200
            blocks = [block async for block in response.iter_content(4096)]
        assert sum(map(len, blocks)) == 300_000 and max(map(len, blocks)) == 4096
        assert (await session.get(url("/ok"))).text == "ok\n"


async def test_a_request_has_no_thread() -> None:
    arrived, all_there = [0], threading.Event()
    lock = threading.Lock()

    def serve(reader: Reader) -> None:
        reader.head()
        with lock:
            arrived[0] += 1
            if arrived[0] == 100:
                all_there.set()
        assert all_there.wait(60)
        reader.connection.sendall(OK)

    with served(serve) as url:
        async with overlapped.AsyncSession() as session:
            requested = [asyncio.create_task(session.get(url)) for _ in range(100)]
            assert await asyncio.to_thread(all_there.wait, 60)
            names = {thread.name for thread in threading.enumerate()}
            assert not any(name.startswith("overlapped-session") for name in names)
            assert [(await request).text for request in requested] == ["ok"] * 100


async def test_redirects_and_cookies_are_those_of_a_session(url: Url) -> None:
    answers = [
        b"HTTP/1.1 302 Found\r\nLocation: /next\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 303 See\r\nLocation: /last\r\nSet-Cookie: b=2\r\nContent-Length: 3\r\n\r\nsee",
        OK,
    ]
    heads: list[bytes] = []

    def serve(reader: Reader) -> None:
        while head := reader.head():
            heads.append(head)
            reader.connection.sendall(answers[min(len(heads), 3) - 1])

    with served(serve) as base:
        async with overlapped.AsyncSession() as session:
            response = await session.post(base, data=None)
            assert [earlier.status_code for earlier in response.history] == [302, 303]
            assert (response.text, response.url) == ("ok", base + "last")
            assert session.cookies.get_dict() == {"a": "1", "b": "2"}
            assert heads[2].startswith(b"GET /last ") and b"Cookie: a=1; b=2" in heads[2]
            response = await session.get(url("/redirect/1"), allow_redirects=False)
            assert response.is_redirect and response.next is not None
            async with session.stream("GET", url("/redirect/2")) as streamed:
                assert (streamed.status_code, len(streamed.history)) == (200, 2)
                assert await streamed.read() == streamed.content != b""
            session.max_redirects = 2
            with pytest.raises(requests.TooManyRedirects):
                await session.get(url("/redirect/3"))


async def test_what_may_block_is_done_in_threads(url: Url) -> None:
    threads: list[str] = []

    def hook(response: requests.Response, **_: object) -> None:
        threads.append(threading.current_thread().name)

    async with overlapped.AsyncSession() as session:
        response = await session.post(url("/echo"), data=io.BytesIO(b"a file"), hooks={"response": hook})
        assert response.json()["body"] == "a file"
        assert len(threads) == 1 and threads[0].startswith("overlapped-session")
        assert (await session.post(url("/echo"), data=iter([b"in ", b"parts"]))).json()["body"] == "in parts"
    with served(lambda reader: reader.connection.sendall(OK) if reader.head() else None) as proxy:
        async with overlapped.AsyncSession() as session:
            assert (await session.get("http://h.invalid/", proxies={"http": proxy})).text == "ok"


def challenge(algorithm: str, requests_seen: list[tuple[str, bytes]]) -> Callable[[Reader], None]:
    """A server that asks for digest authentication; it notes whether a request had some, and its body."""

    def serve(client: Reader) -> None:
        while head := client.head().decode().lower():
            length = int(head.partition("content-length: ")[2].partition("\r")[0] or 0)
            body = client.exactly(length)
            authorization = head.partition("\r\nauthorization: ")[2].partition("\r")[0]
            requests_seen.append((authorization.partition(" ")[0], body))
            field = f'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm={algorithm}'
            unauthorized = f"HTTP/1.1 401 Unauthorized\r\n{field}\r\nContent-Length: 2\r\n\r\nno".encode()
            client.connection.sendall(OK if authorization else unauthorized)

    return serve


async def test_digest_authentication_is_that_of_a_request_not_of_a_thread() -> None:
    seen: list[tuple[str, bytes]] = []
    with served(challenge("MD5", seen)) as server:
        async with overlapped.AsyncSession() as session:
            auth = requests.auth.HTTPDigestAuth("u", "p")
            # More than there are threads, one after the other and at once.
            for _ in range(3):
                assert (await session.get(server, auth=auth)).status_code == 200
            answers = await asyncio.gather(*(session.get(server, auth=auth) for _ in range(40)))
            assert {answer.status_code for answer in answers} == {200}
            seen.clear()
            body = io.BytesIO(b"not this, this")
            body.seek(10)
            assert (await session.put(server, data=body, auth=auth)).status_code == 200
            assert seen == [("", b"this"), ("digest", b"this")]
        with requests.Session() as blocking, ThreadPoolExecutor(1) as thread:
            for _ in range(3):
                prepared = blocking.prepare_request(requests.Request("GET", server, auth=auth))
                assert thread.submit(blocking.send, prepared).result().status_code == 200


async def test_a_challenge_that_cannot_be_answered_is_a_401() -> None:
    with served(challenge("SHA3", [])) as server:
        auth = requests.auth.HTTPDigestAuth("u", "p")
        assert requests.get(server, auth=auth).status_code == 401
        async with overlapped.AsyncSession(timeout=10, headers={"X-One": "1"}) as session:
            assert session.timeout == 10 and session.headers["x-one"] == "1" and "User-Agent" in session.headers
            assert (await session.get(server, auth=auth)).text == "no"


async def test_a_read_that_is_cancelled_closes_its_connection() -> None:
    closed = threading.Event()

    def serve(reader: Reader) -> None:
        reader.head()
        reader.connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        try:
            reader.connection.recv(1)
        finally:
            closed.set()

    with served(serve) as base:
        async with overlapped.AsyncSession() as session, session.stream("GET", base) as response:
            blocks = response.iter_content()
            assert await anext(blocks) == b"ok"
            read = asyncio.create_task(anext(blocks))
            await asyncio.sleep(0)
            read.cancel()
            with pytest.raises(asyncio.CancelledError):
                await read
            assert await asyncio.to_thread(closed.wait, 60)


async def test_the_limits_of_a_session_hold() -> None:
    running, most = [0], [0]
    lock, full = threading.Lock(), threading.Event()

    def serve(reader: Reader) -> None:
        while reader.head():
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
                if running[0] == 2:
                    full.set()
            assert full.wait(60)
            with lock:
                running[0] -= 1
            reader.connection.sendall(OK)

    for limits in ({"limit": 2}, {"max_per_host": 2}):
        full.clear()
        with served(serve) as base:
            async with overlapped.AsyncSession(**limits) as session:
                responses = await asyncio.gather(*(session.get(base) for _ in range(10)))
                assert [response.text for response in responses] == ["ok"] * 10 and most[0] == 2
    with pytest.raises(ValueError, match="limit"):
        overlapped.AsyncSession(limit=0)


@pytest.mark.parametrize("limits", [{"limit": 1}, {"max_per_host": 1}])
async def test_a_task_waited_for_its_own_stream(url: Url, limits: dict[str, int]) -> None:
    async with overlapped.AsyncSession(**limits) as session:
        async with session.stream("GET", url("/bytes/3000000")) as response:
            for again in (session.get(url("/ok")), session.post(url("/echo"))):
                with pytest.raises(RuntimeError, match="leave one before the next request"):
                    await again
            # Another task may have to wait for it.
            other = asyncio.ensure_future(session.get(url("/ok")))
            await asyncio.sleep(0)
            assert len(await response.read()) == 3_000_000
        assert (await other).ok and (await session.get(url("/ok"))).ok
        async with session.stream("GET", url("/ok")):
            pass


@pytest.mark.parametrize("limits", [{"limit": 1}, {"max_per_host": 1}])
async def test_a_hook_that_asks_the_session_waited_for_the_place_of_its_own_request(url: Url, limits: dict[str, int]) -> None:
    loop = asyncio.get_running_loop()
    async with overlapped.AsyncSession(**limits) as session:

        def hook(response: requests.Response, **_: object) -> None:
            async def token() -> None:
                response.headers["token"] = (await session.get(url("/ok"))).text + (await session.post(url("/echo"))).reason

            asyncio.run_coroutine_threadsafe(token(), loop).result(60)

        response = await session.get(url("/ok"), hooks={"response": hook})
        assert response.headers["token"] == "ok\nOK"
        # The place is there, and there is one.
        async with session.stream("GET", url("/ok")):
            with pytest.raises(RuntimeError, match="=1"):
                await session.get(url("/ok"))


def test_loops_one_after_the_other_use_a_session(url: Url) -> None:
    session = overlapped.AsyncSession(limit=1)

    async def ask() -> list[int]:
        return [response.status_code for response in await asyncio.gather(*(session.get(url("/ok")) for _ in range(3)))]

    assert [asyncio.run(ask()) for _ in range(3)] == [[200] * 3] * 3


async def test_lines_and_texts_are_streamed(url: Url) -> None:
    body = "eins\nzwei ü\ndrei".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"

    def serve(reader: Reader) -> None:
        while reader.head():
            reader.connection.sendall(head)
            for byte in body:
                reader.connection.sendall(b"1\r\n%c\r\n" % byte)
            reader.connection.sendall(b"0\r\n\r\n")

    with served(serve) as base:
        async with overlapped.AsyncSession() as session:
            async with session.stream("GET", base) as response:
                assert [line async for line in response.iter_lines(decode_unicode=True)] == ["eins", "zwei ü", "drei"]
            async with session.stream("GET", base) as response:
                assert await response.read() == body
            async with session.stream("GET", base) as response:
                assert b"".join([block async for block in response.iter_content(3)]) == body


async def test_an_async_generator_as_a_body_had_no_useful_error(url: Url) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"abc"

    async with overlapped.AsyncSession() as session:
        with pytest.raises(TypeError, match="data is an async iterable"):
            await session.post(url("/echo"), data=body())
