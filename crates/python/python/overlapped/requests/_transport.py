"""Connections, and the body of a response as it comes from one.

On `http.client`. Everything that is about Python's semantics (headers as they were given, bodies that are files or
generators, proxies, contexts of the `ssl` module) is here; no other file opens a connection.
"""

from __future__ import annotations

import contextlib
import contextvars
import http.client
import re
import select
import socket
import ssl
import threading
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from .structures import CaseInsensitiveDict

READ_BYTES = 64 * 1024

DEFAULT_PORTS = {"http": 80, "https": 443}

# A line break within the value of a header, with the blanks that make it one.
_FOLD = re.compile(r"\r?\n[ \t]+")

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
    context: ssl.SSLContext | None = None

    @property
    def authority(self) -> str:
        """The value of `Host`: the host, with its port if that is not the port of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def is_tunnel(self) -> bool:
        """Whether the proxy passes bytes on, rather than requests."""
        return self.proxy is not None and (self.scheme == "https" or self.proxy.startswith("socks"))


class Abort:
    """The connections of a request, to be closed by another thread. What waits for one of them then fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._is_aborted = False

    def watch(self, connection: http.client.HTTPConnection | None) -> None:
        """The connection that the request uses from now on."""
        with self._lock:
            self._connection = connection
        if self._is_aborted:
            self.abort()

    def abort(self) -> None:
        """Ends the request."""
        with self._lock:
            self._is_aborted = True
            sock = self._connection.sock if self._connection is not None else None
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


aborts: contextvars.ContextVar[Abort | None] = contextvars.ContextVar("aborts", default=None)


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
    for block in _blocks(body):
        if is_chunked:
            if block:
                connection.send(b"%x\r\n%b\r\n" % (len(block), block))
        else:
            connection.send(block)
    if is_chunked:
        connection.send(b"0\r\n\r\n")


def _blocks(body: Any) -> Iterator[bytes]:
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


class HeaderDict(CaseInsensitiveDict):
    """The headers of a response; several of one name are one, joined by commas."""

    def __init__(self, fields: Any = ()) -> None:
        super().__init__()
        for name, value in fields:
            self.add(name, value)

    def add(self, name: str, value: str) -> None:
        """Adds a header."""
        lower = name.lower()
        if lower in self._store:
            first, before = self._store[lower]
            self._store[lower] = (first, f"{before}, {value}")
        else:
            self._store[lower] = (name, value)


class RawResponse:
    """A response whose body is read from its connection. The connection is given back after the last byte."""

    def __init__(
        self, pool: Pool, endpoint: Endpoint, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self._pool, self._endpoint = pool, endpoint
        self._connection: http.client.HTTPConnection | None = connection
        self._original_response = response
        self._decoder: Any = None
        self._decoded = bytearray()
        self._is_closed = False
        self._count = 0
        self.headers = HeaderDict(self.getheaders())
        self.status = response.status
        self.reason = response.reason
        self.version = response.version
        self._check_end()

    @property
    def closed(self) -> bool:
        """Whether nothing more can be read."""
        return self._is_closed or (self._connection is None and not self._decoded)

    def getheaders(self) -> list[tuple[str, str]]:
        """The headers in their order. A value that was folded is one line: a line break would end it where it is sent on."""
        return [(name, _FOLD.sub(" ", value)) for name, value in self._original_response.getheaders()]

    def getheader(self, name: str, default: Any = None) -> Any:
        """A header."""
        return self.headers.get(name, default)

    def read(self, amt: int | None = None, decode_content: bool | None = None, cache_content: bool = False) -> bytes:
        """The next `amt` bytes, or all; by default as they are on the wire."""
        if not decode_content or not self._codings():
            return self._read(amt)
        while amt is None or len(self._decoded) < amt:
            block = self._read(READ_BYTES)
            if not block:
                self._decoded += self._decode(b"", True)
                break
            self._decoded += self._decode(block, False)
        count = len(self._decoded) if amt is None else amt
        taken = bytes(self._decoded[:count])
        del self._decoded[:count]
        return taken

    def stream(self, amt: int | None = READ_BYTES, decode_content: bool | None = None) -> Iterator[bytes]:
        """The body in blocks; without `amt`, of any size."""
        while block := self.read(READ_BYTES if amt is None else amt, decode_content):
            yield block

    def readable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Closes the connection, if the body was not read to its end."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            self._original_response.close()
            connection.close()

    def release_conn(self) -> None:
        """Closes the connection, if the body was not read to its end: what is left of it would be read as the next head."""
        self.close()

    def _read(self, amt: int | None) -> bytes:
        if self._connection is None:
            return b""
        if (abort := aborts.get()) is not None:
            abort.watch(self._connection)
        try:
            block = self._original_response.read(amt)
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

    def _codings(self) -> list[str]:
        value = self.headers.get("content-encoding") or ""
        codings = [coding.strip().lower() for coding in value.split(",") if coding.strip()]
        known = all(coding in _DECODERS or coding == "identity" for coding in codings)
        return [coding for coding in codings if coding != "identity"] if known else []

    def _decode(self, block: bytes, is_end: bool) -> bytes:
        if self._decoder is None:
            self._decoder = [_DECODERS[coding]() for coding in reversed(self._codings())]
        try:
            for decoder in self._decoder:
                block = decoder.decompress(block) + (decoder.flush() if is_end else b"")
        except Exception as error:
            self.close()
            raise DecodeError(f"the body is not what its Content-Encoding says: {error}") from error
        return block


class _Gzip:
    """gzip, with any number of members."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._begun = False

    def decompress(self, block: bytes) -> bytes:
        decoded = bytearray()
        while block:
            if self._inflate.eof:
                # Zeros and rubbish behind the last member are ignored, as everyone does.
                if not block.startswith(b"\x1f\x8b"):
                    break
                self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
            decoded += self._inflate.decompress(block)
            block = self._inflate.unused_data
        return bytes(decoded)

    def flush(self) -> bytes:
        return self._inflate.flush()


class _Deflate:
    """deflate: as zlib, or without its frame, which some servers send."""

    def __init__(self) -> None:
        self._inflate: Any = None

    def decompress(self, block: bytes) -> bytes:
        if self._inflate is None and block:
            is_zlib = block[0] & 0x0F == 8 and (len(block) < 2 or int.from_bytes(block[:2], "big") % 31 == 0)
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        return bytes(self._inflate.decompress(block)) if block else b""

    def flush(self) -> bytes:
        return b"" if self._inflate is None else bytes(self._inflate.flush())


_DECODERS: dict[str, Any] = {"gzip": _Gzip, "x-gzip": _Gzip, "deflate": _Deflate}
