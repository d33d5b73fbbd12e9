"""Requests by way of `http.client`: with a context of the `ssl` module, or what the client in Rust cannot tell a proxy."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from ._raw import RawResponse
from ._transport import (
    PROXY_SCHEMES,
    ConnectError,
    ConnectTimeoutError,
    Endpoint,
    Order,
    ProtocolError,
    ProxyConnectError,
    ReadTimeoutError,
    TLSError,
    aborts,
    blocks,
)


class Pool:
    """Connections that are open and free, by what they can be used for."""

    def __init__(self, most: int) -> None:
        self._most = max(most, 1)
        self._free: dict[Endpoint, list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()

    def take(self, endpoint: Endpoint) -> http.client.HTTPConnection | None:
        """The connection that was used last and that the server has not closed."""
        while True:
            with self._lock:
                free = self._free.get(endpoint)
                if not free:
                    return None
                connection = free.pop()
            if _is_alive(connection):
                return connection
            connection.close()

    def give_back(self, endpoint: Endpoint, connection: http.client.HTTPConnection) -> None:
        """Keeps a connection for the next request, or closes it if there are enough."""
        with self._lock:
            free = self._free.setdefault(endpoint, [])
            if len(free) < self._most:
                free.append(connection)
                return
        connection.close()

    def clear(self) -> None:
        """Closes the connections that are free."""
        with self._lock:
            free, self._free = self._free, {}
        for connections in free.values():
            for connection in connections:
                connection.close()

    def __del__(self) -> None:
        # A session that is dropped and not closed leaves no open connection.
        for connections in self._free.values():
            for connection in connections:
                connection.close()


def _is_alive(connection: http.client.HTTPConnection) -> bool:
    """Whether nothing has come on an idle connection: data or its end would be there without a request."""
    sock = connection.sock
    if sock is None:
        return False
    try:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return not poll.poll(0)
    except (OSError, ValueError):
        return False


def connect(endpoint: Endpoint, timeout: float | None) -> http.client.HTTPConnection:
    """Opens a connection. Raises ConnectError, ConnectTimeoutError, ProxyConnectError or TLSError."""
    host, port = endpoint.host, endpoint.port
    if endpoint.proxy is not None:
        proxy = urlsplit(endpoint.proxy)
        host, port = proxy.hostname or "", proxy.port or PROXY_SCHEMES[proxy.scheme]
    connection = http.client.HTTPConnection(host, port)
    failed = ConnectError if endpoint.proxy is None else ProxyConnectError
    if endpoint.is_tunnel and not proxy.scheme.startswith("socks"):
        # Before there is a socket: afterwards http.client refuses it.
        connection.set_tunnel(endpoint.host, endpoint.port, dict(endpoint.proxy_headers))
    try:
        sock = socket.create_connection((host, port), timeout)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock = sock
        if endpoint.proxy is not None and urlsplit(endpoint.proxy).scheme == "https":
            connection.sock = _context(endpoint.verify, None).wrap_socket(sock, server_hostname=host)
        if endpoint.proxy is not None and endpoint.proxy.startswith("socks"):
            _socks5(sock, proxy, endpoint)
        elif endpoint.is_tunnel:
            connection._tunnel()  # type: ignore[attr-defined]
        if endpoint.scheme == "https":
            context = _context(endpoint.verify, endpoint.cert, endpoint.context)
            connection.sock = context.wrap_socket(connection.sock, server_hostname=endpoint.host)
    except ssl.SSLError as error:
        connection.close()
        raise TLSError(f"{endpoint.host}:{endpoint.port}: {error}") from error
    except TimeoutError as error:
        connection.close()
        raise ConnectTimeoutError(f"no connection to {host}:{port} within {timeout} seconds") from error
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        connection.close()
        raise failed(f"no connection to {host}:{port}: {error}") from error
    return connection


def _socks5(sock: socket.socket, proxy: SplitResult, endpoint: Endpoint) -> None:
    """Asks a SOCKS proxy for a connection (RFC 1928; RFC 1929 for a user name and a password)."""

    def receive(count: int) -> bytes:
        data = b""
        while len(data) < count:
            block = sock.recv(count - len(data))
            if not block:
                raise OSError("the SOCKS proxy has closed the connection")
            data += block
        return data

    username, password = unquote(proxy.username or "").encode(), unquote(proxy.password or "").encode()
    sock.sendall(b"\x05\x02\x00\x02" if username else b"\x05\x01\x00")
    _, method = receive(2)
    if method == 2:
        sock.sendall(bytes([1, len(username)]) + username + bytes([len(password)]) + password)
        if receive(2)[1] != 0:
            raise OSError("the SOCKS proxy does not accept the user name and the password")
    elif method != 0:
        raise OSError("the SOCKS proxy asks for another authentication")
    if proxy.scheme == "socks5h":
        name = endpoint.host.encode("idna")
        address = bytes([3, len(name)]) + name
    else:
        family, _, _, _, found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)[0]
        kind = b"\x01" if family == socket.AF_INET else b"\x04"
        address = kind + socket.inet_pton(family, str(found[0]))
    sock.sendall(b"\x05\x01\x00" + address + endpoint.port.to_bytes(2, "big"))
    _, reply, _, kind_of_bound = receive(4)
    if reply != 0:
        raise OSError(f"the SOCKS proxy could not connect: reply {reply}")
    receive({1: 4, 4: 16}.get(kind_of_bound) or receive(1)[0])
    receive(2)


def _context(verify: Any, cert: Any, own: ssl.SSLContext | None = None) -> ssl.SSLContext:
    """The context of a connection. An adapter's own one is used as it is, but for what the request itself asks for."""
    context = own or ssl.create_default_context()
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif isinstance(verify, tuple):
        kind, path = verify
        if own is None:
            context = ssl.create_default_context(**{kind: path})
        else:
            own.load_verify_locations(**{kind: path})
    if cert is not None:
        context.load_cert_chain(*cert)
    return context


def send(
    connection: http.client.HTTPConnection, method: str, target: str, host: str, headers: Any, body: Any
) -> None:
    """Sends a request: its head as it is given, with a `Host` if there is none."""
    present = {name.lower() for name in headers}
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    if "host" not in present:
        connection.putheader("Host", host)
    for name, value in headers.items():
        connection.putheader(name, value if isinstance(value, bytes) else value.encode("latin-1"))
    is_chunked = "chunked" in str(headers.get("Transfer-Encoding", "")).lower() and "content-length" not in present
    connection.endheaders()
    for block in blocks(body):
        if is_chunked:
            if block:
                connection.send(b"%x\r\n%b\r\n" % (len(block), block))
        else:
            connection.send(block)
    if is_chunked:
        connection.send(b"0\r\n\r\n")


class ClientResponse(RawResponse):
    """A response of `http.client`. Its connection is given back after the last byte."""

    def __init__(
        self, pool: Pool, endpoint: Endpoint, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        super().__init__(response.getheaders(), response.status, response.reason, response.version)
        self._pool, self._endpoint = pool, endpoint
        self._connection: http.client.HTTPConnection | None = connection
        self._original_response: http.client.HTTPResponse = response
        self._is_closed = False
        self._check_end()

    def _is_read(self) -> bool:
        return self._connection is None

    def close(self) -> None:
        """Closes the connection, if the body was not read to its end."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            self._original_response.close()
            connection.close()

    def _read(self, amt: int | None) -> bytes:
        return self._take(self._original_response.read, amt)

    def _read_piece(self, amt: int) -> bytes:
        return self._take(self._original_response.read1, amt)

    def _take(self, read: Callable[[Any], bytes], amt: int | None) -> bytes:
        if self._connection is None:
            return b""
        if (abort := aborts.get()) is not None:
            abort.watch(self._connection.sock)
        try:
            block = read(amt)
            self._count += len(block)
        except TimeoutError as error:
            self.close()
            raise ReadTimeoutError(f"{self._endpoint.host}:{self._endpoint.port}: Read timed out.") from error
        except ssl.SSLError as error:
            self.close()
            raise TLSError(str(error)) from error
        except http.client.IncompleteRead as error:
            self.close()
            raise ProtocolError(f"Connection broken: {self._incomplete(error)}") from error
        except (http.client.HTTPException, OSError, ValueError) as error:
            self.close()
            raise ProtocolError(f"Connection broken: {error!r}") from error
        if not block and amt != 0 and (self._original_response.length or 0) > 0:
            left = self._original_response.length
            self.close()
            raise ProtocolError(f"Connection broken: IncompleteRead({self._count} bytes read, {left} more expected)")
        self._check_end()
        return block

    def _incomplete(self, error: http.client.IncompleteRead) -> str:
        """How much of the body had come. In a body in chunks, what came of the last one is in the error beneath."""
        came, expected = self._count + len(error.partial), error.expected
        beneath = error.__cause__
        if isinstance(beneath, http.client.IncompleteRead):
            came, expected = came + len(beneath.partial), beneath.expected
        more = "" if expected is None else f", {expected} more expected"
        return f"IncompleteRead({came} bytes read{more})"

    def _check_end(self) -> None:
        response, connection = self._original_response, self._connection
        if connection is None or not (response.isclosed() or response.length == 0):
            return
        self._connection = None
        will_close = response.will_close
        response.close()
        if (abort := aborts.get()) is not None:
            abort.watch(None)
        if will_close:
            connection.close()
        else:
            self._pool.give_back(self._endpoint, connection)


def exchange(pool: Pool, order: Order) -> ClientResponse:
    """Sends a prepared request, and waits for the head of its response."""
    request = order.request
    kept = pool.take(order.endpoint)
    if kept is not None:
        try:
            return _attempt(pool, kept, order)
        except ProtocolError:
            # The server has closed the connection while it was idle. That is not seen before something is sent, and a
            # request that can be sent twice is sent again.
            if request.method not in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"):
                raise
            if not isinstance(request.body, (bytes, str, type(None))):
                raise
    connect_timeout, _ = order.timeouts
    return _attempt(pool, connect(order.endpoint, connect_timeout), order)


def _attempt(pool: Pool, connection: http.client.HTTPConnection, order: Order) -> ClientResponse:
    request, endpoint, target, (_, timeout) = order
    if (abort := aborts.get()) is not None:
        abort.watch(connection.sock)
    try:
        connection.sock.settimeout(timeout)
        send(connection, request.method, target, endpoint.authority, order.headers, request.body)
        response = connection.getresponse()
        # A connection that the server closes after this response has none any more; the response keeps the socket.
        return ClientResponse(pool, endpoint, connection, response)
    except TimeoutError as error:
        connection.close()
        message = f"{endpoint.host}:{endpoint.port}: Read timed out. (read timeout={timeout})"
        raise ReadTimeoutError(message) from error
    except ssl.SSLError as error:
        connection.close()
        raise TLSError(str(error)) from error
    except (http.client.HTTPException, OSError) as error:
        connection.close()
        raise ProtocolError(f"Connection aborted: {error!r}") from error
    except BaseException:
        # The body of the request was not whole.
        connection.close()
        raise
