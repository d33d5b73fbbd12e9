"""What is awaited, on another event loop than the standard one, and on two of them one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import overlapped
import pytest
import uvloop


def test_all_that_is_awaited_works_on_uvloop(url: Callable[[str], str]) -> None:
    session = overlapped.AsyncSession()

    async def main() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        responses = await asyncio.gather(*(session.get(url(f"/echo?n={n}")) for n in range(100)))
        assert [response.json()["target"] for response in responses] == [f"/echo?n={n}" for n in range(100)]
        async with session.stream("GET", url("/bytes/300000")) as response:
            assert sum([len(block) async for block in response.iter_content(5000)]) == 300_000
        request = asyncio.create_task(session.get(url("/delay/600000")))
        await asyncio.sleep(0.05)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert [record.status async for record in overlapped.fetch([url("/ok")] * 50)] == [200] * 50
        with overlapped.Executor(4) as executor:
            squares = await overlapped.gather(*(executor.run(pow, n, 2) for n in range(100)), limit=10)
        assert squares == [n * n for n in range(100)]

    for _ in range(2):
        uvloop.run(main())
