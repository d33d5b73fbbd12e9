"""`overlapped.Executor`, beside what the interpreter's own tests of thread pools demand of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import overlapped
import pytest
from overlapped import Executor, QueueFull
from programs import check_interrupted, run_python


def test_it_is_a_thread_pool_to_those_who_check() -> None:
    with Executor(2) as executor:
        assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)

        async def main() -> int:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(executor)
            return await loop.run_in_executor(None, lambda: 7) + await asyncio.to_thread(lambda: 1)

        assert asyncio.run(main()) == 8
        assert executor.stats().completed == 2


def test_workers_are_threads_of_python_with_names() -> None:
    with Executor(1, thread_name_prefix="mine") as executor:
        assert executor.submit(lambda: threading.current_thread().name).result() == "mine_0"
        assert [thread.name for thread in executor._threads] == ["mine_0"]


async def test_run_awaits_a_call_in_the_context_of_its_caller() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("outside")
    with Executor(1) as executor:
        assert await executor.run(variable.get) == "outside"
        await executor.run(variable.set, "inside")
        assert variable.get() == "outside"
        assert await executor.run(lambda *args, **kwargs: (args, kwargs), 1, a=2) == ((1,), {"a": 2})


async def test_run_raises_what_the_call_raises() -> None:
    with Executor(1) as executor:
        with pytest.raises(ZeroDivisionError):
            await executor.run(lambda: 1 // 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await executor.run(next, iter(()))


async def test_a_cancelled_call_that_has_not_started_is_not_made() -> None:
    gate, made = threading.Event(), []
    with Executor(1) as executor:
        running = asyncio.create_task(executor.run(gate.wait))
        waiting = asyncio.create_task(executor.run(made.append, 1))
        while executor.stats().running < 1:
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        assert await running
    assert made == []


def test_a_loop_after_the_first_has_results_too() -> None:
    with Executor(2) as executor:
        for number in range(5):
            assert asyncio.run(executor.run(lambda n=number: n)) == number


def test_a_loop_that_is_closed_leaves_no_descriptor_open() -> None:
    with Executor(1) as executor:
        asyncio.run(executor.run(int))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            asyncio.run(executor.run(int))
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_a_call_that_ends_after_its_loop_was_closed_harms_nobody() -> None:
    gate = threading.Event()
    executor = Executor(1)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(executor.run(gate.wait), 0.01)

    with pytest.MonkeyPatch.context() as patch:
        unraisable: list[Any] = []
        patch.setattr(sys, "unraisablehook", unraisable.append)
        asyncio.run(main())
        gc.collect()
        gate.set()
        executor.shutdown()
        assert unraisable == []


async def test_a_burst_of_calls_has_all_results_in_order() -> None:
    with Executor(4) as executor:
        assert await asyncio.gather(*(executor.run(abs, -n) for n in range(5_000))) == list(range(5_000))


def test_map_takes_no_more_of_an_endless_iterable_than_its_window() -> None:
    taken = 0

    def numbers() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    with Executor(2) as executor:
        results = executor.map(lambda n: n * 2, numbers(), buffersize=5)
        assert taken == 5
        for expected in range(1, 50):
            assert next(results) == expected * 2
            assert taken == 5 + expected
        results.close()  # type: ignore[attr-defined]


def test_a_full_queue_does_what_was_asked_for() -> None:
    gate = threading.Event()
    with Executor(1, max_queue=1, on_full="raise") as executor:
        executor.submit(gate.wait)
        while executor.stats().running < 1:
            time.sleep(0.001)
        executor.submit(int)
        with pytest.raises(QueueFull):
            executor.submit(int)
        gate.set()
    gate.clear()
    with Executor(1, max_queue=1, on_full="caller_runs") as executor:
        executor.submit(gate.wait)
        while executor.stats().running < 1:
            time.sleep(0.001)
        executor.submit(int)
        assert executor.submit(threading.get_ident).result(0) == threading.get_ident()
        gate.set()
    with Executor(1, max_queue=1) as executor:
        assert [future.result() for future in [executor.submit(abs, -n) for n in range(100)]] == list(range(100))


def test_a_view_keeps_to_its_limit_and_shares_the_threads() -> None:
    most, running, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    with Executor(8) as executor:
        view = executor.limited(2, "two")
        assert isinstance(view, Executor)
        futures = [view.submit(work) for _ in range(40)]
        others = [executor.submit(int) for _ in range(40)]
        concurrent.futures.wait([*futures, *others])
        assert most == 2
        assert view._threads == executor._threads
        view.shutdown()
        with pytest.raises(RuntimeError):
            view.submit(int)
        assert executor.submit(int).result() == 0


def test_idle_threads_end_and_leave_no_trace() -> None:
    with Executor(4, keep_alive=0.05) as executor:
        barrier = threading.Barrier(4)
        concurrent.futures.wait([executor.submit(barrier.wait) for _ in range(4)])
        for _ in range(1_000):
            if executor.stats().workers == 0 and not executor._threads:
                break
            time.sleep(0.01)
        assert (executor.stats().workers, executor._threads) == (0, set())
        assert executor.submit(abs, -3).result() == 3


def test_shutdown_ends_at_its_deadline() -> None:
    gate = threading.Event()
    executor = Executor(1)
    executor.submit(gate.wait)
    executor.shutdown(timeout=0.05)
    assert executor.stats().running == 1
    gate.set()
    executor.shutdown()
    assert executor.stats().workers == 0


def test_arguments_and_results_are_let_go() -> None:
    class Thing:
        pass

    with Executor(1) as executor:
        thing = Thing()
        seen = weakref.ref(thing)
        assert executor.submit(id, thing).result() == id(thing)
        del thing
        executor.submit(int).result()
        gc.collect()
        assert seen() is None


def test_the_end_of_the_interpreter_waits_for_what_is_queued() -> None:
    done = run_python(
        """
        import time, overlapped
        executor = overlapped.Executor(1)
        for n in range(3):
            executor.submit(lambda n=n: (time.sleep(0.05), print(n)))
        """,
        "-X",
        "dev",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n1\n2\n", "")


def test_the_end_of_the_interpreter_does_not_wait_if_told_so() -> None:
    done = run_python(
        """
        import threading, overlapped
        executor = overlapped.Executor(1, wait_at_exit=False)
        executor.submit(threading.Event().wait)
        executor.submit(print, "never")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_forked_child_gets_an_error_and_may_build_its_own() -> None:
    done = run_python(
        """
        import os, overlapped
        executor = overlapped.Executor(1)
        executor.submit(int).result()
        pid = os.fork()
        if pid == 0:
            try:
                executor.submit(int)
            except RuntimeError as error:
                print(error, flush=True)
            print(overlapped.Executor(1).submit(abs, -1).result(), flush=True)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("this executor belongs to the process that has forked")
    assert done.stdout.splitlines()[1] == "1"


def test_a_full_queue_can_be_interrupted() -> None:
    check_interrupted(
        """
        import threading, overlapped
        executor = overlapped.Executor(1, max_queue=1, wait_at_exit=False)
        gate = threading.Event()
        print("ready", flush=True)
        try:
            for _ in range(3):
                executor.submit(gate.wait)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    )


async def test_gather_runs_no_more_than_its_limit() -> None:
    running = most = 0

    async def one(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return n

    assert await overlapped.gather(*(one(n) for n in range(50)), limit=4) == list(range(50))
    assert most == 4
    assert await overlapped.gather() == []


async def test_the_first_error_of_a_gather_cancels_the_others() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def wrong() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        await overlapped.gather(slow(), wrong(), slow(), limit=2)
    assert ended == ["cancelled"]
    results = await overlapped.gather(wrong(), asyncio.sleep(0, 1), return_exceptions=True)
    assert isinstance(results[0], ValueError) and results[1] == 1


async def test_as_completed_reads_an_endless_iterable_only_so_far() -> None:
    made = 0

    def endless() -> Any:
        nonlocal made
        while True:
            made += 1
            yield asyncio.sleep(0, made)

    seen = []
    completed = overlapped.as_completed(endless(), limit=3)
    async for done in completed:
        seen.append(await done)
        if len(seen) == 10:
            break
    await completed.aclose()
    assert len(set(seen)) == 10 and max(seen) <= 13
    assert made <= 13


async def test_to_async_makes_a_database_awaitable() -> None:
    import sqlite3

    connect = overlapped.to_async(sqlite3.connect, thread="sticky")
    async with await connect(":memory:") as db:
        await db.execute("create table t (n integer)")
        await db.executemany("insert into t values (?)", [(n,) for n in range(3)])
        rows = [row async for row in await db.execute("select n from t order by n")]
        assert rows == [(0,), (1,), (2,)]
    await db.close()
    assert await overlapped.to_async(abs)(-2) == 2


def test_the_module_of_futures_is_the_standard_one_with_this_executor() -> None:
    from overlapped import concurrent as ours

    assert ours.futures.ThreadPoolExecutor is Executor
    assert ours.futures.wait is concurrent.futures.wait
    assert ours.futures.ProcessPoolExecutor is concurrent.futures.ProcessPoolExecutor


def test_a_worker_that_waited_for_its_own_executor_was_told_nothing() -> None:
    executor = Executor(max_workers=2)
    with pytest.raises(RuntimeError, match="its own executor"):
        executor.submit(executor.shutdown).result(timeout=30)
    executor.shutdown()


def test_a_number_of_workers_that_is_no_int_was_refused() -> None:
    with Executor(max_workers=2.5) as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]


@pytest.mark.parametrize("kind", [iter, list])
async def test_a_cancelled_anext_lost_the_item_that_was_taken(kind: Callable[[list[int]], Iterable[int]]) -> None:
    entered, goes_on = threading.Event(), threading.Event()

    class Slow:
        def __iter__(self) -> Iterator[int]:
            for item in kind([0, 1, 2]):
                entered.set()
                assert goes_on.wait(60)
                yield item

    items = aiter(overlapped.to_async(Slow() if kind is list else iter(Slow())))
    taking = asyncio.ensure_future(anext(items))
    assert await asyncio.to_thread(entered.wait, 60)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    goes_on.set()
    assert [item async for item in items] == [0, 1, 2]
