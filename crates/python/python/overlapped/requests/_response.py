"""Responses."""

from __future__ import annotations

import contextlib
import datetime
import json as _json
import sys
from collections.abc import Iterator
from json import JSONDecodeError as _StandardJSONDecodeError
from typing import TYPE_CHECKING, Any

from .._overlapped import Timings
from ._raw import RawResponse
from ._transport import DecodeError, ProtocolError, ReadTimeoutError, TLSError
from .cookies import RequestsCookieJar, cookiejar_from_dict
from .exceptions import (
    ChunkedEncodingError,
    ConnectionError,
    ContentDecodingError,
    HTTPError,
    JSONDecodeError,
    RequestException,
    SSLError,
    StreamConsumedError,
)
from .status_codes import codes
from .structures import CaseInsensitiveDict
from .utils import (
    guess_json_utf,
    iter_slices,
    parse_header_links,
    stream_decode_response_unicode,
)

if TYPE_CHECKING:
    from .._overlapped import Incoming
    from ._plain import Common
    from ._prepare import PreparedRequest

REDIRECT_STATI = (301, 302, 303, 307, 308)
CONTENT_CHUNK_SIZE = 10 * 1024
ITER_CHUNK_SIZE = 512


class Response:
    """What the server answered."""

    __attrs__ = [
        "_content",
        "status_code",
        "url",
        "headers",
        "history",
        "encoding",
        "reason",
        "cookies",
        "elapsed",
        "request",
    ]

    # The class and the message of the error with which its body has ended.
    _failure: tuple[type[Exception], str] | None = None

    def __init__(self) -> None:
        self._content: Any = False
        self._content_consumed = False
        self._next: PreparedRequest | None = None
        #: The status, such as 200.
        self.status_code: int = None  # type: ignore[assignment]
        #: The headers; a name in any case.
        self.headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
        #: The body as a file, with `stream=True`.
        self.raw: Any = None
        #: The URL that answered.
        self.url: str = None  # type: ignore[assignment]
        #: The charset in which `text` is decoded.
        self.encoding: str | None = None
        #: The responses that led here, the first one first.
        self.history: list[Response] = []
        #: The words beside the status.
        self.reason: str = None  # type: ignore[assignment]
        # Made when it is asked for; most responses set no cookies.
        self._jar: Any = None
        #: From the request to the head of the response.
        self.elapsed = datetime.timedelta(0)
        #: The request that was sent.
        self.request: PreparedRequest = None  # type: ignore[assignment]
        # What a response to a plain request, which has only some of these attributes, is completed from.
        self._rest: tuple[Common, Incoming, str, float]

    @property
    def cookies(self) -> RequestsCookieJar:
        """The cookies that the server set."""
        if self._jar is None:
            self._jar = cookiejar_from_dict({})
        jar: RequestsCookieJar = self._jar
        return jar

    @cookies.setter
    def cookies(self, jar: Any) -> None:
        self._jar = jar

    # Hidden from type checkers, to which it would mean that there is an attribute of any name.
    if not TYPE_CHECKING:

        def __getattr__(self, name):
            # The rest of a response to a plain request. Several threads may ask for it: the first one's is kept.
            own = self.__dict__
            rest = own.get("_rest")
            if rest is not None:
                common, *response = rest
                for key, value in common.complete(*response).__dict__.items():
                    own.setdefault(key, value)
                own.pop("_rest", None)
            if name in own:
                return own[name]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # The body is a part of what is pickled.
        if not self._content_consumed:
            self.content  # noqa: B018
        return {name: getattr(self, name, None) for name in self.__attrs__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._content_consumed = True
        self.raw = None

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"

    def __bool__(self) -> bool:
        return self.ok

    def __iter__(self) -> Iterator[bytes]:
        return self.iter_content(128)

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        try:
            self.raise_for_status()
        except HTTPError:
            return False
        return True

    @property
    def timings(self) -> Timings | None:
        """The phases of the request in milliseconds: `dns`, `connect`, `tls`, `send`, `wait`, `receive`, `total`; the last two
        grow until the body was read. None over a proxy, from an adapter of one's own, and once pickled."""
        timings: Timings | None = getattr(self.raw, "timings", None)
        return timings

    @property
    def is_redirect(self) -> bool:
        """Whether the response names another place, and its status says that it is to be asked."""
        return "location" in self.headers and self.status_code in REDIRECT_STATI

    @property
    def is_permanent_redirect(self) -> bool:
        """The same, for ever."""
        return "location" in self.headers and self.status_code in (codes.moved_permanently, codes.permanent_redirect)

    @property
    def next(self) -> PreparedRequest | None:
        """The request that follows a redirect that was not followed."""
        return self._next

    @property
    def apparent_encoding(self) -> str | None:
        """The charset that the body seems to have. Exact only with `charset_normalizer` or `chardet` installed."""
        for module in ("charset_normalizer", "chardet"):
            with contextlib.suppress(ImportError):
                return __import__(module).detect(self.content)["encoding"]  # type: ignore[no-any-return]
        return "utf-8"

    def iter_content(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        """The body in blocks, decoded; with `stream=True` as it comes. None: blocks of any size."""

        def generate() -> Iterator[bytes]:
            if hasattr(self.raw, "stream"):
                with self._body_errors():
                    yield from self.raw.stream(chunk_size, decode_content=True)
            else:
                while block := self.raw.read(chunk_size):
                    yield block
            self._content_consumed = True

        if self._content_consumed and isinstance(self._content, bool):
            raise StreamConsumedError()
        if chunk_size is not None and not isinstance(chunk_size, int):
            raise TypeError(f"chunk_size must be an int, it is instead a {type(chunk_size)}.")
        blocks = iter_slices(self._content, chunk_size) if self._content_consumed else generate()
        return stream_decode_response_unicode(blocks, self) if decode_unicode else blocks

    def iter_lines(
        self, chunk_size: int | None = ITER_CHUNK_SIZE, decode_unicode: bool = False, delimiter: Any = None
    ) -> Iterator[Any]:
        """The body line by line. Not reentrant."""
        pending = None
        for block in self.iter_content(chunk_size=chunk_size, decode_unicode=decode_unicode):
            text = block if pending is None else pending + block
            lines = text.split(delimiter) if delimiter else text.splitlines()
            # The last one goes on in the next block, unless the block ended with it.
            goes_on = bool(lines and lines[-1] and text and lines[-1][-1] == text[-1])
            pending = lines.pop() if goes_on else None
            yield from lines
        if pending is not None:
            yield pending

    @property
    def content(self) -> bytes:
        """The body as bytes, decoded of its content codings."""
        if self._content is False:
            if self._content_consumed:
                raise RuntimeError("The content for this response was already consumed")
            if self.status_code == 0 or self.raw is None:
                self._content = None
            elif isinstance(self.raw, RawResponse) and not self._content_consumed:
                with self._body_errors():
                    self._content = self.raw.read(decode_content=True)
            else:
                self._content = b"".join(self.iter_content(CONTENT_CHUNK_SIZE)) or b""
        self._content_consumed = True
        content: bytes = self._content
        return content

    @contextlib.contextmanager
    def _body_errors(self) -> Iterator[None]:
        """As `body_errors`; a body that was not whole once is not whole when it is asked for again."""
        if self._failure is not None:
            kind, message = self._failure
            raise kind(message)
        try:
            with body_errors():
                yield
        except RequestException as error:
            self._failure = (type(error), str(error))
            raise

    @property
    def text(self) -> str:
        """The body as text, in `encoding`, or else in the charset that it seems to have."""
        if not self.content:
            return ""
        encoding = self.encoding or self.apparent_encoding
        try:
            return str(self.content, encoding or "utf-8", errors="replace")
        except (LookupError, TypeError):
            return str(self.content, errors="replace")

    def json(self, **kwargs: Any) -> Any:
        """The body, parsed as JSON. Raises `JSONDecodeError`."""
        try:
            if not self.encoding and self.content and len(self.content) > 3:
                encoding = guess_json_utf(self.content)
                if encoding is not None:
                    with contextlib.suppress(UnicodeDecodeError):
                        return _json.loads(self.content.decode(encoding), **kwargs)
            return _json.loads(self.text, **kwargs)
        except _StandardJSONDecodeError as error:
            raise JSONDecodeError(error.msg, error.doc, error.pos) from error

    @property
    def links(self) -> dict[str, dict[str, str]]:
        """The links of the `Link` header, by their relation or URL."""
        links = parse_header_links(self.headers.get("link") or "")
        return {link.get("rel") or link["url"]: link for link in links}

    def raise_for_status(self) -> None:
        """Raises `HTTPError` if the status is 400 or above."""
        if not 400 <= self.status_code < 600:
            return
        reason = self.reason
        if isinstance(reason, bytes):
            try:
                reason = reason.decode("utf-8")
            except UnicodeDecodeError:
                reason = reason.decode("iso-8859-1")
        side = "Client" if self.status_code < 500 else "Server"
        message = f"{self.status_code} {side} Error: {reason} for url: {self.url}"
        raise HTTPError(message, response=self)

    def close(self) -> None:
        """Gives the connection back. Only needed with `stream=True`."""
        if not self._content_consumed:
            self.raw.close()
        release = getattr(self.raw, "release_conn", None)
        if release is not None:
            release()


@contextlib.contextmanager
def body_errors() -> Iterator[None]:
    """The exceptions of requests for errors of the transport while a body is read."""
    try:
        yield
    except ProtocolError as error:
        raise ChunkedEncodingError(error) from error
    except DecodeError as error:
        raise ContentDecodingError(error) from error
    except ReadTimeoutError as error:
        raise ConnectionError(error) from error
    except TLSError as error:
        raise SSLError(error) from error
    except Exception as error:
        # A response that is not of this package has a body of urllib3.
        if (public := _of_urllib3(error)) is None:
            raise
        raise public(error) from error


def _of_urllib3(error: Exception) -> type[Exception] | None:
    errors: Any = sys.modules.get("urllib3.exceptions")
    if errors is None:
        return None
    classes = (
        (errors.ReadTimeoutError, ConnectionError),
        (errors.ProtocolError, ChunkedEncodingError),
        (errors.DecodeError, ContentDecodingError),
        (errors.SSLError, SSLError),
    )
    return next((public for kind, public in classes if isinstance(error, kind)), None)
