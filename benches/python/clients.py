"""One client of Python a run: clients.py NAME URL COUNT. Prints the requests per second of the requests alone."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PARALLEL = 64


def overlapped_fetch(urls: list[str]) -> int:
    import overlapped

    return sum(record.status == 200 and len(record.body) == 1000 for record in overlapped.fetch(urls, limit=PARALLEL))


def overlapped_fetch_unordered(urls: list[str]) -> int:
    import overlapped

    run = overlapped.fetch(urls, limit=PARALLEL, ordered=False)
    return sum(record.status == 200 and len(record.body) == 1000 for record in run)


def overlapped_fetch_generator(urls: list[str]) -> int:
    import overlapped

    run = overlapped.fetch((url for url in urls), limit=PARALLEL)
    return sum(record.status == 200 and len(record.body) == 1000 for record in run)


def overlapped_fetch_async(urls: list[str]) -> int:
    import overlapped

    async def main() -> int:
        count = 0
        async for record in overlapped.fetch(urls, limit=PARALLEL):
            count += record.status == 200 and len(record.body) == 1000
        return count

    return asyncio.run(main())


def pycurl_multi(urls: list[str]) -> int:
    import io

    import pycurl

    multi = pycurl.CurlMulti()
    free, waiting, ok, running = [], iter(urls), 0, 0
    for _ in range(PARALLEL):
        handle = pycurl.Curl()
        handle.setopt(pycurl.NOSIGNAL, 1)
        free.append(handle)
    handles = list(free)
    buffers: dict[Any, io.BytesIO] = {}
    while True:
        while free and (url := next(waiting, None)) is not None:
            handle = free.pop()
            buffers[handle] = io.BytesIO()
            handle.setopt(pycurl.URL, url)
            handle.setopt(pycurl.WRITEDATA, buffers[handle])
            multi.add_handle(handle)
            running += 1
        if not running:
            break
        while multi.perform()[0] == pycurl.E_CALL_MULTI_PERFORM:
            pass
        while True:
            left, done, failed = multi.info_read()
            for handle in [*done, *(handle for handle, _, _ in failed)]:
                multi.remove_handle(handle)
                ok += handle.getinfo(pycurl.RESPONSE_CODE) == 200 and len(buffers[handle].getvalue()) == 1000
                free.append(handle)
                running -= 1
            if left == 0:
                break
        if not free:
            multi.select(1.0)
    for handle in handles:
        handle.close()
    return ok


def aiohttp(urls: list[str]) -> int:
    import aiohttp as client

    async def main() -> int:
        limit = asyncio.Semaphore(PARALLEL)
        async with client.ClientSession(connector=client.TCPConnector(limit=PARALLEL)) as session:

            async def one(url: str) -> bool:
                async with limit, session.get(url) as response:
                    return response.status == 200 and len(await response.read()) == 1000

            return sum(await asyncio.gather(*(one(url) for url in urls)))

    return asyncio.run(main())


def _gathered(one: Callable[[str], Any], urls: list[str]) -> Any:
    """The number of successes, with so many tasks as requests may run, each of which makes one after the other."""

    async def some(mine: list[str]) -> int:
        return sum([await one(url) for url in mine])

    async def main() -> int:
        return sum(await asyncio.gather(*(some(urls[first::PARALLEL]) for first in range(PARALLEL))))

    return main()


def overlapped_async_session(urls: list[str]) -> int:
    import overlapped

    async def main() -> int:
        async with overlapped.AsyncSession() as session:

            async def one(url: str) -> bool:
                return _ok(await session.get(url))

            return int(await _gathered(one, urls))

    return asyncio.run(main())


def aiohttp_tasks(urls: list[str]) -> int:
    import aiohttp as client

    async def main() -> int:
        async with client.ClientSession(connector=client.TCPConnector(limit=PARALLEL)) as session:

            async def one(url: str) -> bool:
                async with session.get(url) as response:
                    return response.status == 200 and len(await response.read()) == 1000

            return int(await _gathered(one, urls))

    return asyncio.run(main())


def pyreqwest(urls: list[str]) -> int:
    from pyreqwest.client import ClientBuilder

    async def main() -> int:
        async with ClientBuilder().build() as client:

            async def one(url: str) -> bool:
                response = await client.get(url).build().send()
                return response.status == 200 and len(await response.bytes()) == 1000

            return int(await _gathered(one, urls))

    return asyncio.run(main())


def httpx(urls: list[str]) -> int:
    import httpx as client

    async def main() -> int:
        async with client.AsyncClient() as session:

            async def one(url: str) -> bool:
                return _ok(await session.get(url))

            return int(await _gathered(one, urls))

    return asyncio.run(main())


def _on_uvloop(run: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    def on_uvloop(urls: list[str]) -> int:
        import uvloop

        uvloop.install()
        return run(urls)

    on_uvloop.__name__ = f"{run.__name__}_uvloop"
    return on_uvloop


def _session_of(module: Any) -> Callable[[list[str]], int]:
    def run(urls: list[str]) -> int:
        with module.Session() as session:
            return sum(_ok(session.get(url)) for url in urls)

    return run


def pyreqwest_sync(urls: list[str]) -> int:
    from pyreqwest.client import SyncClientBuilder

    with SyncClientBuilder().build() as client:

        def one(url: str) -> bool:
            response = client.get(url).build().send()
            return response.status == 200 and len(response.bytes()) == 1000

        return sum(map(one, urls))


def overlapped_get(urls: list[str]) -> int:
    import overlapped

    records = map(overlapped.get, urls)
    return sum(record.status == 200 and len(record.body) == 1000 for record in records)


def _threads_of(module: Any) -> Callable[[list[str]], int]:
    def run(urls: list[str]) -> int:
        with ThreadPoolExecutor(PARALLEL) as executor:
            return sum(map(_ok, executor.map(module.get, urls)))

    return run


def _ok(response: Any) -> bool:
    return bool(response.status_code == 200 and len(response.content) == 1000)


def requests_session(urls: list[str]) -> int:
    import requests

    return _session_of(requests)(urls)


def overlapped_requests_session(urls: list[str]) -> int:
    from overlapped import requests

    return _session_of(requests)(urls)


def requests_get_threads(urls: list[str]) -> int:
    import requests

    return _threads_of(requests)(urls)


def overlapped_requests_get_threads(urls: list[str]) -> int:
    from overlapped import requests

    return _threads_of(requests)(urls)


CLIENTS = {
    client.__name__: client
    for client in (
        overlapped_fetch,
        overlapped_fetch_unordered,
        overlapped_fetch_generator,
        overlapped_fetch_async,
        pycurl_multi,
        aiohttp,
        aiohttp_tasks,
        httpx,
        pyreqwest,
        overlapped_async_session,
        _on_uvloop(aiohttp_tasks),
        _on_uvloop(pyreqwest),
        _on_uvloop(overlapped_async_session),
        requests_session,
        overlapped_requests_session,
        pyreqwest_sync,
        overlapped_get,
        requests_get_threads,
        overlapped_requests_get_threads,
    )
}

if __name__ == "__main__":
    name, base, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    urls = [f"{base}/{number}" for number in range(count)]
    start = time.perf_counter()
    succeeded = CLIENTS[name](urls)
    elapsed = time.perf_counter() - start
    assert succeeded == count, f"{succeeded} of {count} succeeded"
    print(count / elapsed)
