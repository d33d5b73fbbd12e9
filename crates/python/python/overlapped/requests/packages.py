"""Packages that code written for requests reaches by way of it: `requests.packages.urllib3`, if they are installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name not in ("chardet", "idna", "urllib3"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return import_module(name)
    except ImportError as error:
        raise AttributeError(f"{name} is not installed") from error
