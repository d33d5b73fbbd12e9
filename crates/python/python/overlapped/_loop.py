"""The bridge between other threads and the running event loop."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from ._overlapped import Bridge

_bridges: WeakKeyDictionary[asyncio.AbstractEventLoop, Bridge] = WeakKeyDictionary()


def bridge_to_running() -> tuple[asyncio.AbstractEventLoop, Bridge]:
    """The running loop, and the bridge to it."""
    loop = asyncio.get_running_loop()
    return loop, _bridges.get(loop) or bridge_to(loop)


def bridge_to(loop: asyncio.AbstractEventLoop) -> Bridge:
    """The bridge to a loop; made when it is first asked for, and gone with the loop."""
    bridge = _bridges.get(loop)
    if bridge is None:
        bridge = Bridge(loop)
        loop.add_reader(bridge.fileno(), bridge.drain)
        _bridges[loop] = bridge
    return bridge
