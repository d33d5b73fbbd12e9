"""Servers of one test each, whose answers the test decides: HTTP by hand, on threads of their own."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Reader:
    """What a client sends, request by request."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._unread = b""

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes, fewer if the client has closed the connection."""
        while len(self._unread) < count and (block := self.connection.recv(65536)):
            self._unread += block
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken

    def until(self, end: bytes) -> bytes:
        """The bytes up to and with `end`; none if the client has closed the connection."""
        while end not in self._unread:
            block = self.connection.recv(65536)
            if not block:
                return b""
            self._unread += block
        taken, _, self._unread = self._unread.partition(end)
        return taken + end

    def head(self) -> bytes:
        """The head of the next request."""
        return self.until(b"\r\n\r\n")


@contextlib.contextmanager
def served(serve: Callable[[Reader], None], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that calls `serve` for each connection, in a thread of its own; gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(connection):
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with contextlib.closing(connection):
                serve(Reader(connection))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    scheme = "http" if context is None else "https"
    host = "127.0.0.1" if context is None else "localhost"
    try:
        yield f"{scheme}://{host}:{listener.getsockname()[1]}/"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
