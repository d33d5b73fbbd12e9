"""What the ways to send a request have in common: their errors, what a connection is for, and how a request is given up."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from .structures import CaseInsensitiveDict

if TYPE_CHECKING:
    import socket

READ_BYTES = 64 * 1024

DEFAULT_PORTS = {"http": 80, "https": 443}

# The kinds of proxies, with their ports. With socks5h the proxy resolves the name of the host.
PROXY_SCHEMES = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class TransportError(Exception):
    """The ancestor of the errors of this file."""


class ConnectError(TransportError):
    """No connection."""


class ConnectTimeoutError(ConnectError):
    """No connection in time."""


class ProxyConnectError(ConnectError):
    """No connection to the proxy, or the proxy refused to make one."""


class ReadTimeoutError(TransportError):
    """No data in time."""


class TLSError(TransportError):
    """TLS failed."""


class ProtocolError(TransportError):
    """The connection broke, or what came is not HTTP."""


class InvalidRequestError(TransportError):
    """The URL cannot be asked for."""


class InvalidHeaderError(TransportError):
    """A header of the request cannot be sent, or does not fit its body."""


class DecodeError(TransportError):
    """The body could not be decoded."""


class Endpoint(NamedTuple):
    """What a connection can be used for. Two requests share a connection only if all of this is the same."""

    scheme: str
    host: str
    port: int
    verify: Any = True
    cert: Any = None
    # The URL of the proxy, and what authenticates to it.
    proxy: str | None = None
    proxy_headers: tuple[tuple[str, str], ...] = ()
    # A context of the adapter's own, instead of the standard one.
    context: Any = None

    @property
    def authority(self) -> str:
        """The value of `Host`: the host, with its port if that is not the port of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def is_native(self) -> bool:
        """Whether the client in Rust can make the connection."""
        if self.context is not None:
            return False
        if self.proxy is None:
            return True
        # It verifies a proxy of https by the settings of the client, and resolves a name for one of SOCKS before it asks that.
        if self.proxy.startswith(("https:", "socks5:")):
            return False
        # What it tells a proxy that makes a tunnel is who asks.
        return not self.is_tunnel or all(name == "Proxy-Authorization" for name, _ in self.proxy_headers)

    @property
    def native_proxy(self) -> str | None:
        """The URL of the proxy for the client in Rust; with its user name only if no header has it."""
        if self.proxy is None:
            return None
        parts = urlsplit(self.proxy)
        userinfo, at, _ = parts.netloc.rpartition("@")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = parts.port or PROXY_SCHEMES[parts.scheme]
        return f"{parts.scheme}://{userinfo + at if self.is_tunnel else ''}{host}:{port}"

    @property
    def is_tunnel(self) -> bool:
        """Whether the proxy passes bytes on, rather than requests."""
        return self.proxy is not None and (self.scheme == "https" or self.proxy.startswith("socks"))


class Order(NamedTuple):
    """A prepared request, and how it is to be sent."""

    request: Any
    endpoint: Endpoint
    # What the request line asks for.
    target: str
    # The limits for opening a connection and for each wait for data.
    timeouts: tuple[float | None, float | None]

    @property
    def headers(self) -> Any:
        """Its headers, with those for a proxy that passes requests on."""
        headers, endpoint = self.request.headers, self.endpoint
        if endpoint.proxy is None or endpoint.is_tunnel or not endpoint.proxy_headers:
            return headers
        return CaseInsensitiveDict({**dict(endpoint.proxy_headers), **dict(headers.items())})


class Abort:
    """Whether a request is to be given up, for the thread that makes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.is_aborted = False

    def watch(self, sock: socket.socket | None) -> None:
        """A socket that the request uses from now on; what waits for it fails when the request is given up."""
        with self._lock:
            self._socket = sock
        if self.is_aborted:
            self.abort()

    def abort(self) -> None:
        """Ends the request."""
        with self._lock:
            self.is_aborted = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(2)


aborts: contextvars.ContextVar[Abort | None] = contextvars.ContextVar("aborts", default=None)


def blocks(body: Any) -> Iterator[bytes]:
    """The body of a request in blocks."""
    if body is None:
        return
    if isinstance(body, str):
        yield body.encode("utf-8")
    elif isinstance(body, (bytes, bytearray, memoryview)):
        yield bytes(body)
    elif hasattr(body, "read"):
        while block := body.read(READ_BYTES):
            yield block.encode("utf-8") if isinstance(block, str) else block
    else:
        for block in body:
            yield block.encode("utf-8") if isinstance(block, str) else block
