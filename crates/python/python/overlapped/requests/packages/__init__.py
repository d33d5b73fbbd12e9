"""Packages that code written for requests reaches by way of it: `requests.packages.urllib3`, if they are installed.

Nothing here needs them, and none is imported before it is asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

_NAMES = ("chardet", "idna", "urllib3")


def __getattr__(name: str) -> ModuleType:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return import_module(f"{__name__}.{name}")
    except ImportError as error:
        raise AttributeError(f"{name} is not installed") from error


def stand_in(place: str, *names: str) -> None:
    """Puts the first of some packages that is installed in a place of `sys.modules`, with the modules of it that are loaded: so
    that those imported by either name are the same."""
    package = next(filter(None, map(_installed, names[:-1])), None) or import_module(names[-1])
    for name, module in list(sys.modules.items()):
        if name == package.__name__ or name.startswith(f"{package.__name__}."):
            sys.modules[place + name[len(package.__name__) :]] = module


def _installed(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None
