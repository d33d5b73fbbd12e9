"""`overlapped.AsyncSession`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import overlapped
import pytest
from overlapped import requests

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
