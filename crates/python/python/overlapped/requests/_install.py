"""`import requests` gives `overlapped.requests`, in a process that asks for that: `install`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

_NAME = "requests"


def install() -> None:
    """Lets `import requests` and `import requests.NAME` give `overlapped.requests` and its modules, in this process.

        import overlapped.requests

        overlapped.requests.install()

        import requests_toolbelt  # imports requests

    Called again it does nothing.

    Raises:
        RuntimeError: requests itself was imported before: what has imported it would go on with that.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    for name, module in list(sys.modules.items()):
        is_of_requests = name == _NAME or name.startswith(f"{_NAME}.")
        if is_of_requests and module is not None and module is not sys.modules.get(f"overlapped.{name}"):
            message = f"{name} was imported before overlapped.requests.install() was called"
            raise RuntimeError(f"{message}; call it first in the program, before the imports of libraries that use requests")
    # Before the finder of files: that would load the modules of this package for a second time, under their other names.
    sys.meta_path.insert(0, _Finder())
    import_module(_NAME)


class _Finder(MetaPathFinder):
    """Finds the modules of this package by the names they have in requests."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _NAME and not fullname.startswith(f"{_NAME}."):
            return None
        if find_spec(f"overlapped.{fullname}") is None:
            return None
        return ModuleSpec(fullname, _Loader())


class _Loader(Loader):
    """Gives a module that has another name, as it is."""

    _spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"overlapped.{spec.name}")
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has replaced it, and imports within the module go by it.
        module.__spec__ = self._spec


__all__ = ["install"]
