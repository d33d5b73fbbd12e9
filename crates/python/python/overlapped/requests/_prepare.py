"""Requests, and requests that are prepared to be sent."""

from __future__ import annotations

import json as _json
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from .._overlapped import host_to_ascii
from .auth import HTTPBasicAuth
from .cookies import cookiejar_from_dict, get_cookie_header
from .exceptions import InvalidJSONError, InvalidURL, MissingSchema
from .hooks import default_hooks
from .structures import CaseInsensitiveDict
from .utils import (
    PATH_PLAIN,
    QUERY_PLAIN,
    USERINFO_PLAIN,
    check_header_validity,
    escape_component,
    get_auth_from_url,
    guess_filename,
    remove_dot_segments,
    requote_uri,
    split_url,
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
        self.method: str = None  # type: ignore[assignment]
        self.url: str = None  # type: ignore[assignment]
        self.headers: CaseInsensitiveDict[str] = None  # type: ignore[assignment]
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
        if method is not None:
            method = to_native_string(method).upper()
        self.method = method

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
        if hasattr(data, "__aiter__") and not hasattr(data, "__iter__"):
            raise TypeError(f"data is an async iterable ({type(data).__name__}), which is not awaited; give bytes, a file or an iterator")
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


def _to_ascii(host: str) -> str:
    """An international host name as it is asked for; only letters, digits and marks make a name (IDNA 2008)."""
    letters = {"Ll", "Lu", "Lo", "Lm", "Mn", "Mc", "Nd"}
    plain = all(char in ".-" or unicodedata.category(char) in letters for char in unicodedata.normalize("NFKC", host))
    converted = host_to_ascii(host) if plain else None
    if converted is None:
        raise InvalidURL("URL has an invalid label.")
    return converted
