"""Plain requests: a GET of which nothing but the URL differs from what its session sends with each request.

Most requests are. What they have in common is prepared once for a session (`Common`), with all that must be as it was for that
(`Plain`, in Rust, which looks at it before each request), and again when a setting of the session or the environment has changed.
Their responses have a status and a body; the rest is made when it is asked for.
"""

from __future__ import annotations

import datetime
import operator
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from .._environ import Environment
from .._overlapped import Incoming, Pending, Plain, RequestFailure
from . import _native as native
from ._transport import aborts
from .adapters import HTTPAdapter, public_error, timeouts_of
from .exceptions import RequestException
from .models import PreparedRequest, Response
from .structures import CaseInsensitiveDict
from .utils import get_environ_proxies, get_netrc_auth, may_have_proxies, netrc_paths

if TYPE_CHECKING:
    from .._places import Places

# What a session or an adapter must have as it is here, in its class and in itself, for its requests to be plain.
_SESSION = frozenset(
    {
        "complete_settings",
        "get_adapter",
        "merge_environment_settings",
        "prepare_call",
        "prepare_request",
        "send",
    }
)
_ADAPTER = frozenset({"add_headers", "build_response", "native_call", "request_url", "send"})
_of_session, _of_adapter = operator.attrgetter(*_SESSION), operator.attrgetter(*_ADAPTER)
_adapter_methods = _of_adapter(HTTPAdapter)
_session_methods: Any = None
# The functions of its module that look into the environment.
_session_functions: dict[str, Any] = {}


def are_of(session: type[Any], functions: dict[str, Any]) -> None:
    """The class whose sessions have plain requests, as do those of its subclasses that leave its methods; and the names of its
    module."""
    global _session_methods, _session_functions
    _session_methods, _session_functions = _of_session(session), functions


# Headers that depend on more than the session.
_OWN_HEADERS = ("content-length", "cookie", "host", "transfer-encoding")


class Common:
    """What the plain requests of a session have in common, and the settings that it was made with."""

    def __init__(self, session: Any) -> None:
        self._headers = session.headers
        self._store = session.headers._store.copy()
        self._adapters = session.adapters.copy()
        # None: requests with these settings are not plain.
        self._fields: list[tuple[str, bytes]] | None = None
        self._prepared = prepared = PreparedRequest()
        prepared.prepare_method("GET")
        if list(self._adapters) != ["https://", "http://"]:
            return
        self._https, self._http = self._adapters.values()
        self._retries = getattr(self._http, "_retries", 0)
        fields = []
        try:
            prepared.prepare_headers({name: value for name, value in session.headers.items() if value is not None})
            for name, value in prepared.headers.items():
                fields.append((name, value if isinstance(value, bytes) else value.encode("latin-1")))
        except (RequestException, UnicodeError, AttributeError, TypeError, ValueError):
            # What is wrong is told by the way that all other requests go.
            return
        if not any(name in prepared.headers for name in _OWN_HEADERS):
            self._fields = fields

    def is_of(self, session: Any) -> bool:
        """Whether the settings are those of the session."""
        headers = session.headers
        return headers is self._headers and headers._store == self._store and session.adapters == self._adapters

    def adapter(self, url: str) -> Any:
        """The adapter for a plain URL."""
        return self._https if url.startswith("https") else self._http

    def way(self, session: Any, url: str) -> Plain | None:
        """The way of plain requests to a URL, for the session as it is; None: it, or the adapter, does more than to send what is
        plain."""
        if self._fields is None:
            return None
        adapter = self.adapter(url)
        if not isinstance(adapter, HTTPAdapter) or _of_adapter(type(adapter)) != _adapter_methods:
            return None
        if (
            adapter.max_retries != 0
            or adapter._retries != self._retries
            or adapter._max_per_host is not None
            or adapter._ssl_context is not None
            or adapter._has_own_pool
            or not _ADAPTER.isdisjoint(adapter.__dict__)
        ):
            return None
        client = adapter._sender.client()
        watched = _watched(session, adapter)
        if watched is None:
            return None
        absent = netrc_paths() if session.trust_env else []
        return Plain(client, self._fields, self._retries, watched, absent, Response, self)

    def request(self, url: str) -> PreparedRequest:
        """The request as it was sent."""
        request = self._prepared.copy()
        request.hooks = {"response": []}
        request.prepare_url(url, None)
        return request

    def complete(self, incoming: Incoming, url: str, seconds: float) -> Response:
        """The response with all that it has."""
        adapter, request = self.adapter(url), self.request(url)
        endpoint, _ = adapter._endpoint(request, True, None, None)
        response: Response = adapter.build_response(request, native.NativeResponse(incoming, endpoint))
        timings = incoming.timings
        received = (timings.receive or 0) / 1000 if timings is not None else 0
        response.elapsed = datetime.timedelta(seconds=max(seconds - received, 0))
        return response

    def error(self, failure: RequestFailure, url: str, read_timeout: float | None) -> Exception:
        """The exception for a request that has failed."""
        request = self.request(url)
        endpoint, _ = self.adapter(url)._endpoint(request, True, None, None)
        return public_error(native.head_error(failure, endpoint, read_timeout), request)


# Attributes of a session by which its requests are plain or not, or that say what is sent with each.
_SETTINGS = (
    "adapters",
    "auth",
    "cert",
    "cookies",
    "headers",
    "hooks",
    "params",
    "proxies",
    "stream",
    "trust_env",
    "verify",
)


def _watched(session: Any, adapter: Any) -> dict[str, Any] | None:
    """All that has to be as it is now for a request of a session over an adapter to be plain: see `Watch` in Rust. None: it cannot
    be watched."""
    own, kind, sender, variables = session.__dict__, type(session), adapter._sender, getattr(os.environ, "_data", None)
    if any(name not in own or hasattr(kind, name) for name in _SETTINGS):
        # Someone has made a property of it.
        return None
    headers, cookies, hooks = session.headers.__dict__, session.cookies.__dict__, session.hooks
    dicts = (hooks, session.adapters, cookies.get("_cookies"), *((variables,) if session.trust_env else ()))
    if not all(isinstance(value, dict) for value in dicts):
        return None
    entries = [
        (headers, [("_store", headers["_store"])]),
        (cookies, [("_cookies", cookies["_cookies"])]),
        (hooks, [("response", hooks["response"])]),
        (session.adapters, list(session.adapters.items())),
        # The client of this process; a forked child has another number, and gets another client.
        (sender.__dict__, [("_client", sender._client), ("_process", sender._process)]),
        (native.__dict__, [("_current", native._current)]),
        (_session_functions, [(name, _session_functions[name]) for name in _FUNCTIONS]),
    ]
    contents = [(headers["_store"], headers["_store"].copy()), (adapter.__dict__, adapter.__dict__.copy())]
    if session.trust_env and isinstance(variables, dict):
        entries += [(os.__dict__, [("environ", os.environ)]), (os.environ.__dict__, [("_data", variables)])]
        contents.append((variables, dict(variables)))
    empty = (cookies["_cookies"], hooks["response"], session.params, session.proxies)
    lengths = [(container, 0) for container in empty if hasattr(container, "__len__")]
    return {
        "kind": kind,
        "own": [(name, own[name]) for name in _SETTINGS],
        "without": sorted(_SESSION),
        "entries": entries,
        "attributes": [
            (kind, list(zip(_SESSION, _of_session(kind)))),
            (type(adapter), list(zip(_ADAPTER, _of_adapter(type(adapter))))),
        ],
        "contents": contents,
        "lengths": [*lengths, (hooks, 1), (session.adapters, 2)],
    }


_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class _Environment(Environment):
    """What the environment says about requests."""

    def __init__(self) -> None:
        super().__init__()
        self._has_proxies = False
        self._has_certificates = False
        self._netrc: list[str] = []

    def is_silent(self, url: str) -> bool:
        """Whether it names no proxies, certificates or credentials that may be for a URL."""
        if self.has_changed():
            self._has_certificates = any(os.environ.get(name) for name in _CERTIFICATES)
            self._has_proxies = may_have_proxies()
            self._netrc = netrc_paths()
        if self._has_proxies or (self._has_certificates and url.startswith("https")):
            return False
        return not any(os.access(path, os.F_OK) for path in self._netrc)


_environment = _Environment()


# Functions that look into the environment, by their names in the module of sessions.
_FUNCTIONS = {"get_environ_proxies": get_environ_proxies, "get_netrc_auth": get_netrc_auth}


def _is_plain(session: Any, url: str) -> bool:
    """Whether a GET of a session is plain, as far as the session and the environment tell."""
    return not (
        session.auth is not None
        or session.params
        or session.proxies
        or session.stream
        or session.cert is not None
        or session.verify is not True
        or session.hooks != {"response": []}
        or getattr(session.cookies, "_cookies", True)
        or type(session.headers) is not CaseInsensitiveDict
        or _of_session(type(session)) != _session_methods
        or not _SESSION.isdisjoint(session.__dict__)
        or any(_session_functions[name] is not function for name, function in _FUNCTIONS.items())
        or (session.trust_env and not _environment.is_silent(url))
    )


#: The ways of the plain requests of a session: for https and for http.
Ways = dict[str, "tuple[Plain, Common]"]


def _way(session: Any, url: Any) -> tuple[Plain, Common] | None:
    """The way of plain requests to a URL, made anew, with what such requests have in common; None: it is no plain request."""
    if type(url) is not str or not Plain.takes(url) or not _is_plain(session, url):
        return None
    common: Common | None = session.__dict__.get("_common")
    if common is None or not common.is_of(session):
        common = session._common = Common(session)
    plain = common.way(session, url)
    if plain is None:
        return None
    # Not changed in place: other threads may look at it.
    ways: Ways = {**session.__dict__.get("_ways", {}), url[:5]: (plain, common)}
    session._ways = ways
    return plain, common


def sent(session: Any, url: Any, timeout: Any) -> Response | None:
    """The response to a GET, before anything follows from it; None: it is no plain request, and was not sent."""
    connect, read = (None, None) if timeout is None and session.timeout is None else _limits(session, timeout)
    way = session._ways.get(url[:5]) if type(url) is str else None
    for _ in range(2):
        if way is not None:
            plain, common = way
            try:
                response: Response | None = plain.get(session, url, connect, read, aborts.get())
            except RequestFailure as failure:
                raise common.error(failure, url, read) from failure
            if response is not None:
                return response
        # Something has changed since it was made, or the URL is not plain.
        way = _way(session, url)
        if way is None:
            return None
    return None


def start(session: Any, places: Places, url: Any, timeout: Any) -> tuple[Pending, Common, float | None] | None:
    """Starts a GET for an event loop, to be awaited; with what its errors are made from. None: it is no plain request, and was not
    sent."""
    connect, read = (None, None) if timeout is None and session.timeout is None else _limits(session, timeout)
    way = session._ways.get(url[:5]) if type(url) is str else None
    for _ in range(2):
        if way is not None:
            plain, common = way
            pending = plain.get_soon(session, places.bridge, url, connect, read)
            if pending is not None:
                return pending, common, read
        # As in `sent`.
        way = _way(session, url)
        if way is None:
            return None
    return None


def _limits(session: Any, timeout: Any) -> tuple[float | None, float | None]:
    return timeouts_of(session.timeout if timeout is None else timeout)


def is_over(response: Response) -> bool:
    """Whether nothing follows from the response to a plain request, and nothing was made of it yet."""
    return "_rest" in response.__dict__


def settings(timeout: Any) -> dict[str, Any]:
    """The settings with which a plain request was sent."""
    return {"timeout": timeout, "proxies": OrderedDict(), "stream": False, "verify": True, "cert": None}
