"""Sessions: settings, cookies and connections that requests share."""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from . import _plain
from ._places import lent
from .adapters import HTTPAdapter
from .auth import _basic_auth_str
from .cookies import (
    RequestsCookieJar,
    cookiejar_from_dict,
    extract_cookies_to_jar,
    is_empty,
    merge_cookies,
)
from .exceptions import ChunkedEncodingError, ContentDecodingError, InvalidSchema, TooManyRedirects
from .hooks import default_hooks, dispatch_hook
from .models import DEFAULT_REDIRECT_LIMIT, REDIRECT_STATI, PreparedRequest, Request, Response
from .status_codes import codes
from .structures import CaseInsensitiveDict
from .utils import (
    DEFAULT_PORTS,
    default_headers,
    get_auth_from_url,
    get_environ_proxies,
    get_netrc_auth,
    requote_uri,
    resolve_proxies,
    rewind_body,
    should_bypass_proxies,
    to_key_val_list,
)

preferred_clock = time.perf_counter


def merge_setting(request_setting: Any, session_setting: Any, dict_class: Any = OrderedDict) -> Any:
    """The setting of a request, on top of that of its session; a None in a dict removes a key."""
    if session_setting is None:
        return request_setting
    if request_setting is None:
        return session_setting
    if not (isinstance(session_setting, Mapping) and isinstance(request_setting, Mapping)):
        return request_setting
    if not session_setting and not request_setting:
        return dict_class()
    if dict_class is CaseInsensitiveDict and type(session_setting) is CaseInsensitiveDict:
        merged = session_setting.copy()
    else:
        merged = dict_class(to_key_val_list(session_setting))
    if request_setting:
        merged.update(to_key_val_list(request_setting))
    pairs = merged.pairs() if isinstance(merged, CaseInsensitiveDict) else merged.items()
    for key in [key for key, value in pairs if value is None]:
        del merged[key]
    return merged


def merge_hooks(request_hooks: Any, session_hooks: Any, dict_class: Any = OrderedDict) -> Any:
    """The hooks of a request, or if it has none those of its session."""
    if session_hooks is None or session_hooks.get("response") == []:
        return request_hooks
    if request_hooks is None or request_hooks.get("response") == []:
        return session_hooks
    return merge_setting(request_hooks, session_hooks, dict_class)


class Trail:
    """What redirects have led over so far."""

    def __init__(self, request: Any, proxies: Any) -> None:
        self.history: list[Response] = []
        self.fragment = urlsplit(request.url).fragment
        self.proxies = proxies


class SessionRedirectMixin:
    """How redirects are followed."""

    max_redirects: int
    trust_env: bool
    cookies: Any

    def send(self, request: Any, **kwargs: Any) -> Response:
        """Sends a prepared request."""
        raise NotImplementedError

    def get_redirect_target(self, resp: Response) -> str | None:
        """Where a response leads; None if it is no redirect."""
        if not resp.is_redirect:
            return None
        # The bytes of a header are read as ISO 8859-1, and are UTF-8 in practice.
        location = resp.headers["location"].encode("latin1")
        try:
            return location.decode("utf8")
        except UnicodeDecodeError:
            # Bytes of another charset are asked for as they are.
            return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in location)

    def should_strip_auth(self, old_url: str, new_url: str) -> bool:
        """Whether a redirect leads to another host, which must not get the credentials of this one."""
        old, new = urlsplit(old_url), urlsplit(new_url)
        if old.hostname != new.hostname:
            return True
        # From http to https on the ports of each is the same host, better protected.
        if (old.scheme, new.scheme) == ("http", "https") and old.port in (80, None) and new.port in (443, None):
            return False
        ports = (DEFAULT_PORTS.get(old.scheme), None)
        if old.scheme == new.scheme and old.port in ports and new.port in ports:
            return False
        return old.port != new.port or old.scheme != new.scheme

    def resolve_redirects(
        self,
        resp: Response,
        req: Any,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
        yield_requests: bool = False,
        **adapter_kwargs: Any,
    ) -> Iterator[Any]:
        """The responses that a redirect leads to; with `yield_requests` the next request instead."""
        trail = None
        # An empty `Location` leads nowhere.
        while target := self.get_redirect_target(resp):
            try:
                resp.content  # noqa: B018
            except (ChunkedEncodingError, ContentDecodingError, RuntimeError):
                resp.raw.read(decode_content=False)
            trail = trail or Trail(req, proxies)
            req = self.next_request(resp, req, target, trail)
            if yield_requests:
                yield req
                return
            resp = self.send(
                req,
                stream=stream,
                timeout=timeout,
                verify=verify,
                cert=cert,
                proxies=trail.proxies,
                allow_redirects=False,
                **adapter_kwargs,
            )
            extract_cookies_to_jar(self.cookies, req, resp.raw)
            yield resp

    def next_request(self, resp: Response, req: Any, target: str, trail: Trail) -> Any:
        """The request that a redirect to `target` asks for. The body of the redirect was read."""
        resp.history = list(trail.history)
        trail.history.append(resp)
        if len(resp.history) >= self.max_redirects:
            raise TooManyRedirects(f"Exceeded {self.max_redirects} redirects.", response=resp)
        resp.close()
        prepared = req.copy()
        if target.startswith("//"):
            target = f"{urlsplit(resp.url).scheme}:{target}"
        parts = urlsplit(target)
        if not parts.fragment and trail.fragment:
            parts = parts._replace(fragment=trail.fragment)
        elif parts.fragment:
            trail.fragment = parts.fragment
        target = urlunsplit(parts)
        target = requote_uri(target if parts.netloc else urljoin(resp.url, requote_uri(target)))
        # A host is checked as that of any other request.
        prepared.prepare_url(target, None)
        self.rebuild_method(prepared, resp)
        if resp.status_code not in (codes.temporary_redirect, codes.permanent_redirect):
            for header in ("Content-Length", "Content-Type", "Transfer-Encoding"):
                prepared.headers.pop(header, None)
            prepared.body = None
        prepared.headers.pop("Cookie", None)
        extract_cookies_to_jar(prepared._cookies, req, resp.raw)
        merge_cookies(prepared._cookies, self.cookies)
        prepared.prepare_cookies(prepared._cookies)
        trail.proxies = self.rebuild_proxies(prepared, trail.proxies)
        self.rebuild_auth(prepared, resp)
        sends_body = "Content-Length" in prepared.headers or "Transfer-Encoding" in prepared.headers
        if prepared._body_position is not None and sends_body:
            rewind_body(prepared)
        return prepared

    def rebuild_auth(self, prepared_request: Any, response: Response) -> None:
        """Takes credentials off that are not for the new host, and adds those that the netrc file has for it."""
        headers, url = prepared_request.headers, prepared_request.url
        if "Authorization" in headers and self.should_strip_auth(response.request.url, url):
            del headers["Authorization"]
        auth = get_netrc_auth(url) if self.trust_env and "Authorization" not in headers else None
        if auth is not None:
            prepared_request.prepare_auth(auth)

    def rebuild_proxies(self, prepared_request: Any, proxies: Any) -> dict[str, Any]:
        """The proxies for the new URL, and what authenticates to them."""
        headers = prepared_request.headers
        resolved = resolve_proxies(prepared_request, proxies, self.trust_env)
        headers.pop("Proxy-Authorization", None)
        scheme = urlsplit(prepared_request.url).scheme
        username, password = get_auth_from_url(resolved[scheme]) if resolved.get(scheme) else ("", "")
        # Within TLS it would be read by the server, not by the proxy.
        if not scheme.startswith("https") and username and password:
            headers["Proxy-Authorization"] = _basic_auth_str(username, password)
        return resolved

    def rebuild_method(self, prepared_request: Any, response: Response) -> None:
        """The method after a redirect: 303 and 302 lead to a GET, and 301 does after a POST, as in browsers."""
        method, status = prepared_request.method, response.status_code
        if method == "HEAD":
            return
        if status in (codes.see_other, codes.found) or (status == codes.moved and method == "POST"):
            prepared_request.method = "GET"


class Session(SessionRedirectMixin):
    """Settings, cookies and connections that requests share. Threads may share it.

        with Session() as session:
            session.headers["User-Agent"] = "mine"
            response = session.get("https://example.org/")

    Beyond requests: `timeout` is the limit of requests that have none of their own, `verify=False` is not overridden by the
    environment, and an `Authorization` header that is given not by the netrc file.
    """

    __attrs__ = [
        "headers",
        "cookies",
        "auth",
        "proxies",
        "hooks",
        "params",
        "verify",
        "cert",
        "adapters",
        "stream",
        "trust_env",
        "max_redirects",
        "timeout",
    ]

    # The ways of its plain requests; not changed in place.
    _ways: _plain.Ways = {}

    def __init__(self, *, retries: int = 0, max_per_host: int | None = None, http2: bool = False) -> None:
        """A session; `retries`, `max_per_host` and `http2` are those of its `HTTPAdapter`."""
        #: Sent with each request.
        self.headers: Any = default_headers()
        #: A pair of user name and password, or an object of `auth`.
        self.auth: Any = None
        #: Proxies by scheme, or by scheme and host.
        self.proxies: Any = {}
        #: Called with each response.
        self.hooks: Any = default_hooks()
        #: Parameters of each URL.
        self.params: Any = {}
        #: Whether bodies are left on the connection until they are asked for.
        self.stream = False
        #: False: certificates are not verified; a path: what they are verified with.
        self.verify: Any = True
        #: The path of a client certificate, or of it and its key.
        self.cert: Any = None
        #: The most redirects of one request.
        self.max_redirects: int = DEFAULT_REDIRECT_LIMIT
        #: Whether proxies, certificates and credentials are taken from the environment.
        self.trust_env = True
        #: The limit in time of requests that have none of their own.
        self.timeout: Any = None
        #: The cookies.
        self.cookies: Any = cookiejar_from_dict({})
        self.adapters: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
        self.mount("https://", HTTPAdapter(retries=retries, max_per_host=max_per_host, http2=http2))
        self.mount("http://", HTTPAdapter(retries=retries, max_per_host=max_per_host, http2=http2))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def prepare_request(self, request: Request) -> PreparedRequest:
        """A request as it will be sent, with the settings of the session."""
        cookies = request.cookies or {}
        merged_cookies = None
        if cookies or not is_empty(self.cookies):
            if not hasattr(cookies, "set_cookie"):
                cookies = cookiejar_from_dict(cookies)
            merged_cookies = merge_cookies(merge_cookies(RequestsCookieJar(), self.cookies), cookies)
        headers = merge_setting(request.headers, self.headers, dict_class=CaseInsensitiveDict)
        auth = request.auth
        if self.trust_env and not auth and not self.auth:
            named = CaseInsensitiveDict() if headers is None else headers
            if not isinstance(named, CaseInsensitiveDict):
                named = CaseInsensitiveDict(named)
            if "authorization" not in named and b"authorization" not in named:  # type: ignore[comparison-overlap]
                auth = get_netrc_auth(request.url)
        prepared = PreparedRequest()
        prepared.prepare(
            method=request.method.upper(),
            url=request.url,
            files=request.files,
            data=request.data,
            json=request.json,
            headers=headers,
            params=merge_setting(request.params, self.params),
            auth=merge_setting(auth, self.auth),
            cookies=merged_cookies,
            hooks=merge_hooks(request.hooks, self.hooks),
        )
        return prepared

    def request(
        self,
        method: Any,
        url: Any,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        cookies: Any = None,
        files: Any = None,
        auth: Any = None,
        timeout: Any = None,
        allow_redirects: bool = True,
        proxies: Any = None,
        hooks: Any = None,
        stream: bool | None = None,
        verify: Any = None,
        cert: Any = None,
        json: Any = None,
    ) -> Response:
        """Makes a request and returns its response.

        Args:
            method, url: What is asked for.
            params: Parameters of the URL: a dict, pairs or a text.
            data: The body: a dict or pairs (a form), a text, bytes, a file, or an iterator of bytes.
            json: An object to be sent as JSON.
            files: Files to be sent as a multipart form, by name.
            headers, cookies, auth: Beside those of the session.
            timeout: Seconds for opening a connection and for each wait for data, or a pair of these.
            allow_redirects: Whether redirects are followed.
            proxies: Proxies by scheme.
            hooks: Functions that are called with the response.
            stream: Whether the body is left on the connection until it is asked for.
            verify: False: the certificate is not verified; a path: what it is verified with.
            cert: The path of a client certificate, or of it and its key.
        """
        if (
            (method == "GET" or method == "get")
            and not (params or data or headers or cookies or files or auth or proxies or hooks or stream)
            and json is None
            and verify is None
            and cert is None
            and (plain := _plain.sent(self, url, timeout)) is not None
        ):
            if _plain.is_over(plain):
                return plain
            return self._finished(plain, plain.request, allow_redirects, **_plain.settings(timeout))
        prepared, settings = self.prepare_call(
            method,
            url,
            params=params,
            data=data,
            headers=headers,
            cookies=cookies,
            files=files,
            auth=auth,
            timeout=timeout,
            allow_redirects=allow_redirects,
            proxies=proxies,
            hooks=hooks,
            stream=stream,
            verify=verify,
            cert=cert,
            json=json,
        )
        return self.send(prepared, **settings)

    def prepare_call(
        self,
        method: Any,
        url: Any,
        *,
        timeout: Any = None,
        allow_redirects: bool = True,
        proxies: Any = None,
        stream: bool | None = None,
        verify: Any = None,
        cert: Any = None,
        **parts: Any,
    ) -> tuple[PreparedRequest, dict[str, Any]]:
        """What `request` sends, and with which settings. `parts`: those of a `Request`."""
        method = method.decode("ascii") if isinstance(method, bytes) else method
        parts.update({name: parts.get(name) or {} for name in ("data", "params")})
        prepared = self.prepare_request(Request(method, url, **parts))
        settings = self.merge_environment_settings(prepared.url, proxies or {}, stream, verify, cert)
        return prepared, {"timeout": timeout, "allow_redirects": allow_redirects, **settings}

    def get(self, url: Any, **kwargs: Any) -> Response:
        """A GET request."""
        kwargs.setdefault("allow_redirects", True)
        return self.request("GET", url, **kwargs)

    def options(self, url: Any, **kwargs: Any) -> Response:
        """An OPTIONS request."""
        kwargs.setdefault("allow_redirects", True)
        return self.request("OPTIONS", url, **kwargs)

    def head(self, url: Any, **kwargs: Any) -> Response:
        """A HEAD request. Redirects are not followed unless asked for."""
        kwargs.setdefault("allow_redirects", False)
        return self.request("HEAD", url, **kwargs)

    def post(self, url: Any, data: Any = None, json: Any = None, **kwargs: Any) -> Response:
        """A POST request."""
        return self.request("POST", url, data=data, json=json, **kwargs)

    def put(self, url: Any, data: Any = None, **kwargs: Any) -> Response:
        """A PUT request."""
        return self.request("PUT", url, data=data, **kwargs)

    def patch(self, url: Any, data: Any = None, **kwargs: Any) -> Response:
        """A PATCH request."""
        return self.request("PATCH", url, data=data, **kwargs)

    def delete(self, url: Any, **kwargs: Any) -> Response:
        """A DELETE request."""
        return self.request("DELETE", url, **kwargs)

    def send(self, request: Any, **kwargs: Any) -> Response:
        """Sends a prepared request."""
        self.complete_settings(request, kwargs)
        allow_redirects = kwargs.pop("allow_redirects", True)
        adapter = self.get_adapter(url=request.url)
        start = preferred_clock()
        response = adapter.send(request, **kwargs)
        response.elapsed = datetime.timedelta(seconds=preferred_clock() - start)
        return self._finished(response, request, allow_redirects, **kwargs)

    def _finished(self, response: Response, request: Any, allow_redirects: bool, **kwargs: Any) -> Response:
        """What follows from a response: hooks, cookies, redirects, and the reading of its body."""
        with lent(response.raw):
            response = dispatch_hook("response", request.hooks, response, **kwargs)
        with self._lock:
            for earlier in response.history:
                extract_cookies_to_jar(self.cookies, earlier.request, earlier.raw)
            extract_cookies_to_jar(self.cookies, request, response.raw)
        if allow_redirects:
            followed = list(self.resolve_redirects(response, request, **kwargs))
            if followed:
                history = [response, *followed]
                response = history.pop()
                response.history = history
        else:
            response._next = next(self.resolve_redirects(response, request, yield_requests=True, **kwargs), None)
        if not kwargs.get("stream"):
            response.content  # noqa: B018
        return response

    def complete_settings(self, request: Any, settings: dict[str, Any]) -> None:
        """Adds the session's settings to those of a request that is sent."""
        # What is sent is given to hooks, which would otherwise be called with a request that is not prepared.
        if isinstance(request, Request):
            raise ValueError("You can only send PreparedRequests.")
        settings.setdefault("stream", self.stream)
        settings.setdefault("verify", self.verify)
        settings.setdefault("cert", self.cert)
        if "proxies" not in settings:
            settings["proxies"] = resolve_proxies(request, self.proxies, self.trust_env)
        if settings.get("timeout") is None and self.timeout is not None:
            settings["timeout"] = self.timeout

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> dict[str, Any]:
        """The settings of a request, with those of the environment and of the session. `verify=False`, of the request or of
        the session, wins over the environment."""
        if self.trust_env:
            no_proxy = proxies.get("no_proxy") if proxies is not None else None
            for scheme, proxy in get_environ_proxies(url, no_proxy=no_proxy).items():
                proxies.setdefault(scheme, proxy)
            if (verify is True or verify is None) and self.verify in (True, None):
                verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or verify
        return {
            "proxies": merge_setting(proxies, self.proxies),
            "stream": merge_setting(stream, self.stream),
            "verify": merge_setting(verify, self.verify),
            "cert": merge_setting(cert, self.cert),
        }

    def get_adapter(self, url: str) -> Any:
        """The adapter that is mounted for the longest prefix of a URL."""
        for prefix, adapter in self.adapters.items():
            if url.lower().startswith(prefix.lower()):
                return adapter
        raise InvalidSchema(f"No connection adapters were found for {url!r}")

    def close(self) -> None:
        """Closes the connections that are free."""
        for adapter in self.adapters.values():
            adapter.close()

    def mount(self, prefix: str, adapter: Any) -> None:
        """Mounts an adapter for URLs that begin with a prefix. Longer prefixes come first."""
        self.adapters[prefix] = adapter
        for shorter in [other for other in self.adapters if len(other) < len(prefix)]:
            self.adapters[shorter] = self.adapters.pop(shorter)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name, None) for name in self.__attrs__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


_plain.are_of(Session, globals())


def session() -> Session:
    """A session."""
    return Session()


__all__ = [
    "REDIRECT_STATI",
    "Session",
    "SessionRedirectMixin",
    "merge_hooks",
    "merge_setting",
    "preferred_clock",
    "session",
    "should_bypass_proxies",
]
