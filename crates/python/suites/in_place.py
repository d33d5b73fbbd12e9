"""Puts `overlapped.Executor` in the place of the standard `ThreadPoolExecutor`, in every interpreter that a test of CPython starts."""

import concurrent.futures
import concurrent.futures.thread

import overlapped


class ThreadPoolExecutor(overlapped.Executor):
    """The tests import it by this name from `concurrent.futures`."""


ThreadPoolExecutor.__module__ = "concurrent.futures.thread"
concurrent.futures.ThreadPoolExecutor = concurrent.futures.thread.ThreadPoolExecutor = ThreadPoolExecutor  # type: ignore[misc]
