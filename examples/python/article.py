"""The article's program: a client that only knows how to block, one request after the other, and then overlapped.

    python examples/python/article.py http://127.0.0.1:8000/a http://127.0.0.1:8000/b

Only the imports differ from those of the article, `import concurrent.futures` and `import requests`.
"""

import asyncio
import sys
import time

from overlapped import concurrent, requests


def get(url: str) -> requests.Response:
    print(f"Start: {url}: {time.time()}")
    response = requests.get(url)
    print(f"End: {url}: {response.status_code}: {time.time()}")
    return response


async def get_async(url: str, executor: concurrent.futures.Executor) -> requests.Response:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(executor, get, url)


async def main(urls: list[str]) -> list[requests.Response]:
    with concurrent.futures.ThreadPoolExecutor(max_workers=5) as executor:
        return await asyncio.gather(*(get_async(url, executor) for url in urls))


if __name__ == "__main__":
    urls = sys.argv[1:]

    start = time.perf_counter()
    print([get(url) for url in urls])
    print(f"sequential: {time.perf_counter() - start:.3f} s")

    start = time.perf_counter()
    print(asyncio.run(main(urls)))
    print(f"overlapped: {time.perf_counter() - start:.3f} s")
