"""Loads the extension, whose allocator is to give freed memory back after 10 ms instead of a second.

With a second the process kept up to a gigabyte after 64 threads had each received 10 MB; the time per request is the same. The
allocator reads the variable once, as it is loaded, so other libraries do not see it. A value of the user's counts.
"""

import os

_DELAY = "MIMALLOC_PURGE_DELAY"

if _DELAY in os.environ:
    from . import _overlapped
else:
    os.environ[_DELAY] = "10"
    try:
        from . import _overlapped
    finally:
        del os.environ[_DELAY]

__all__ = ["_overlapped"]
