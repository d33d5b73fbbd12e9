"""The environment: whether it has changed, and the proxies that it names."""

from __future__ import annotations

import os


class Environment:
    """Tells whether `os.environ` is another than when it was last asked."""

    def __init__(self) -> None:
        self._seen: object = None

    def has_changed(self) -> bool:
        """True the first time, and after each change."""
        # In the form that the system has: decoding each variable takes longer than a request has.
        variables = getattr(os.environ, "_data", os.environ)
        if variables == self._seen:
            return False
        self._seen = dict(variables)
        return True


def proxies() -> tuple[str | None, str | None, str]:
    """The proxies for http and for https, and the hosts that are reached without.

    By the rules of `urllib.request.getproxies_environment`, whose import takes longer than that of all the rest: names are in
    any case, those in lower case count first, and of a CGI script `HTTP_PROXY` is a header of its client.
    """
    named = [(name, value) for name, value in os.environ.items() if name[-6:].lower() == "_proxy"]
    found = {name[:-6].lower(): value for name, value in named if value}
    if "REQUEST_METHOD" in os.environ:
        found.pop("http", None)
    found.update((name[:-6].lower(), value) for name, value in named if name.endswith("_proxy"))
    every = found.get("all")
    return found.get("http") or every or None, found.get("https") or every or None, found.get("no", "")
