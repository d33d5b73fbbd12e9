"""The extension module. Its public names are those that `overlapped` gives."""

import builtins
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Generator, Iterator
from contextvars import Context
from os import PathLike
from typing import Any, final

from typing_extensions import disjoint_base

__all__ = [
    "Bridge",
    "Client",
    "Feeder",
    "Fetch",
    "Incoming",
    "Pending",
    "Plain",
    "Pool",
    "Record",
    "RequestFailure",
    "Single",
    "Timings",
    "Tls",
    "__version__",
    "_unpickled",
    "host_to_ascii",
    "main",
]

__version__: str

def main(words: list[str]) -> int:
    """Runs the command `overlapped` with these arguments, and returns its exit code."""

def host_to_ascii(host: str) -> str | None:
    """An international host name as it is asked for (UTS 46); None if it is not valid."""

def _unpickled(version: str, columns: bytes, body: bytes | None) -> Record:
    """The record that was pickled with these arguments."""

@final
class Bridge:
    """The bridge to one event loop."""

    def __new__(cls, event_loop: AbstractEventLoop) -> Bridge: ...
    def fileno(self) -> int: ...
    def drain(self) -> None: ...
    def resolve_all(self) -> None: ...
    def depart(self) -> None: ...

class RequestFailure(Exception):
    """A request has failed: the kind of its error, a message, and how many bytes of the body had come."""

@final
class Tls:
    """Settings of TLS."""

    def __new__(
        cls,
        verify: bool,
        ca_pem: bytes | None = None,
        cert_pem: bytes | None = None,
        key_pem: bytes | None = None,
    ) -> Tls: ...

@final
class Client:
    """A client for single requests, with its connections. Threads and event loops may share it."""

    def __new__(cls, http2: bool = False) -> Client: ...
    def send(self, prepared: tuple[Any, ...], abort: Any) -> Incoming: ...
    def send_from(
        self, prepared: tuple[Any, ...], blocks: Iterator[bytes], length: int | None, abort: Any
    ) -> Incoming: ...
    def send_soon(self, bridge: Bridge, prepared: tuple[Any, ...], reads: bool) -> Pending: ...
    def close_idle(self) -> int: ...

@final
class Plain:
    """What the plain requests of a session over one adapter are sent with, and what must be as it was for one to be plain."""

    def __new__(
        cls,
        client: Client,
        fields: list[tuple[str, bytes]],
        retries: int,
        watched: dict[str, Any],
        absent: list[str],
        response: type[Any],
        common: Any,
    ) -> Plain: ...
    @staticmethod
    def takes(url: str) -> bool:
        """Whether a URL is plain: it is sent as it is."""
    def get(self, session: Any, url: Any, connect: float | None, read: float | None, abort: Any) -> Any:
        """The response to a GET, or None: something is not as it was, or the URL is not plain; nothing was sent then."""
    def get_soon(
        self, session: Any, bridge: Bridge, url: Any, connect: float | None, read: float | None
    ) -> Pending | None: ...

@final
class Single:
    """Fetches rows by themselves, over connections that it keeps. Threads may share it."""

    def __new__(cls, named: tuple[str | None, str | None, str]) -> Single: ...
    def fetch(self, item: Any) -> Record: ...

@final
class Pending:
    """A request of an event loop that is on its way, awaited by one task."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def take(self) -> Any:
        """What came of it: to be called once, when it was awaited."""
    def abort(self) -> None:
        """Gives the request up and closes its connection, unless it is done."""
    @property
    def _asyncio_future_blocking(self) -> bool: ...
    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, is_given: bool) -> None: ...
    def get_loop(self) -> AbstractEventLoop: ...
    def add_done_callback(self, resume: Callable[..., Any], *, context: Context) -> None: ...
    def cancel(self, msg: Any = None) -> bool: ...
    def result(self) -> None: ...

@final
class Incoming:
    """A response to a request of `Client`."""

    @property
    def status(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    @property
    def reused(self) -> bool: ...
    @property
    def remote_ip(self) -> str | None: ...
    @property
    def timings(self) -> Timings | None: ...
    def read(self, most: int | None, abort: Any) -> bytes: ...
    def read_piece(self, most: int, abort: Any) -> bytes: ...
    def read_soon(self, bridge: Bridge, most: int | None, fills: bool) -> Pending: ...
    def is_over(self) -> bool: ...
    def has_arrived(self) -> bool: ...
    def close(self) -> None: ...

@final
class Pool:
    """The queue of an executor."""

    ROOT: int
    def __new__(cls, max_workers: int, max_queue: int | None, keep_alive: float | None) -> Pool: ...
    def add_lane(self, limit: int) -> int: ...
    def is_of_this_process(self) -> bool: ...
    def submit(
        self,
        lane: int,
        future: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
    ) -> bool | None: ...
    def run(
        self,
        lane: int,
        bridge: Bridge,
        future: Future[Any],
        context: Context,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
    ) -> bool | None: ...
    def wait_for_place(self) -> None: ...
    def wait_for_end(self, lane: int, seconds: float | None) -> bool: ...
    def thread_refused(self) -> Any | None: ...
    def work(self) -> bool: ...
    def worker_failed(self) -> None: ...
    def close(self) -> None: ...
    def drain(self) -> list[Any]: ...
    def stats(self) -> tuple[int, int, int, int, int, int, int]: ...

@disjoint_base
class Fetch:
    """A run of the engine."""

    def __new__(
        cls, options: dict[str, Any], list: list[Any] | None = None, path: str | PathLike[str] | None = None
    ) -> Fetch: ...
    def __iter__(self) -> Fetch: ...
    def __next__(self) -> Record: ...
    def take(self, most: int) -> list[Record]:
        """The next records, at least one unless the run is over, and at most `most`."""
    def __arrow_c_stream__(self, requested_schema: Any | None = None) -> Any:
        """The records as a stream of Arrow, a capsule of its C interface. Records that were taken before are not in it."""
    def stream_error(self) -> BaseException | None:
        """The exception that a stream of Arrow has ended with, once; None: it has not."""
    def next_now(self) -> Record | None: ...
    def subscribe(self, bridge: Bridge, future: Future[Any]) -> bool: ...
    def unsubscribe(self, future: Future[Any]) -> None: ...
    def feeder(self) -> Feeder: ...
    def cancel(self) -> None:
        """Stops the run: requests in flight are dropped; records that are there can still be taken."""
    def close(self) -> None:
        """Stops the run and drops what is left of it. Waits until an output is written, so that the run can be resumed."""
    def figures(self) -> dict[str, Any]: ...
    def bars(self) -> list[tuple[str, int | None, float, Timings]]: ...

@final
class Feeder:
    """The end of a run's list that a thread of Python has."""

    def push(self, item: Any) -> bool: ...
    def complete(self, error: BaseException | None = None) -> None: ...

@final
class Timings:
    """The phases of the last attempt, in milliseconds; None: it did not happen."""

    @property
    def blocked(self) -> float | None:
        """Waiting for a place."""
    @property
    def dns(self) -> float | None:
        """Resolving the name."""
    @property
    def connect(self) -> float | None:
        """Opening the connection."""
    @property
    def tls(self) -> float | None:
        """The TLS handshake."""
    @property
    def send(self) -> float | None:
        """Sending the request."""
    @property
    def wait(self) -> float | None:
        """From the end of the request to the first byte of the response."""
    @property
    def receive(self) -> float | None:
        """From the first byte of the response to its last."""
    @property
    def total(self) -> float:
        """All of them but `blocked`."""

@final
class Record:
    """One finished row: a response, or why there is none. It does not change, and can be pickled."""

    @property
    def row(self) -> int:
        """The number of the row in its list, from 0."""
    @property
    def id(self) -> str | None:
        """The row's own name, from the list."""
    @property
    def url(self) -> str:
        """The URL as the list gave it, without its userinfo."""
    @property
    def final_url(self) -> str | None:
        """Where redirects led; None if there were none."""
    @property
    def host(self) -> str | None:
        """The host of the URL that was asked last."""
    @property
    def method(self) -> str:
        """The method, as first sent."""
    @property
    def status(self) -> int | None:
        """The status of the last response."""
    @property
    def ok(self) -> bool:
        """Whether the row succeeded."""
    @property
    def error(self) -> str | None:
        """Why not: a name of the error table."""
    @property
    def error_message(self) -> str | None:
        """What was seen, for a person."""
    @property
    def exitcode(self) -> int:
        """What curl would have exited with; 0 if the row succeeded."""
    @property
    def attempts(self) -> int:
        """Attempts started, over all redirects."""
    @property
    def redirects(self) -> int:
        """Redirects followed."""
    @property
    def chain(self) -> list[dict[str, Any]]:
        """Each redirect in order: its URL, status and time in milliseconds."""
    @property
    def http_version(self) -> str | None:
        """The version of HTTP."""
    @property
    def remote_ip(self) -> str | None:
        """The address at the other end."""
    @property
    def remote_port(self) -> int | None:
        """Its port."""
    @property
    def reused(self) -> bool | None:
        """Whether an earlier request had opened the connection."""
    @property
    def headers(self) -> dict[str, list[str]]:
        """The headers of the last response: name in lower case, and all its values in order."""
    @property
    def content_type(self) -> str | None:
        """The first `content-type`."""
    @property
    def etag(self) -> str | None:
        """The first `etag`."""
    @property
    def last_modified(self) -> str | None:
        """The first `last-modified`."""
    @property
    def bytes(self) -> int:
        """Bytes of the body, decoded."""
    @property
    def wire_bytes(self) -> int:
        """Bytes of the body as they came, without framing."""
    @property
    def body(self) -> builtins.bytes:
        """The body, decoded; b"" if there is none."""
    @property
    def body_base64(self) -> str | None:
        """The body in Base64, if it is not UTF-8; `body` has it in any case."""
    @property
    def body_path(self) -> PathLike[str] | None:
        """The body's file, if it has one of its own."""
    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the decoded body in lower-case hexadecimal, where it was asked for."""
    @property
    def truncated(self) -> bool | None:
        """Whether the body was cut; None if nothing proves that it is whole."""
    @property
    def notes(self) -> list[str]:
        """What was overlooked in the head of the last response, or in the row."""
    @property
    def started(self) -> float | None:
        """When the first attempt started, in seconds since 1970."""
    @property
    def timings(self) -> Timings:
        """The phases of the last attempt, in milliseconds."""
    @property
    def blocked_ms(self) -> float | None:
        """Waiting for a place, in milliseconds: from the moment the row was ready for its last attempt until that started."""
    @property
    def dns_ms(self) -> float | None:
        """Resolving the name, in milliseconds."""
    @property
    def connect_ms(self) -> float | None:
        """Opening the connection, in milliseconds."""
    @property
    def tls_ms(self) -> float | None:
        """The TLS handshake, in milliseconds."""
    @property
    def send_ms(self) -> float | None:
        """Sending the request, in milliseconds."""
    @property
    def wait_ms(self) -> float | None:
        """From the end of the request to the first byte of the response, in milliseconds."""
    @property
    def receive_ms(self) -> float | None:
        """From the first byte of the response to its last, in milliseconds."""
    @property
    def total_ms(self) -> float | None:
        """What the request took, in milliseconds: the sum of the phases but `blocked_ms`. None: no attempt was made."""
    @property
    def elapsed_ms(self) -> float:
        """From the moment the row was first ready until it was done, in milliseconds: all attempts and waits."""
    @property
    def meta(self) -> dict[str, Any] | None:
        """The other columns of the row, as the list had them."""
    @property
    def text(self) -> str:
        """The body as text: in the charset of its `content-type`, or else UTF-8. What cannot be decoded becomes U+FFFD."""
    def json(self) -> Any:
        """The body, parsed as JSON."""
    def __reduce__(self) -> tuple[Any, ...]:
        """For `pickle`: a body in memory or in a temporary file comes along, of a body in a file of its own the path."""
    def __copy__(self) -> Record:
        """The record itself, which does not change."""
    def __deepcopy__(self, _memo: Any, /) -> Record:
        """The record itself, which does not change."""
