"""The same code on asyncio and on trio, by way of anyio."""

from __future__ import annotations

import contextvars
import gc
import threading
from collections.abc import Callable

import anyio
import overlapped
import pytest
from overlapped import requests
from programs import run_python
from serving import OK, Reader, served

Url = Callable[[str], str]

# Without the fixtures of pytest-asyncio, which would run them on asyncio only.
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@BACKENDS
def test_calls_are_awaited_in_a_copy_of_the_context(backend: str) -> None:
    name = contextvars.ContextVar("name", default="none")

    async def main() -> None:
        name.set("task")
        with overlapped.Executor(4) as executor:
            assert await executor.run(name.get) == "task"
            assert await executor.run(pow, 2, exp=10) == 1024
            with pytest.raises(ZeroDivisionError):
                await executor.run(divmod, 1, 0)
            results: dict[int, int] = {}

            async def one(number: int) -> None:
                results[number] = await executor.run(lambda: number * number)

            async with anyio.create_task_group() as group:
                for number in range(200):
                    group.start_soon(one, number)
            assert results == {number: number * number for number in range(200)}

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_cancelled_call_that_waits_is_not_made(backend: str) -> None:
    made: list[str] = []
    begun, goes_on = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        goes_on.wait(60)

    async def main() -> None:
        with overlapped.Executor(1) as executor:
            async with anyio.create_task_group() as group:
                group.start_soon(executor.run, first)
                assert await anyio.to_thread.run_sync(begun.wait, 60)
                with anyio.move_on_after(0.05) as scope:
                    await executor.run(made.append, "waiting")
                assert scope.cancelled_caught
                with anyio.move_on_after(0.05) as scope:
                    await executor.run(made.append, "waiting")
                assert scope.cancelled_caught
                goes_on.set()
            await executor.run(made.append, "last")

    anyio.run(main, backend=backend)
    assert made == ["last"]


@BACKENDS
def test_requests_are_awaited(backend: str, url: Url) -> None:
    async def main() -> None:
        async with overlapped.AsyncSession(limit=4, retries=1) as session:
            answers: list[str] = []

            async def one(number: int) -> None:
                answers.append((await session.get(url(f"/echo?n={number}"))).json()["target"])

            async with anyio.create_task_group() as group:
                for number in range(100):
                    group.start_soon(one, number)
            assert sorted(answers) == sorted(f"/echo?n={number}" for number in range(100))
            posted = await session.post(url("/echo"), json={"a": 1}, params={"b": "2"})
            assert posted.json()["body"] == '{"a": 1}'
            assert len((await session.get(url("/redirect/3"))).history) == 3
            async with session.stream("GET", url("/bytes/100000")) as response:
                assert sum([len(block) async for block in response.iter_content(8192)]) == 100_000
            with pytest.raises(requests.ConnectionError):
                await session.get("http://127.0.0.1:1/")
            # Those that have a thread.
            hooked = await session.get(url("/ok"), hooks={"response": lambda response, **_: response})
            assert hooked.text == "ok\n"

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_cancelled_request_closes_its_connection_and_gives_its_place_back(backend: str) -> None:
    ended = threading.Semaphore(0)

    def serve(reader: Reader) -> None:
        while head := reader.head():
            if b"GET /never" in head:
                reader.until(b"never")
                break
            reader.connection.sendall(OK)
        ended.release()

    async def main(base: str) -> None:
        async with overlapped.AsyncSession(limit=2) as session:
            for options in ({}, {"params": {"a": "b"}}):
                with anyio.move_on_after(0.1) as scope:
                    async with anyio.create_task_group() as group:
                        for _ in range(5):
                            group.start_soon(lambda: session.get(base + "never", **options))
                assert scope.cancelled_caught
                for _ in range(2):
                    assert await anyio.to_thread.run_sync(ended.acquire, True, 60)
                assert (await session.get(base)).text == "ok"

    with served(serve) as base:
        anyio.run(main, base, backend=backend)


@BACKENDS
def test_records_are_awaited(backend: str, url: Url) -> None:
    async def main() -> None:
        run = overlapped.fetch([url("/ok")] * 50)
        assert [record.row async for record in run] == list(range(50))
        slow = overlapped.fetch([url("/delay/400"), url("/ok")])
        records = aiter(slow)
        with anyio.move_on_after(0.05) as scope:
            await records.__anext__()
        assert scope.cancelled_caught
        assert [record.row async for record in slow] == [0, 1]

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_session_may_be_used_by_one_run_after_the_other(backend: str, url: Url) -> None:
    session = overlapped.AsyncSession()

    async def main() -> str:
        return (await session.get(url("/ok"))).text

    for _ in range(3):
        assert anyio.run(main, backend=backend) == "ok\n"
        gc.collect()


@BACKENDS
def test_a_task_waited_for_its_own_stream(backend: str, url: Url) -> None:
    async def main() -> None:
        async with overlapped.AsyncSession(max_per_host=1) as session:
            async with session.stream("GET", url("/bytes/3000000")):
                with pytest.raises(RuntimeError, match="max_per_host=1"):
                    await session.get(url("/ok"))
            assert (await session.get(url("/ok"))).ok

    anyio.run(main, backend=backend)


def test_what_only_asyncio_has_says_so(url: Url) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="asyncio"):
            await overlapped.gather(anyio.sleep(0), anyio.sleep(0))
        with pytest.raises(RuntimeError, match="asyncio"):
            async for _ in overlapped.as_completed([]):
                pass

    anyio.run(main, backend="trio")


def test_without_an_event_loop_the_error_says_what_to_do() -> None:
    coroutine = overlapped.AsyncSession().get("http://127.0.0.1:1/")
    with pytest.raises(RuntimeError, match="asyncio.run"):
        coroutine.send(None)


def test_trio_is_not_imported_for_those_without_it(url: Url) -> None:
    program = f"""
        import asyncio, sys, overlapped
        async def main():
            async with overlapped.AsyncSession() as session:
                await session.get({url("/ok")!r})
        asyncio.run(main())
        print("trio" in sys.modules)
    """
    assert run_python(program).stdout == "False\n"
