"""Requests, prepared requests and responses."""

from __future__ import annotations

import contextlib
import datetime
import json as _json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from json import JSONDecodeError as _StandardJSONDecodeError
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from .._overlapped import Timings, host_to_ascii
from ._raw import RawResponse
from ._transport import DecodeError, ProtocolError, ReadTimeoutError, TLSError
from .auth import HTTPBasicAuth
from .cookies import RequestsCookieJar, cookiejar_from_dict, get_cookie_header
from .exceptions import (
    ChunkedEncodingError,
    ConnectionError,
    ContentDecodingError,
    HTTPError,
    InvalidJSONError,
    InvalidURL,
    JSONDecodeError,
    MissingSchema,
    SSLError,
    StreamConsumedError,
)
from .hooks import default_hooks
from .status_codes import codes
from .structures import CaseInsensitiveDict
from .utils import (
    PATH_PLAIN,
    QUERY_PLAIN,
    USERINFO_PLAIN,
    check_header_validity,
    escape_component,
    get_auth_from_url,
    guess_filename,
    guess_json_utf,
    iter_slices,
    parse_header_links,
    remove_dot_segments,
    requote_uri,
    split_url,
    stream_decode_response_unicode,
    super_len,
    to_key_val_list,
    to_native_string,
)

# A URL that is sent as it is, with its path if it has one.
_PLAIN_URL = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?"
    r"(/[A-Za-z0-9._~!$&'()*+,;=:@/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?)?"
)

# The path and the query of a URL; a query that is empty has no question mark.
_PATH_AND_QUERY = re.compile(r"https?://[^/?#]*([^?#]*)(?:\?(?=#|$))?(\?[^#]+)?")

REDIRECT_STATI = (301, 302, 303, 307, 308)
DEFAULT_REDIRECT_LIMIT = 30
CONTENT_CHUNK_SIZE = 10 * 1024
ITER_CHUNK_SIZE = 512


class RequestEncodingMixin:
    """How parameters and files become a query or a body."""

    url: Any

    @property
    def path_url(self) -> str:
        """The path and the query."""
        if (found := _PATH_AND_QUERY.match(self.url)) is not None:
            return f"{found[1] or '/'}{found[2] or ''}"
        parts = urlsplit(self.url)
        return str(parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    @staticmethod
    def _encode_params(data: Any) -> Any:
        if isinstance(data, (str, bytes)) or hasattr(data, "read") or not hasattr(data, "__iter__"):
            return data
        pairs: list[Any] = []
        for name, values in to_key_val_list(data):
            if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
                values = [values]
            for value in values:
                if value is not None:
                    pairs.append(tuple(part.encode("utf-8") if isinstance(part, str) else part for part in (name, value)))
        return urlencode(pairs, doseq=True)

    @staticmethod
    def _encode_files(files: Any, data: Any) -> tuple[bytes, str]:
        if not files:
            raise ValueError("Files must be provided.")
        if isinstance(data, (str, bytes)):
            raise ValueError("Data must not be a string.")
        parts: list[tuple[dict[str, str], bytes]] = []
        for name, values in to_key_val_list(data or {}):
            if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
                values = [values]
            for value in values:
                if value is not None:
                    content = value if isinstance(value, bytes) else str(value).encode("utf-8")
                    parts.append((_disposition(name, None), content))
        for name, value in to_key_val_list(files):
            kind: Any = None
            extra: Any = {}
            if isinstance(value, (tuple, list)):
                filename, content, *rest = value
                kind = rest[0] if rest else None
                extra = rest[1] if len(rest) > 1 else {}
            else:
                filename, content = guess_filename(value) or name, value
            if content is None:
                continue
            if hasattr(content, "read"):
                content = content.read()
            content = content if isinstance(content, (bytes, bytearray)) else str(content).encode("utf-8")
            headers = _disposition(name, filename)
            if kind:
                headers["Content-Type"] = to_native_string(kind)
            headers.update(extra or {})
            parts.append((headers, bytes(content)))
        boundary = os.urandom(16).hex()
        body = bytearray()
        for headers, content in parts:
            body += f"--{boundary}\r\n".encode()
            body += b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
            body += b"\r\n" + content + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        return bytes(body), f"multipart/form-data; boundary={boundary}"


def _disposition(name: Any, filename: Any) -> dict[str, str]:
    """How HTML says that names are escaped in a multipart form."""

    def quoted(text: Any) -> str:
        plain: str = text.decode("utf-8") if isinstance(text, bytes) else str(text)
        return plain.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")

    value = f'form-data; name="{quoted(name)}"'
    if filename is not None:
        value += f'; filename="{quoted(filename)}"'
    return {"Content-Disposition": value}


class RequestHooksMixin:
    """Hooks of a request."""

    hooks: dict[str, Any]

    def register_hook(self, event: str, hook: Any) -> None:
        """Adds a function, or several, for an event."""
        if event not in self.hooks:
            raise ValueError(f'Unsupported event specified, with event name "{event}"')
        if isinstance(hook, Callable):  # type: ignore[arg-type]
            self.hooks[event].append(hook)
        elif hasattr(hook, "__iter__"):
            self.hooks[event].extend(one for one in hook if callable(one))

    def deregister_hook(self, event: str, hook: Any) -> bool:
        """Removes a function; False if it was not there."""
        try:
            self.hooks[event].remove(hook)
        except ValueError:
            return False
        return True


class Request(RequestHooksMixin):
    """What is asked for, before it is prepared: `Request("GET", url).prepare()`."""

    def __init__(
        self,
        method: Any = None,
        url: Any = None,
        headers: Any = None,
        files: Any = None,
        data: Any = None,
        params: Any = None,
        auth: Any = None,
        cookies: Any = None,
        hooks: Any = None,
        json: Any = None,
    ) -> None:
        self.method = method
        self.url = url
        self.headers = {} if headers is None else headers
        self.files = [] if files is None else files
        self.data = [] if data is None else data
        self.json = json
        self.params = {} if params is None else params
        self.auth = auth
        self.cookies = cookies
        self.hooks = default_hooks()
        for event, hook in (hooks or {}).items():
            self.register_hook(event=event, hook=hook)

    def __repr__(self) -> str:
        return f"<Request [{self.method}]>"

    def prepare(self) -> PreparedRequest:
        """The request as it will be sent."""
        prepared = PreparedRequest()
        prepared.prepare(
            method=self.method,
            url=self.url,
            headers=self.headers,
            files=self.files,
            data=self.data,
            json=self.json,
            params=self.params,
            auth=self.auth,
            cookies=self.cookies,
            hooks=self.hooks,
        )
        return prepared


class PreparedRequest(RequestEncodingMixin, RequestHooksMixin):
    """A request as it is sent. Made by `Request.prepare` or `Session.prepare_request`."""

    def __init__(self) -> None:
        self.method: Any = None
        self.url: Any = None
        self.headers: Any = None
        # Made when it is asked for; most requests have no cookies.
        self._jar: Any = None
        self.body: Any = None
        self.hooks = default_hooks()
        # Where a body that is a stream begins, to send it again; an object without meaning if it cannot tell.
        self._body_position: Any = None

    @property
    def _cookies(self) -> Any:
        if self._jar is None:
            self._jar = cookiejar_from_dict({})
        return self._jar

    @_cookies.setter
    def _cookies(self, jar: Any) -> None:
        self._jar = jar

    def prepare(
        self,
        method: Any = None,
        url: Any = None,
        headers: Any = None,
        files: Any = None,
        data: Any = None,
        params: Any = None,
        auth: Any = None,
        cookies: Any = None,
        hooks: Any = None,
        json: Any = None,
    ) -> None:
        """Prepares each part. Authentication comes last, since it may sign all others; hooks after it, since it adds some."""
        self.prepare_method(method)
        self.prepare_url(url, params)
        self.prepare_headers(headers)
        self.prepare_cookies(cookies)
        self.prepare_body(data, files, json)
        self.prepare_auth(auth, url)
        self.prepare_hooks(hooks)

    def __repr__(self) -> str:
        return f"<PreparedRequest [{self.method}]>"

    def copy(self) -> PreparedRequest:
        """A copy; the body is shared."""
        copied = PreparedRequest()
        copied.method, copied.url = self.method, self.url
        copied.headers = None if self.headers is None else self.headers.copy()
        copied._jar = _copy_jar(self._jar)
        copied.body, copied.hooks = self.body, self.hooks
        copied._body_position = self._body_position
        return copied

    def prepare_method(self, method: Any) -> None:
        """The method in upper case."""
        self.method = None if method is None else to_native_string(method).upper()

    def prepare_url(self, url: Any, params: Any) -> None:
        """The URL with its parameters, escaped. A URL of another scheme than http is left as it is."""
        if type(url) is str and not params and (plain := _PLAIN_URL.fullmatch(url)) and "/." not in url:
            # There is nothing to be escaped or resolved.
            self.url = url if plain[1] else f"{url}/"
            return
        url = url.decode("utf8") if isinstance(url, bytes) else str(url)
        url = url.lstrip()
        if ":" in url and not url.lower().startswith("http"):
            self.url = url
            return
        scheme, netloc, path, query, fragment = split_url(url)
        try:
            if any(char.isspace() for char in netloc):
                raise InvalidURL(f"Invalid URL {url!r}: white space in the host")
            parts = urlsplit(f"//{netloc}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidURL(*error.args) from None
        if not scheme:
            raise MissingSchema(f"Invalid URL {url!r}: No scheme supplied. Perhaps you meant https://{url}?")
        if not host:
            raise InvalidURL(f"Invalid URL {url!r}: No host supplied")
        if not host.isascii():
            host = _to_ascii(host)
        elif host.startswith(("*", ".")):
            raise InvalidURL("URL has an invalid label.")
        userinfo, at, rest = netloc.rpartition("@")
        if rest.startswith("["):
            host = f"[{host}]"
        netloc = escape_component(userinfo, USERINFO_PLAIN) + at + host + (f":{port}" if port is not None else "")
        if isinstance(params, (str, bytes)):
            params = to_native_string(params)
        encoded = self._encode_params(params)
        path = escape_component(remove_dot_segments(path), PATH_PLAIN)
        query = "&".join(part for part in (escape_component(query, QUERY_PLAIN), encoded) if part)
        fragment = escape_component(fragment, QUERY_PLAIN)
        self.url = requote_uri(urlunsplit((scheme.lower(), netloc, path, query, fragment)))

    def prepare_headers(self, headers: Any) -> None:
        """The headers, checked."""
        self.headers = CaseInsensitiveDict()
        pairs = headers.pairs() if isinstance(headers, CaseInsensitiveDict) else (headers or {}).items()
        for header in pairs:
            check_header_validity(header)
            name, value = header
            self.headers[to_native_string(name)] = value

    def prepare_body(self, data: Any, files: Any, json: Any = None) -> None:
        """The body, and the headers that describe it."""
        body: Any = None
        content_type = None
        if not data and json is not None:
            content_type = "application/json"
            try:
                body = _json.dumps(json, allow_nan=False)
            except ValueError as error:
                raise InvalidJSONError(error, request=self) from error
            body = body.encode("utf-8")
        is_stream = hasattr(data, "__iter__") and not isinstance(data, (str, bytes, list, tuple, Mapping))
        if is_stream:
            try:
                length = super_len(data)
            except (TypeError, AttributeError):
                length = 0
            body = data
            if getattr(body, "tell", None) is not None:
                try:
                    self._body_position = body.tell()
                except OSError:
                    # It is a stream that cannot be sent again.
                    self._body_position = object()
            if files:
                raise NotImplementedError("Streamed bodies and files are mutually exclusive.")
            if length:
                self.headers["Content-Length"] = str(length)
            else:
                self.headers["Transfer-Encoding"] = "chunked"
        else:
            if files:
                body, content_type = self._encode_files(files, data)
            elif data:
                body = self._encode_params(data)
                if not isinstance(data, (str, bytes, bytearray)) and not hasattr(data, "read"):
                    content_type = "application/x-www-form-urlencoded"
            self.prepare_content_length(body)
            if content_type and "content-type" not in self.headers:
                self.headers["Content-Type"] = content_type
        self.body = body

    def prepare_content_length(self, body: Any) -> None:
        """`Content-Length`, where the length is known."""
        if body is not None:
            length = super_len(body)
            if length:
                self.headers["Content-Length"] = str(length)
        elif self.method not in ("GET", "HEAD") and self.headers.get("Content-Length") is None:
            self.headers["Content-Length"] = "0"

    def prepare_auth(self, auth: Any, url: Any = "") -> None:
        """What authentication adds; without any, the user name and password of the URL."""
        if auth is None and "@" in (self.url or ""):
            from_url = get_auth_from_url(self.url)
            auth = from_url if any(from_url) else None
        if not auth:
            return
        if isinstance(auth, tuple) and len(auth) == 2:
            auth = HTTPBasicAuth(*auth)
        # It may return another object.
        self.__dict__.update(auth(self).__dict__)
        self.prepare_content_length(self.body)

    def prepare_cookies(self, cookies: Any) -> None:
        """The `Cookie` header. Once there is one it stays: to set others, remove it first."""
        if not cookies:
            self._jar = cookies if cookies is not None and not isinstance(cookies, dict) else None
            return
        import http.cookiejar

        is_jar = isinstance(cookies, http.cookiejar.CookieJar)
        self._cookies = cookies if is_jar else cookiejar_from_dict(cookies)
        header = get_cookie_header(self._cookies, self)
        if header is not None:
            self.headers["Cookie"] = header

    def prepare_hooks(self, hooks: Any) -> None:
        """The hooks."""
        for event in hooks or []:
            self.register_hook(event, hooks[event])


def _copy_jar(jar: Any) -> Any:
    if jar is None or hasattr(jar, "copy"):
        return None if jar is None else jar.copy()
    import copy

    copied = copy.copy(jar)
    copied.clear()
    for cookie in jar:
        copied.set_cookie(copy.copy(cookie))
    return copied


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


def _to_ascii(host: str) -> str:
    """An international host name as it is asked for; only letters, digits and marks make a name (IDNA 2008)."""
    letters = {"Ll", "Lu", "Lo", "Lm", "Mn", "Mc", "Nd"}
    plain = all(char in ".-" or unicodedata.category(char) in letters for char in unicodedata.normalize("NFKC", host))
    converted = host_to_ascii(host) if plain else None
    if converted is None:
        raise InvalidURL("URL has an invalid label.")
    return converted


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

    def __init__(self) -> None:
        self._content: Any = False
        self._content_consumed = False
        self._next: PreparedRequest | None = None
        #: The status, such as 200.
        self.status_code: Any = None
        #: The headers; a name in any case.
        self.headers: Any = CaseInsensitiveDict()
        #: The body as a file, with `stream=True`.
        self.raw: Any = None
        #: The URL that answered.
        self.url: Any = None
        #: The charset in which `text` is decoded.
        self.encoding: str | None = None
        #: The responses that led here, the first one first.
        self.history: list[Response] = []
        #: The words beside the status.
        self.reason: Any = None
        # Made when it is asked for; most responses set no cookies.
        self._jar: Any = None
        #: From the request to the head of the response.
        self.elapsed = datetime.timedelta(0)
        #: The request that was sent.
        self.request: Any = None

    @property
    def cookies(self) -> Any:
        """The cookies that the server set."""
        if self._jar is None:
            self._jar = cookiejar_from_dict({})
        return self._jar

    @cookies.setter
    def cookies(self, jar: Any) -> None:
        self._jar = jar

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
                with body_errors():
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
    def content(self) -> Any:
        """The body as bytes, decoded of its content codings."""
        if self._content is False:
            if self._content_consumed:
                raise RuntimeError("The content for this response was already consumed")
            if self.status_code == 0 or self.raw is None:
                self._content = None
            elif isinstance(self.raw, RawResponse) and not self._content_consumed:
                with body_errors():
                    self._content = self.raw.read(decode_content=True)
            else:
                self._content = b"".join(self.iter_content(CONTENT_CHUNK_SIZE)) or b""
        self._content_consumed = True
        return self._content

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
        reason = self.reason
        if isinstance(reason, bytes):
            try:
                reason = reason.decode("utf-8")
            except UnicodeDecodeError:
                reason = reason.decode("iso-8859-1")
        if 400 <= self.status_code < 600:
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


__all__ = [
    "CONTENT_CHUNK_SIZE",
    "DEFAULT_REDIRECT_LIMIT",
    "ITER_CHUNK_SIZE",
    "REDIRECT_STATI",
    "PreparedRequest",
    "Request",
    "RequestEncodingMixin",
    "RequestHooksMixin",
    "RequestsCookieJar",
    "Response",
    "urlencode",
]
