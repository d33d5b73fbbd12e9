"""The bridge between other threads and the running event loop: of asyncio, or of trio."""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from weakref import WeakKeyDictionary

from ._overlapped import Bridge, Pending

_bridges: WeakKeyDictionary[Any, Bridge] = WeakKeyDictionary()


def running_loop() -> Any:
    """The running loop: one of asyncio, or what stands for that of trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        trio: Any = sys.modules.get("trio")
        if trio is None or not trio.lowlevel.in_trio_run():
            message = "no event loop runs: await this in a coroutine, as by asyncio.run(main())"
            raise RuntimeError(message) from None
    from . import _trio

    return _trio.running_loop()


def running_task() -> Any:
    """The running task, of asyncio or of trio."""
    loop = running_loop()
    return asyncio.current_task(loop) if is_of_asyncio(loop) else loop.task()


def bridge_to_running() -> tuple[Any, Bridge]:
    """The running loop, and the bridge to it."""
    loop = running_loop()
    return loop, _bridges.get(loop) or bridge_to(loop)


def bridge_to(loop: Any) -> Bridge:
    """The bridge to a loop; made when it is first asked for, and gone with the loop."""
    bridge = _bridges.get(loop)
    if bridge is None:
        bridge = Bridge(loop)
        loop.add_reader(bridge.fileno(), bridge.drain)
        _bridges[loop] = bridge
    return bridge


def is_of_asyncio(loop: Any) -> bool:
    """Whether a task of the loop can await a request itself; otherwise the loop awaits it for the task."""
    return not hasattr(loop, "awaited")


async def arrival(loop: Any, pending: Pending) -> None:
    """Waits for a request; cancelling gives it up."""
    try:
        await (pending if is_of_asyncio(loop) else loop.awaited(pending))
    except BaseException:
        pending.abort()
        raise
