"""Requests by way of the client in Rust."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

from .._overlapped import Client, Incoming, RequestFailure, Timings, Tls
from ._places import Place
from ._raw import RawResponse
from ._transport import (
    READ_BYTES,
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
    aborts,
    blocks,
)
from .structures import CaseInsensitiveDict

# What `version` of a response of HTTP/2 is.
_HTTP2 = 20

# Settings of TLS that an adapter remembers.
_TLS_MAX = 16


class Call(NamedTuple):
    """A request as the client takes it, and what its errors name."""

    endpoint: Endpoint
    prepared: tuple[Any, ...]
    # A body that is a stream, and its length if that is known.
    stream: Any = None
    length: int | None = None


class Sender:
    """The client of an adapter, made when it is first needed, and again in a forked child."""

    def __init__(self, http2: bool) -> None:
        self._http2 = http2
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._process = 0
        self._tls: dict[Any, Tls] = {}

    def client(self) -> Client:
        """The client of this process."""
        client = self._client
        if client is not None and self._process == _process():
            return client
        with self._lock:
            if self._client is None or self._process != _process():
                self._client, self._process = Client(self._http2), _process()
            return self._client

    def call(self, order: Order, retries: int = 0) -> Call:
        """A prepared request as the client takes it."""
        request, endpoint, target, timeouts = order
        fields: list[tuple[str, bytes]] = []
        has_host, length, is_chunked = False, None, False
        headers = request.headers
        for name, value in headers.pairs() if isinstance(headers, CaseInsensitiveDict) else headers.items():
            value = value if isinstance(value, bytes) else value.encode("latin-1")
            lower = name.lower()
            if lower == "host":
                has_host = True
            elif lower == "content-length":
                length = value
            elif lower == "transfer-encoding":
                is_chunked = b"chunked" in value.lower()
            fields.append((name, value))
        if not has_host:
            fields.insert(0, ("Host", endpoint.authority.encode("latin-1")))
        body, stream = _body(request.body)
        if body is not None and is_chunked:
            stream, body = [body] if body else [], None
        elif body is not None and length is None:
            fields.append(("Content-Length", str(len(body)).encode()))
        elif body is None and stream is None and length == b"0":
            body = b""
        tls = None
        if endpoint.scheme == "https" and (endpoint.verify is not True or endpoint.cert is not None):
            tls = self._tls_of(endpoint.verify, endpoint.cert)
        url = f"{endpoint.scheme}://{endpoint.authority}/"
        if not endpoint.is_tunnel:
            fields += [(name, value.encode("latin-1")) for name, value in endpoint.proxy_headers if name not in headers]
        proxy = endpoint.native_proxy
        prepared = (request.method, url, target, fields, body, *timeouts, tls, retries, proxy)
        known = None if is_chunked or stream is None else int(length or b"0")
        return Call(endpoint, prepared, stream, known)

    def send(self, call: Call) -> NativeResponse:
        """Makes a request, and waits for the head of its response."""
        abort = aborts.get()
        try:
            if call.stream is None:
                incoming = self.client().send(call.prepared, abort)
            else:
                incoming = self.client().send_from(call.prepared, blocks(call.stream), call.length, abort)
        except RequestFailure as failure:
            raise head_error(failure, call.endpoint, call.prepared[6]) from failure
        return NativeResponse(incoming, call.endpoint)

    def close_idle(self) -> None:
        """Closes the connections that are free."""
        if self._client is not None and self._process == _process():
            self._client.close_idle()

    def _tls_of(self, verify: Any, cert: Any) -> Tls:
        key = (verify, cert, *(_state_of(path) for path in (*_paths(verify), *filter(None, cert or ()))))
        tls = self._tls.get(key)
        if tls is None:
            ca_pem = b"\n".join(_content(path) for path in _paths(verify)) if isinstance(verify, tuple) else None
            file, key_file = cert or (None, None)
            try:
                tls = Tls(
                    verify is not False,
                    ca_pem,
                    None if file is None else _content(file),
                    None if key_file is None else _content(key_file),
                )
            except ValueError as error:
                raise TLSError(str(error)) from error
            while len(self._tls) >= _TLS_MAX:
                self._tls.pop(next(iter(self._tls)))
            self._tls[key] = tls
        return tls


def _phrase(status: int) -> str:
    """The reason phrase of a status, for HTTP/2, which sends none."""
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""


class NativeResponse(RawResponse):
    """A response of the client in Rust."""

    def __init__(self, incoming: Incoming, endpoint: Endpoint) -> None:
        reason = _phrase(incoming.status) if incoming.version == _HTTP2 else incoming.reason
        super().__init__(incoming.headers, incoming.status, reason, incoming.version)
        self._incoming = incoming
        self._endpoint = endpoint
        self._is_closed = False
        #: Its place among the requests to its host, which it leaves when the body has come, is closed, or is forgotten.
        self.place: Place | None = None

    def hold(self, place: Place) -> None:
        """Keeps a place until the end."""
        self.place = place
        self._check_end()

    def _check_end(self) -> None:
        if self.place is not None and (self._is_closed or self._incoming.has_arrived()):
            place, self.place = self.place, None
            place.leave()

    def __del__(self) -> None:
        if getattr(self, "place", None) is not None:
            self.close()

    def getheaders(self) -> list[tuple[str, str]]:
        """The headers in their order."""
        # What was folded is one line already.
        return self._fields

    def _is_read(self) -> bool:
        return self._is_closed or self._incoming.is_over()

    @property
    def timings(self) -> Timings | None:
        """The phases of the request."""
        return self._incoming.timings

    def close(self) -> None:
        """Closes the connection, if the body was not read to its end."""
        self._is_closed = True
        if not self._incoming.has_arrived():
            self._incoming.close()
        self._check_end()

    def _read(self, amt: int | None) -> bytes:
        return self._take(self._incoming.read, amt)

    def _read_piece(self, amt: int) -> bytes:
        return self._take(self._incoming.read_piece, amt)

    def _take(self, read: Callable[[Any, Any], bytes], amt: int | None) -> bytes:
        if self._is_closed:
            return b""
        if self.place is not None:
            self.place.thread = threading.get_ident()
        try:
            block = read(amt, aborts.get())
        except RequestFailure as failure:
            raise self.body_error(failure) from failure
        self._count += len(block)
        if self.place is not None:
            self._check_end()
        return block

    async def read_soon(self, amt: int | None) -> bytes:
        """The next block for an event loop: as `_read`, or `_read_piece` where blocks are given on as they come."""
        if self._is_closed:
            return b""
        fills = not self.comes_in_pieces(amt)
        try:
            block = bytes(await resolved(self._incoming.read_soon, READ_BYTES if amt is None else amt, fills))
        except RequestFailure as failure:
            raise self.body_error(failure) from failure
        self._count += len(block)
        return block

    def body_error(self, failure: RequestFailure) -> TransportError:
        """The error for a body that does not come whole."""
        kind, message, came = failure.args
        self.close()
        if "timeout" in kind:
            return ReadTimeoutError(f"{self._endpoint.host}:{self._endpoint.port}: Read timed out.")
        if kind.startswith("tls."):
            return TLSError(message)
        length = self.headers.get("content-length", "")
        more = f", {int(length) - came} more expected" if length.isdecimal() else ""
        return ProtocolError(f"Connection broken: IncompleteRead({came} bytes read{more}): {message}")


async def resolved(start: Any, *args: Any) -> Any:
    """Starts something of the client for the running event loop and awaits it; cancelling gives it up."""
    from .._loop import arrival, bridge_to_running

    loop, bridge = bridge_to_running()
    pending = start(bridge, *args)
    await arrival(loop, pending)
    return pending.take()


def head_error(failure: RequestFailure, endpoint: Endpoint, read_timeout: float | None) -> TransportError:
    """The error for a request without a response."""
    kind, message, _ = failure.args
    place = f"{endpoint.host}:{endpoint.port}"
    if kind in ("dns.timeout", "connect.timeout", "tls.timeout"):
        return ConnectTimeoutError(f"no connection to {place} in time: {message}")
    if kind.startswith("proxy."):
        return ProxyConnectError(message)
    if "timeout" in kind:
        return ReadTimeoutError(f"{place}: Read timed out. (read timeout={read_timeout})")
    if kind.startswith("tls."):
        return TLSError(f"{place}: {message}")
    if kind == "input.header":
        return InvalidHeaderError(message)
    if kind.startswith(("input.", "policy.scheme")) and kind != "input.body":
        return InvalidRequestError(message)
    if kind.startswith(("dns.", "connect.", "policy.", "resource")):
        return ConnectError(f"no connection to {place}: {message}")
    return ProtocolError(f"Connection aborted: {message}")


def _body(body: Any) -> tuple[bytes | None, Any]:
    """The body as bytes, or else as a stream."""
    if body is None or isinstance(body, bytes):
        return body, None
    if isinstance(body, str):
        return body.encode("utf-8"), None
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body), None
    return None, body


def _paths(verify: Any) -> list[str]:
    """The files with the certificates to trust."""
    if not isinstance(verify, tuple):
        return []
    kind, path = verify
    if kind == "cafile":
        return [path]
    found = (os.path.join(path, name) for name in sorted(os.listdir(path)))
    return [path for path in found if os.path.isfile(path)]


def _state_of(path: str) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_mtime_ns, state.st_size


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


_current = os.getpid()


def _process() -> int:
    return _current


def _forked() -> None:
    global _current
    _current = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

__all__ = ["Call", "NativeResponse", "Sender", "head_error", "resolved"]
