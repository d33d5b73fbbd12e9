"""`overlapped.requests.install`: libraries that import requests get this package. Each test has an interpreter of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from programs import run_python


@pytest.mark.parametrize("library", ["requests_mock", "responses", "requests_toolbelt"])
def test_a_library_that_imports_a_module_of_requests_failed_to_import(library: str, url: Callable[[str], str]) -> None:
    done = run_python(
        f"""
        import overlapped.requests

        overlapped.requests.install()

        import {library}
        import requests
        import requests.packages.urllib3.util.retry
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        assert requests is overlapped.requests
        assert HTTPAdapter is overlapped.requests.adapters.HTTPAdapter
        assert requests.packages.urllib3.util.retry.Retry is Retry
        assert requests.get({url("/ok")!r}).ok
        """,
        # A module whose names do not agree warns where it imports another one.
        *("-W", "error::ImportWarning", "-W", "error::DeprecationWarning:overlapped"),
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_can_be_called_again_and_modules_keep_their_names() -> None:
    done = run_python(
        """
        import sys
        import overlapped.requests

        for _ in range(2):
            overlapped.requests.install()
        assert sum("_install" in type(finder).__module__ for finder in sys.meta_path) == 1
        del sys.modules["requests"]
        import requests
        import requests.help, requests.adapters

        assert requests is overlapped.requests and requests.help is overlapped.requests.help
        for module in (requests, requests.help, requests.adapters):
            assert module.__spec__.name == module.__name__ and module.__name__.startswith("overlapped.requests")
        try:
            import requests.nothing
        except ModuleNotFoundError as error:
            assert error.name == "requests.nothing"
        else:
            raise AssertionError
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("before", ["import requests", "import requests.adapters; del sys.modules['requests']"])
def test_after_an_import_of_requests_it_is_refused(before: str) -> None:
    done = run_python(
        f"""
        import sys
        import overlapped.requests
        {before}
        finders = list(sys.meta_path)
        try:
            overlapped.requests.install()
        except RuntimeError as error:
            assert "was imported before overlapped.requests.install() was called; call it first" in str(error)
        else:
            raise AssertionError
        assert sys.meta_path == finders
        import requests

        assert requests is not overlapped.requests
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_it_requests_is_what_it_was() -> None:
    done = run_python("import overlapped.requests, requests; assert requests is not overlapped.requests")
    assert (done.returncode, done.stderr) == (0, "")
