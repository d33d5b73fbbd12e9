"""A peer: the usual way to fetch a list in Python. Prints how many answers had status 200.

usage: fetch_with_python.py requests|aiohttp LIST PARALLEL
"""

from __future__ import annotations

import resource
import sys
import threading
from concurrent.futures import ThreadPoolExecutor


def with_requests(urls: list[str], parallel: int) -> int:
    """A pool of threads with a session each, as its users are told to write it."""
    import requests

    local = threading.local()

    def status(url: str) -> int:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        return local.session.get(url).status_code

    with ThreadPoolExecutor(max_workers=parallel) as pool:
        return sum(code == 200 for code in pool.map(status, urls))


def with_aiohttp(urls: list[str], parallel: int) -> int:
    """`parallel` coroutines that take from one iterator, one session."""
    import asyncio

    import aiohttp

    async def main() -> int:
        remaining = iter(urls)
        connector = aiohttp.TCPConnector(limit=parallel)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def worker() -> int:
                good = 0
                for url in remaining:
                    async with session.get(url) as response:
                        await response.read()
                        good += response.status == 200
                return good

            return sum(await asyncio.gather(*(worker() for _ in range(parallel))))

    return asyncio.run(main())


def main() -> None:
    library, list_path, parallel = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with open(list_path, encoding="ascii") as lines:
        urls = [line.rstrip("\n") for line in lines]
    fetch = {"requests": with_requests, "aiohttp": with_aiohttp}[library]
    print(fetch(urls, int(parallel)))


if __name__ == "__main__":
    main()
