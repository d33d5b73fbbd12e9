"""Plain requests: a GET of which nothing but the URL differs from what its session sends with each request.

Most requests are. What they have in common is prepared once for a session, and again when a setting of the session or the
environment has changed. Their responses have a status and a body; the rest is made when it is asked for.
"""

from __future__ import annotations

import datetime
import operator
import os
import time
from collections import OrderedDict
from typing import Any

from .._environ import Environment
from .._overlapped import Client, Headers, Incoming, RequestFailure
from . import _native as native
from ._transport import aborts
from .adapters import HTTPAdapter, public_error, timeouts_of
from .exceptions import RequestException
from .models import PreparedRequest, Response
from .structures import CaseInsensitiveDict
from .utils import get_environ_proxies, get_netrc_auth, may_have_proxies, netrc_paths

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
        self._fields = session.headers._store.copy()
        self._adapters = session.adapters.copy()
        #: None: requests with these settings are not plain.
        self.headers: Any = None
        self._prepared = prepared = PreparedRequest()
        prepared.prepare_method("GET")
        if list(self._adapters) != ["https://", "http://"]:
            return
        self._https, self._http = self._adapters.values()
        # Adapters that do no more than to send what is plain, with the attributes that they had.
        self._seen: dict[Any, dict[str, Any]] = {}
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
            self.headers = Headers(fields, self._retries)

    def is_of(self, session: Any) -> bool:
        """Whether the settings are those of the session."""
        headers = session.headers
        return headers is self._headers and headers._store == self._fields and session.adapters == self._adapters

    def adapter(self, url: str) -> Any:
        """The adapter for a plain URL."""
        return self._https if url.startswith("https") else self._http

    def client(self, url: str) -> Client | None:
        """The client for a URL; None: the adapter does more than to send what is plain."""
        adapter = self.adapter(url)
        if not isinstance(adapter, HTTPAdapter) or _of_adapter(type(adapter)) != _adapter_methods:
            return None
        own = adapter.__dict__
        if own != self._seen.get(adapter):
            if (
                adapter.max_retries != 0
                or adapter._retries != self._retries
                or adapter._max_per_host is not None
                or adapter._ssl_context is not None
                or not _ADAPTER.isdisjoint(own)
            ):
                return None
            self._seen[adapter] = own.copy()
        return adapter._sender.client()

    def request(self, url: str) -> PreparedRequest:
        """The request as it was sent."""
        request = self._prepared.copy()
        request.hooks = {"response": []}
        request.prepare_url(url, None)
        return request

    def response(self, incoming: Incoming, url: str, start: float) -> Response:
        """The response to a plain request that was sent at `start`, as it is before anything follows from it."""
        seconds = time.perf_counter() - start
        if incoming.is_plain:
            response = Response.__new__(Response)
            response.status_code = incoming.status
            response._content = incoming.read(None, None)
            response._content_consumed = True
            response._rest = (self, incoming, url, seconds)
            return response
        return self.complete(incoming, url, seconds)

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


_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class _Environment(Environment):
    """What the environment says about requests."""

    def __init__(self) -> None:
        super().__init__()
        self._has_proxies = False
        self._has_certificates = False
        self._netrc: list[str] = []

    def is_silent(self, url: str, looks: bool) -> bool:
        """Whether it names no proxies, certificates or credentials that may be for a URL. Without `looks` no netrc file was
        there a moment ago."""
        if self.has_changed():
            looks = True
            self._has_certificates = any(os.environ.get(name) for name in _CERTIFICATES)
            self._has_proxies = may_have_proxies()
            self._netrc = netrc_paths()
        if self._has_proxies or (self._has_certificates and url.startswith("https")):
            return False
        if looks:
            for path in self._netrc:
                if os.access(path, os.F_OK):
                    return False
        return True


_environment = _Environment()


def common_of(session: Any, url: Any, looks: bool = True) -> Common | None:
    """What plain requests of a session have in common; None: with its present settings none for this URL is plain. Without
    `looks` no netrc file was there a moment ago: to look for it takes as long as all the rest."""
    if (
        type(url) is not str
        or session.auth is not None
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
        or _session_functions["get_netrc_auth"] is not get_netrc_auth
        or _session_functions["get_environ_proxies"] is not get_environ_proxies
        or (session.trust_env and not _environment.is_silent(url, looks))
    ):
        return None
    common: Common | None = session.__dict__.get("_common")
    if common is None or not common.is_of(session):
        common = session._common = Common(session)
    return common if common.headers is not None else None


def sent(session: Any, url: Any, timeout: Any) -> Response | None:
    """The response to a GET, before anything follows from it; None: it is no plain request, and was not sent."""
    common = common_of(session, url)
    client = None if common is None else common.client(url)
    if common is None or client is None:
        return None
    connect, read = timeouts_of(session.timeout if timeout is None else timeout)
    start = time.perf_counter()
    try:
        incoming = client.get(common.headers, url, connect, read, aborts.get())
    except RequestFailure as failure:
        raise common.error(failure, url, read) from failure
    return None if incoming is None else common.response(incoming, url, start)


def is_over(response: Response) -> bool:
    """Whether nothing follows from the response to a plain request."""
    return "_rest" in response.__dict__


def settings(timeout: Any) -> dict[str, Any]:
    """The settings with which a plain request was sent."""
    return {"timeout": timeout, "proxies": OrderedDict(), "stream": False, "verify": True, "cert": None}
