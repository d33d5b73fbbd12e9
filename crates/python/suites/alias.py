"""A plugin of pytest: `import requests` gives `overlapped.requests`, and `import requests.NAME` its module of that name."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any


class Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `overlapped.requests.NAME` for `requests.NAME`."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname.startswith("requests.") else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return importlib.import_module("overlapped." + spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


sys.modules["requests"] = importlib.import_module("overlapped.requests")
sys.meta_path.insert(0, Alias())
