"""As the standard package `concurrent`, with an executor of Overlapped."""

from . import futures

__all__ = ["futures"]
