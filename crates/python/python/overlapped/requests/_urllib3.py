"""Requests by way of urllib3, for an adapter that has made a `PoolManager` of it: with a source address, options of its sockets,
a fingerprint, or settings of TLS that nothing else here has. Imported for such adapters only."""

from __future__ import annotations

import threading
from typing import Any

from urllib3 import Retry, Timeout, exceptions, poolmanager

from ._transport import (
    ConnectError,
    ConnectTimeoutError,
    Endpoint,
    InvalidHeaderError,
    InvalidRequestError,
    Order,
    ProtocolError,
    ProxyConnectError,
    ReadTimeoutError,
    TLSError,
    TransportError,
)
from .exceptions import RetryError


class ProxyPools:
    """The managers of one adapter for its proxies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._managers: dict[str, Any] = {}

    def manager(
        self, proxy: str, headers: dict[str, str], pools: tuple[int, int, bool], options: dict[str, Any]
    ) -> Any:
        """The manager for a proxy. `pools`: for how many hosts, how many connections to each, and whether these are a limit."""
        with self._lock:
            manager = self._managers.get(proxy)
            if manager is None:
                named = dict(zip(("num_pools", "maxsize", "block"), pools), **options)
                if proxy.lower().startswith("socks"):
                    from urllib3.contrib.socks import SOCKSProxyManager

                    manager = SOCKSProxyManager(proxy, **named)
                else:
                    manager = poolmanager.proxy_from_url(proxy, proxy_headers=headers, **named)
                self._managers[proxy] = manager
            return manager

    def clear(self) -> None:
        """Closes the connections that are free."""
        with self._lock:
            managers = list(self._managers.values())
        for manager in managers:
            manager.clear()


def exchange(manager: Any, order: Order, retries: Any) -> Any:
    """Sends a prepared request by way of a manager, and waits for the head of its response."""
    request, endpoint, target, timeouts = order
    try:
        pool = manager.connection_from_host(
            endpoint.host, port=endpoint.port, scheme=endpoint.scheme, pool_kwargs=_settings_of_tls(endpoint)
        )
        return pool.urlopen(
            method=request.method,
            url=target,
            body=request.body,
            headers=order.headers,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
            retries=Retry(int(retries), read=False) if isinstance(retries, int) else retries,
            timeout=Timeout(*timeouts),
            chunked=request.body is not None and "Content-Length" not in request.headers,
        )
    except exceptions.HTTPError as error:
        raise _error(error, endpoint, request) from error
    except OSError as error:
        raise ProtocolError(f"Connection aborted: {error!r}") from error


def _settings_of_tls(endpoint: Endpoint) -> dict[str, Any] | None:
    """What a request says about certificates, beside what the manager has."""
    if endpoint.scheme != "https":
        return None
    settings: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED" if endpoint.verify is not False else "CERT_NONE"}
    if isinstance(endpoint.verify, tuple):
        kind, path = endpoint.verify
        settings["ca_certs" if kind == "cafile" else "ca_cert_dir"] = path
    if endpoint.cert is not None:
        settings["cert_file"], settings["key_file"] = endpoint.cert
    return settings


# The first one that fits counts.
_ERRORS: tuple[tuple[type[Exception], type[TransportError]], ...] = (
    (exceptions.ConnectTimeoutError, ConnectTimeoutError),
    (exceptions.ProxyError, ProxyConnectError),
    (exceptions.SSLError, TLSError),
    (exceptions.NewConnectionError, ConnectError),
    (exceptions.ReadTimeoutError, ReadTimeoutError),
    (exceptions.InvalidHeader, InvalidHeaderError),
    (exceptions.LocationValueError, InvalidRequestError),
)


def _error(error: Exception, endpoint: Endpoint, request: Any) -> Exception:
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(error, exceptions.MaxRetryError) and isinstance(reason, Exception) else error
    if isinstance(cause, exceptions.ResponseError):
        # A status that was to be retried.
        return RetryError(error, request=request)
    kind = next((ours for theirs, ours in _ERRORS if isinstance(cause, theirs)), ProtocolError)
    return kind(f"{endpoint.host}:{endpoint.port}: {cause}")
