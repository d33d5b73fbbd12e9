"""What the package says of itself."""

from __future__ import annotations

__title__ = "overlapped.requests"
__description__ = "The interface of requests, on a client in Rust."
__url__ = "https://github.com/overlapped/overlapped"
__license__ = "MIT OR Apache-2.0"

# The version of requests whose interface this is, which extensions of requests look for. That of this package is
# `overlapped.__version__`.
__version__ = "2.34.2"
__build__ = 0x023402

__all__ = ["__build__", "__description__", "__license__", "__title__", "__url__", "__version__"]
