"""Beginnings and ends: loops, interpreters and processes that end, or are others, while something is on its way."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable

import overlapped
import pytest
from programs import check_interrupted, run_python
from serving import OK, Reader, served

Url = Callable[[str], str]


class Held:
    """A server that holds its answers back until they are wanted."""

    def __init__(self) -> None:
        self.wanted = threading.Event()
        self.answered = threading.Semaphore(0)

    def __call__(self, reader: Reader) -> None:
        while reader.head():
            assert self.wanted.wait(60)
            reader.connection.sendall(OK)
            self.answered.release()

    def answer(self, count: int) -> None:
        """Gives the answers, and waits until so many are sent."""
        self.wanted.set()
        assert all(self.answered.acquire(timeout=60) for _ in range(count))


def test_asyncio_s_debug_mode_and_x_dev_find_nothing(url: Url) -> None:
    done = run_python(
        f"""
        import asyncio, overlapped
        from overlapped import requests
        async def main():
            assert asyncio.get_running_loop().get_debug()
            # What it says of slow steps is true of a machine that is busy.
            asyncio.get_running_loop().slow_callback_duration = 600
            async with overlapped.AsyncSession(limit=3) as session:
                urls = [{url("/ok")!r}] * 20
                assert [response.text for response in await asyncio.gather(*map(session.get, urls))] == ["ok\\n"] * 20
                async with session.stream("GET", {url("/bytes/100000")!r}) as response:
                    assert len(await response.read()) == 100_000
                given_up = asyncio.ensure_future(session.get({url("/silent")!r}))
                await asyncio.sleep(0.01)
                given_up.cancel()
                await asyncio.wait([given_up])
            with overlapped.Executor(2) as executor:
                assert await overlapped.gather(*(executor.run(len, "ab") for _ in range(9)), limit=3) == [2] * 9
            assert [record.status async for record in overlapped.fetch(urls)] == [200] * 20
        asyncio.run(main())
        assert requests.get({url("/ok")!r}).text == "ok\\n"
        """,
        "-X",
        "dev",
        "-W",
        "error",
        env={"PYTHONASYNCIODEBUG": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters have no lock of their own")
def test_a_further_interpreter_is_refused_with_a_reason() -> None:
    done = run_python(
        """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        interpreter = interpreters.create()
        try:
            print(interpreters.run_string(interpreter, "import overlapped"))
        except Exception as error:
            print(error)
        """
    )
    assert done.returncode == 0 and "interpreter" in done.stdout, done


def test_ctrl_c_ends_a_loop_that_awaits_a_response(url: Url) -> None:
    check_interrupted(
        f"""
        import asyncio, overlapped
        async def main():
            async with overlapped.AsyncSession() as session:
                print("ready", flush=True)
                await session.get({url("/silent")!r})
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    )


def test_the_interpreter_ends_with_awaited_requests_in_flight(url: Url) -> None:
    done = run_python(
        f"""
        import asyncio, overlapped
        async def main():
            session = overlapped.AsyncSession()
            tasks = [asyncio.ensure_future(session.get({url("/silent")!r})) for _ in range(10)]
            await asyncio.sleep(0.01)
        asyncio.run(main())
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        """
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_a_loop_that_is_closed_with_requests_in_flight_harms_nobody() -> None:
    held = Held()
    session = overlapped.AsyncSession()

    async def main(base: str) -> None:
        asyncio.ensure_future(session.get(base))
        await asyncio.sleep(0.01)

    async def ask(base: str) -> str:
        return str((await session.get(base)).text)

    with served(held) as base, pytest.MonkeyPatch.context() as patch:
        unraisable: list[object] = []
        patch.setattr(sys, "unraisablehook", unraisable.append)
        loops = [asyncio.new_event_loop() for _ in range(5)]
        for loop in loops:
            loop.run_until_complete(main(base))
            loop.set_exception_handler(lambda *_: None)
            loop.close()
        del loop, loops
        gc.collect()
        held.wanted.set()
        assert asyncio.run(ask(base)) == "ok"
        gc.collect()
        assert unraisable == []


def test_the_descriptors_of_a_loop_that_is_closed_are_closed(url: Url) -> None:
    session = overlapped.AsyncSession()

    async def ask() -> None:
        assert (await session.get(url("/ok"))).ok

    asyncio.run(ask())
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        asyncio.run(ask())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_loops_of_several_threads_share_a_session(url: Url) -> None:
    session = overlapped.AsyncSession(limit=2)
    texts: list[str] = []

    async def ask() -> None:
        for response in await asyncio.gather(*(session.get(url("/ok")) for _ in range(50))):
            texts.append(response.text)

    threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert texts == ["ok\n"] * 200


def test_a_task_that_ends_the_loop_loses_no_response_of_the_others() -> None:
    held = Held()
    session = overlapped.AsyncSession()

    async def ask(base: str, ends: bool) -> str:
        response = await session.get(base)
        if ends:
            raise SystemExit(7)
        return str(response.text)

    with served(held) as base:
        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(ask(base, number == 2)) for number in range(6)]
        # All of them come in one burst.
        loop.call_later(0.05, held.answer, 6)
        with pytest.raises(SystemExit):
            loop.run_forever()
        others = [task for number, task in enumerate(tasks) if number != 2]
        gathered = asyncio.wait_for(asyncio.gather(*others), 60)
        assert loop.run_until_complete(gathered) == ["ok"] * 5
        assert isinstance(tasks[2].exception(), SystemExit)
        loop.close()


def test_a_loop_within_a_task_gets_the_rest_of_a_burst() -> None:
    """As in notebooks with `nest_asyncio`, which runs the loop within a task that it has begun to run."""
    held = Held()
    session = overlapped.AsyncSession()

    async def ask(base: str) -> None:
        await session.get(base)
        task = asyncio.current_task()
        assert task is not None
        others = tasks - {task}
        if not nested:
            nested.append(1)
            asyncio.tasks._leave_task(loop, task)
            while not all(other.done() for other in others):
                loop._run_once()  # type: ignore[attr-defined]
            further = loop.create_task(session.get(base))
            while not further.done():
                loop._run_once()  # type: ignore[attr-defined]
            asyncio.tasks._enter_task(loop, task)

    nested: list[int] = []
    with served(held) as base:
        loop = asyncio.new_event_loop()
        tasks = {loop.create_task(ask(base)) for _ in range(6)}
        loop.call_later(0.05, held.answer, 6)
        loop.run_until_complete(asyncio.wait_for(asyncio.gather(*tasks), 60))
        loop.close()
    assert nested == [1]


async def test_a_request_is_cancelled_with_its_message(url: Url) -> None:
    async with overlapped.AsyncSession() as session:
        for pause in (0.0, 0.01):
            task = asyncio.ensure_future(session.get(url("/silent")))
            await asyncio.sleep(pause)
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError) as raised:
                await task
            if sys.version_info >= (3, 11):
                assert raised.value.args == ("enough",)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(session.get(url("/silent")), 0.01)
        shielded = asyncio.ensure_future(session.get(url("/ok")))
        assert (await asyncio.shield(shielded)).text == "ok\n"


async def test_a_place_that_is_waited_for_is_not_lost_by_a_cancellation() -> None:
    held = Held()
    with served(held) as base:
        async with overlapped.AsyncSession(limit=2) as session:
            tasks = [asyncio.ensure_future(session.get(base)) for _ in range(12)]
            await asyncio.sleep(0.01)
            for task in tasks[2:9]:
                task.cancel()
            held.wanted.set()
            # One that is given a place in the pass in which it is cancelled passes it on.
            await asyncio.wait(tasks[:2])
            tasks[9].cancel()
            done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
            kinds = [type(one).__name__ for one in done]
            assert kinds[:2] == ["Response"] * 2 and kinds[2:9] == ["CancelledError"] * 7
            assert kinds[10:] == ["Response"] * 2


async def test_what_a_hook_raises_reaches_the_one_who_awaits(url: Url) -> None:
    def wrong(response: object, **_: object) -> None:
        raise LookupError("mine")

    async with overlapped.AsyncSession() as session:
        with pytest.raises(LookupError, match="mine"):
            await session.get(url("/ok"), hooks={"response": wrong})
        assert (await session.get(url("/ok"))).ok


def test_a_session_is_used_in_a_forked_child(url: Url) -> None:
    done = run_python(
        f"""
        import asyncio, os, overlapped
        session = overlapped.AsyncSession()
        async def ask():
            return (await session.get({url("/ok")!r})).status_code
        assert asyncio.run(ask()) == 200
        child = os.fork()
        if child == 0:
            assert asyncio.run(ask()) == 200
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert asyncio.run(ask()) == 200
        """,
        "-W",
        "ignore",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("ending", ["response.close()", "response.content"])
def test_a_forked_child_leaves_the_streams_of_its_parent_alone(url: Url, ending: str) -> None:
    done = run_python(
        f"""
        import os
        from overlapped import requests
        session = requests.Session(max_per_host=1)
        response = session.get({url("/drip?bytes=20&every_ms=100")!r}, stream=True)
        child = os.fork()
        if child == 0:
            # The place of the parent's request is not taken here.
            assert session.get({url("/ok")!r}).status_code == 200
            try:
                {ending}
            except requests.RequestException:
                pass
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert len(response.content) == 20
        """,
        "-W",
        "ignore",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("call", ["requests.get(url)", "requests.post(url, data=b'x')", "overlapped.get(url)"])
def test_a_daemon_thread_waits_for_its_first_answer_as_the_interpreter_ends(url: Url, call: str) -> None:
    # The thread looks for signals after the interpreter has ended and before the process has.
    done = run_python(
        f"""
        import ctypes, sys, threading, time
        import overlapped
        from overlapped import requests
        url = {url("/delay/600000")!r}
        threading.Thread(target=lambda: {call}, daemon=True).start()
        time.sleep(0.02)
        libc = ctypes.CDLL(None)
        libc.on_exit(libc.sleep, None)
        sys.exit(1)
        """
    )
    assert (done.returncode, done.stderr) == (1, "")


def test_a_run_gives_no_stream_of_arrow_in_a_forked_child(url: Url) -> None:
    done = run_python(
        f"""
        import os, overlapped
        run = overlapped.fetch([{url("/ok")!r}] * 3)
        child = os.fork()
        if child == 0:
            # At once, and not when the consumer of the capsule asks for the first batch.
            try:
                run.__arrow_c_stream__()
            except RuntimeError as error:
                assert "start one in the child" in str(error)
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert len(list(run)) == 3
        """,
        "-W",
        "ignore",
    )
    assert done.returncode == 0, done.stderr


def test_what_was_made_awaitable_is_used_in_a_forked_child() -> None:
    done = run_python(
        """
        import asyncio, os, sqlite3, threading, overlapped

        class Counter:
            def __init__(self):
                self.number, self.running = 0, 0
            def next(self):
                self.running += 1
                assert self.running == 1
                self.number += 1
                self.running -= 1
                return self.number, os.getpid()

        counter = overlapped.to_async(Counter())
        length = overlapped.to_async(len)
        busy = overlapped.Executor(1)
        own = overlapped.to_async(Counter(), executor=busy)
        connect = overlapped.to_async(sqlite3.connect, thread="sticky")
        go_on, begun = threading.Event(), threading.Event()

        async def twice():
            return await asyncio.gather(*(counter.next() for _ in range(50)), length("abc"))

        async def refused(call):
            try:
                await call
            except RuntimeError as error:
                return str(error)

        async def in_child():
            assert [number for number, _ in (await twice())[:-1]] == list(range(51, 101))
            assert {process for _, process in (await twice())[:-1]} == {os.getpid()}
            said = "this executor belongs to the process that has forked; build one in the child, or call to_async there"
            assert said in await refused(own.next()) and said in await refused(connect(":memory:"))

        assert asyncio.run(twice())[0] == (1, os.getpid())
        asyncio.run(connect(":memory:"))
        # A call runs, and another one waits, while the process forks.
        busy.submit(lambda: (begun.set(), go_on.wait()))
        view = busy.limited(1)
        view.submit(go_on.wait)
        begun.wait()
        child = os.fork()
        if child == 0:
            asyncio.run(in_child())
            view.shutdown()
            busy.shutdown(cancel_futures=True)
            raise SystemExit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        go_on.set()
        assert asyncio.run(twice())[0] == (51, os.getpid())
        """,
        "-W",
        "ignore",
    )
    assert done.returncode == 0, done.stderr


def test_a_session_with_threads_is_used_and_closed_in_a_forked_child(url: Url) -> None:
    done = run_python(
        f"""
        import asyncio, os, overlapped
        session = overlapped.AsyncSession()
        seen = []
        async def ask():
            # A hook may block, so the request has a thread.
            response = await session.get({url("/ok")!r}, hooks={{"response": lambda response, **_: seen.append(os.getpid())}})
            return response.status_code
        async def ask_and_close():
            assert await ask() == 200
            await session.aclose()
        assert asyncio.run(ask()) == 200
        child = os.fork()
        if child == 0:
            asyncio.run(ask_and_close())
            assert seen[-1] == os.getpid()
            raise SystemExit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        asyncio.run(ask_and_close())
        # It is open again for what is asked after its end, as that of requests is.
        assert asyncio.run(ask()) == 200
        """,
        "-W",
        "ignore",
    )
    assert done.returncode == 0, done.stderr
