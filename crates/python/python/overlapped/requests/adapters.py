"""Adapters: how a prepared request is sent and a response made. A session has one for each prefix of URLs."""

from __future__ import annotations

import functools
import math
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._arguments import SHORT_MAX, check_flag, count, count_or_none, wrong
from . import _native as native
from . import _places as places
from . import _retry
from . import _transport as transport
from ._raw import RawResponse
from .auth import _basic_auth_str
from .cookies import extract_cookies_to_jar, may_set_cookies
from .exceptions import (
    ConnectionError,
    ConnectTimeout,
    InvalidHeader,
    InvalidProxyURL,
    InvalidSchema,
    InvalidURL,
    ProxyError,
    ReadTimeout,
    RequestException,
    RetryError,
    SSLError,
)
from .models import Response
from .structures import CaseInsensitiveDict
from .utils import (
    DEFAULT_CA_BUNDLE_PATH,
    DEFAULT_PORTS,
    extract_zipped_paths,
    get_auth_from_url,
    get_encoding_from_headers,
    prepend_scheme_if_needed,
    select_proxy,
    urldefragauth,
)

if TYPE_CHECKING:
    import ssl

DEFAULT_POOLSIZE = 10
DEFAULT_RETRIES = 0
DEFAULT_POOLBLOCK = False
DEFAULT_POOL_TIMEOUT = None

# What urllib3 makes of None.
_RETRIES_OF_URLLIB3 = 3


class BaseAdapter:
    """The interface of an adapter."""

    def send(
        self,
        request: Any,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Sends a prepared request and returns the response."""
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of what the adapter holds."""
        raise NotImplementedError


class HTTPAdapter(BaseAdapter):
    """Sends requests over HTTP, and keeps connections. Threads may share it.

    Args:
        pool_connections: Has no effect; here for code that passes it.
        pool_maxsize: The most connections to one place that are kept when they are free, of those over a proxy.
        max_retries: How often opening a connection is tried again, or a `Retry` of urllib3, which is obeyed; None: three times.
        pool_block: Has no effect; here for code that passes it: any number of connections may be in use.
        retries: How often a request is sent again after a failure that may pass or a status such as 503, where its method
            allows that. `Retry-After` is obeyed, up to ten minutes, and no part of `timeout`; with 0 there is no wait.
        max_per_host: The most requests to one host at a time; further ones wait. A request ends with its body. Those of hooks,
            and of the iterator of a body, to the same host belong to the request. A thread that has so many responses and has
            read none of them gets a RuntimeError, since it would wait for itself.
        http2: Whether servers over TLS may choose HTTP/2. The requests of all threads and tasks then share a connection, names of
            headers are in lower case, and `raw.version` is 20.
    """

    __attrs__ = [
        "max_retries",
        "config",
        "_pool_connections",
        "_pool_maxsize",
        "_pool_block",
        "_retries",
        "_max_per_host",
        "_http2",
    ]

    def __init__(
        self,
        pool_connections: int = DEFAULT_POOLSIZE,
        pool_maxsize: int = DEFAULT_POOLSIZE,
        max_retries: Any = DEFAULT_RETRIES,
        pool_block: bool = DEFAULT_POOLBLOCK,
        *,
        retries: int = 0,
        max_per_host: int | None = None,
        http2: bool = False,
    ) -> None:
        for name, value in (("pool_connections", pool_connections), ("pool_maxsize", pool_maxsize)):
            if not hasattr(value, "__index__"):
                raise wrong(name, "an int", value)
        self.max_retries = _attempts(max_retries)
        self.config: dict[str, Any] = {}
        self._pool_connections = pool_connections
        self._pool_maxsize = pool_maxsize
        self._pool_block = pool_block
        if hasattr(retries, "increment"):
            raise TypeError("retries must be an int; a Retry of urllib3 is given to an adapter: HTTPAdapter(max_retries=...)")
        check_flag("http2", http2)
        self._retries = count("retries", retries, 0, SHORT_MAX)
        self._max_per_host = count_or_none("max_per_host", max_per_host, 1)
        self._http2 = http2
        self._init_pools()

    def _init_pools(self) -> None:
        pools = (self._pool_connections, self._pool_maxsize, self._pool_block)
        self.init_poolmanager(*pools[:2], block=pools[2])
        if not hasattr(self, "_sender"):
            # One that makes a pool of urllib3 does not call that of this class.
            HTTPAdapter.init_poolmanager(self, *pools)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = DEFAULT_POOLBLOCK, **pool_kwargs: Any
    ) -> None:
        """Makes the pool of connections. A class that overrides it may pass an `ssl_context`, with which connections are
        verified and encrypted. With other options of a `PoolManager` of urllib3, such as `source_address` and `socket_options`,
        its connections are those of urllib3, and so they are if the class itself sets `self.poolmanager` to one."""
        self._ssl_context: ssl.SSLContext | None = pool_kwargs.get("ssl_context")
        if not pool_kwargs.keys() <= {"ssl_context"}:
            self.poolmanager = _pool_manager(connections, maxsize, block, pool_kwargs)
        self._sender = native.Sender(bool(self._http2))
        self._places = places.Places(self._max_per_host)
        # Of connections over a proxy, and of those with a context of their own.
        self._pool: Any = None
        # Those of urllib3 over proxies, for a class with a pool of its own.
        self._proxy_pools: Any = None

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """The `ProxyManager` of urllib3 for a proxy, of an adapter with a pool of urllib3. A class that overrides it may pass
        options for it."""
        from . import _urllib3

        if self._proxy_pools is None:
            self._proxy_pools = _urllib3.ProxyPools()
        pools = (self._pool_connections, self._pool_maxsize, self._pool_block)
        return self._proxy_pools.manager(proxy, self.proxy_headers(proxy), pools, proxy_kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name, None) for name in self.__attrs__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._init_pools()

    def send(
        self,
        request: Any,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Sends a prepared request and returns the response.

        Args:
            stream: Whether the body is left on the connection until it is asked for.
            timeout: Seconds for opening a connection and for each wait for data, or a pair of these.
            verify: False: the certificate is not verified; a path: what it is verified with.
            cert: The path of a client certificate, or of it and its key.
            proxies: Proxies by scheme.
        """
        timeouts = timeouts_of(timeout)
        order = transport.Order(request, *self._endpoint(request, verify, cert, proxies), timeouts)
        self.add_headers(request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies)

        try:
            if self._has_own_pool:
                raw = self._by_urllib3(order)
            elif hasattr(self.max_retries, "increment"):
                raw = _retry.exchanged(self.max_retries, request, lambda: self._exchange(order))
            else:
                raw = self._exchange(order)
        except transport.TransportError as error:
            raise public_error(error, request) from error
        return self.build_response(request, raw)

    def _exchange(self, order: transport.Order) -> Any:
        left = self.max_retries if isinstance(self.max_retries, int) else 0
        while True:
            try:
                if not order.endpoint.is_native:
                    return self._by_http_client(order)
                call = self._sender.call(order, self._retries)
                return self._places.sent(order.endpoint.host, lambda: self._sender.send(call))
            except transport.ConnectError:
                # Of a body that is a stream, some may have been taken.
                if left <= 0 or not isinstance(order.request.body, (bytes, str, type(None))):
                    raise
                left -= 1

    def _by_http_client(self, order: transport.Order) -> Any:
        from . import _http_client

        if self._pool is None:
            self._pool = _http_client.Pool(self._pool_maxsize)
        return _http_client.exchange(self._pool, order)

    @property
    def _has_own_pool(self) -> bool:
        """Whether it has a pool of urllib3."""
        return "poolmanager" in self.__dict__

    def _by_urllib3(self, order: transport.Order) -> Any:
        from . import _urllib3

        proxy = order.endpoint.proxy
        manager = self.poolmanager if proxy is None else self.proxy_manager_for(proxy)
        return _urllib3.exchange(manager, order, self.max_retries)

    def native_call(self, request: Any, timeout: Any, verify: Any, cert: Any, proxies: Any) -> native.Call | None:
        """A request for an event loop; None if it has to be made in a thread."""
        if self.max_retries or self._has_own_pool or not isinstance(request.body, (bytes, str, type(None))):
            return None
        timeouts = timeouts_of(timeout)
        endpoint, target = self._endpoint(request, verify, cert, proxies)
        if not endpoint.is_native:
            return None
        self.add_headers(request, stream=False, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
        call = self._sender.call(transport.Order(request, endpoint, target, timeouts), self._retries)
        return call if call.stream is None else None

    def _endpoint(self, request: Any, verify: Any, cert: Any, proxies: Any) -> tuple[transport.Endpoint, str]:
        try:
            scheme, host, port = _origin(request.url)
        except ValueError as error:
            raise InvalidURL(error, request=request) from error
        if not host or scheme not in DEFAULT_PORTS:
            raise InvalidURL(f"Invalid URL {request.url!r}: No host supplied", request=request)
        if scheme == "https":
            verify, cert = _trust(verify), _client_cert(cert)
        else:
            verify, cert = True, None
        proxy = select_proxy(request.url, proxies)
        headers: tuple[tuple[str, str], ...] = ()
        if proxy:
            proxy = prepend_scheme_if_needed(proxy, "http")
            try:
                proxy_parts = urlsplit(proxy)
                valid = bool(proxy_parts.hostname) and (proxy_parts.port is None or proxy_parts.port >= 0)
            except ValueError:
                valid = False
            if not valid:
                message = "Please check proxy URL. It is malformed and could be missing the host."
                raise InvalidProxyURL(message, request=request)
            if proxy_parts.scheme not in transport.PROXY_SCHEMES:
                raise InvalidSchema(f"No support for proxies of the scheme {proxy_parts.scheme!r}", request=request)
            headers = tuple(self.proxy_headers(proxy).items())
        context = self._ssl_context if scheme == "https" else None
        endpoint = transport.Endpoint(scheme, host, port, verify, cert, proxy or None, headers, context)
        return endpoint, self.request_url(request, proxies)

    def build_response(self, req: Any, resp: Any) -> Response:
        """A response from what came on the connection."""
        response = Response()
        status: Any = getattr(resp, "status", None)
        response.status_code = status
        headers: Any = getattr(resp, "headers", {})
        response.headers = headers.copy() if isinstance(headers, CaseInsensitiveDict) else CaseInsensitiveDict(headers)
        response.encoding = get_encoding_from_headers(response.headers)
        response.raw = resp
        reason: Any = getattr(resp, "reason", None)
        response.reason = reason
        response.url = req.url.decode("utf-8") if isinstance(req.url, bytes) else req.url
        if isinstance(resp, RawResponse):
            resp._request_url = response.url
        if may_set_cookies(resp):
            extract_cookies_to_jar(response.cookies, req, resp)
        response.request = req
        response.connection = self  # type: ignore[attr-defined]
        return response

    def request_url(self, request: Any, proxies: Any) -> str:
        """What the request line asks for: the path, or the whole URL of a proxy that passes requests on."""
        proxy = select_proxy(request.url, proxies)
        passes_on = proxy and not proxy.lower().startswith("socks")
        if passes_on and urlsplit(request.url).scheme.lower() != "https":
            return urldefragauth(request.url)
        return str(request.path_url)

    def add_headers(self, request: Any, **kwargs: Any) -> None:
        """Nothing; for classes that add headers to what is sent."""

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """The headers for a proxy: what authenticates to it."""
        username, password = get_auth_from_url(proxy)
        return {"Proxy-Authorization": _basic_auth_str(username, password)} if username else {}

    def close(self) -> None:
        """Closes the connections that are free."""
        self._sender.close_idle()
        if self._pool is not None:
            self._pool.clear()
        if self._proxy_pools is not None:
            self._proxy_pools.clear()
        if self._has_own_pool:
            self.poolmanager.clear()


def _attempts(max_retries: Any) -> Any:
    """The argument `max_retries`, as a number or an object of urllib3."""
    if hasattr(max_retries, "increment"):
        return max_retries
    if max_retries is None:
        max_retries = _RETRIES_OF_URLLIB3
    if not hasattr(max_retries, "__index__"):
        raise wrong("max_retries", "an int or a Retry of urllib3", max_retries)
    return _retry.Attempts(max_retries)


def _pool_manager(connections: int, maxsize: int, block: bool, options: dict[str, Any]) -> Any:
    try:
        from urllib3 import PoolManager
    except ImportError as error:
        names = ", ".join(map(repr, options))
        raise TypeError(f"an adapter with {names} needs urllib3, which is not installed: pip install urllib3") from error
    return PoolManager(num_pools=connections, maxsize=maxsize, block=block, **options)


# The scheme and the host of a URL without a user name.
_BEGINNING = re.compile(r"https?://[^/?#@]+")


def _origin(url: str) -> tuple[str, str, int]:
    """The scheme, the host and the port of a URL."""
    found = _BEGINNING.match(url)
    if found is None or url[found.end() : found.end() + 1] == "@":
        return _parsed_origin.__wrapped__(url)
    return _parsed_origin(found[0])


@functools.lru_cache(maxsize=256)
def _parsed_origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(scheme, 80)


def public_error(error: transport.TransportError, request: Any) -> Exception:
    """The exception of requests for an error of the transport."""
    for kind, public in _PUBLIC.items():
        if isinstance(error, kind):
            return public(error, request=request)
    return ConnectionError(error, request=request)


# The first one that fits counts.
_PUBLIC: dict[type[transport.TransportError], type[RequestException]] = {
    transport.TLSError: SSLError,
    transport.ProxyConnectError: ProxyError,
    transport.ConnectTimeoutError: ConnectTimeout,
    transport.ReadTimeoutError: ReadTimeout,
    transport.InvalidRequestError: InvalidURL,
    transport.InvalidHeaderError: InvalidHeader,
}


def timeouts_of(timeout: Any) -> tuple[float | None, float | None]:
    """The limits for opening a connection and for each wait for data."""
    if timeout is None:
        return None, None
    if isinstance(timeout, tuple):
        if len(timeout) != 2:
            message = f"Invalid timeout {timeout}. Pass a (connect, read) timeout tuple, or a single float"
            raise ValueError(f"{message} to set both timeouts to the same value.")
        connect, read = timeout
    elif hasattr(timeout, "connect_timeout"):
        # A Timeout of urllib3.
        connect, read = timeout.connect_timeout, timeout.read_timeout
    else:
        connect = read = timeout
    for seconds in (connect, read):
        if seconds is None:
            continue
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise ValueError(f"Timeout value was {seconds!r}, but it must be an int, float or None.")
        if not 0 < seconds < math.inf:
            limits = "greater than 0, and finite; None is no limit"
            raise ValueError(f"Attempted to set a timeout of {seconds}, but it must be {limits}.")
    return connect, read


def _trust(verify: Any) -> Any:
    """What a certificate is verified with: True, False, or a file or directory."""
    if isinstance(verify, bool) or verify is None:
        return verify is not False
    path = extract_zipped_paths(verify)
    if not os.path.exists(path):
        raise OSError(f"Could not find a suitable TLS CA certificate bundle, invalid path: {path}")
    return ("capath" if os.path.isdir(path) else "cafile", path)


def _client_cert(cert: Any) -> tuple[str, str | None] | None:
    if not cert:
        return None
    file, key = (cert, None) if isinstance(cert, str) else (cert[0], cert[1])
    if not os.path.exists(file):
        raise OSError(f"Could not find the TLS certificate file, invalid path: {file}")
    if key and not os.path.exists(key):
        raise OSError(f"Could not find the TLS key file, invalid path: {key}")
    return file, key


__all__ = [
    "DEFAULT_CA_BUNDLE_PATH",
    "DEFAULT_POOLBLOCK",
    "DEFAULT_POOLSIZE",
    "DEFAULT_POOL_TIMEOUT",
    "DEFAULT_RETRIES",
    "BaseAdapter",
    "HTTPAdapter",
    "RetryError",
]


def __getattr__(name: str) -> Any:
    """Classes of urllib3 that code written for requests takes from here, if it is installed."""
    if name in ("MaxRetryError", "PoolManager", "ResponseError", "Retry"):
        try:
            from urllib3 import PoolManager, exceptions, util
        except ImportError:
            pass
        else:
            others = {"PoolManager": PoolManager, "Retry": util.Retry}
            return others.get(name) or getattr(exceptions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
