"""Cookies: the jar of the standard library, with the interface of a dict."""

from __future__ import annotations

import calendar
import copy
import http.cookiejar as cookielib
import time
from collections.abc import Iterator, MutableMapping
from email.message import Message
from http.cookiejar import Cookie as Cookie
from http.cookiejar import CookieJar as CookieJar
from http.cookies import Morsel
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ._raw import RawResponse


class CookieConflictError(RuntimeError):
    """More than one cookie fits; name its domain or path."""


class MockRequest:
    """A prepared request as the standard library's jar wants to see one."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._new_headers: dict[str, str] = {}
        self.type: str = urlsplit(request.url).scheme

    def get_type(self) -> str:
        return self.type

    def get_host(self) -> str:
        return str(urlsplit(self._request.url).netloc)

    def get_origin_req_host(self) -> str:
        return self.get_host()

    def get_full_url(self) -> str:
        host = self._request.headers.get("Host")
        if not host:
            return str(self._request.url)
        # A request to one address in the name of another host has the cookies of that host.
        host = host.decode("ascii") if isinstance(host, bytes) else host
        return str(urlunsplit(urlsplit(self._request.url)._replace(netloc=host)))

    def is_unverifiable(self) -> bool:
        return True

    def has_header(self, name: str) -> bool:
        return name in self._request.headers or name in self._new_headers

    def get_header(self, name: str, default: Any = None) -> Any:
        return self._request.headers.get(name, self._new_headers.get(name, default))

    def add_header(self, key: str, val: str) -> None:
        raise NotImplementedError("cookies are added as unredirected headers")

    def add_unredirected_header(self, name: str, value: str) -> None:
        self._new_headers[name] = value

    def get_new_headers(self) -> dict[str, str]:
        return self._new_headers

    @property
    def unverifiable(self) -> bool:
        return self.is_unverifiable()

    @property
    def origin_req_host(self) -> str:
        return self.get_origin_req_host()

    @property
    def host(self) -> str:
        return self.get_host()


class MockResponse:
    """The headers of a response as the standard library's jar wants to see them."""

    def __init__(self, headers: Message) -> None:
        self._headers = headers

    def info(self) -> Message:
        return self._headers

    def getheaders(self, name: str) -> Any:
        return self._headers.get_all(name, [])


def extract_cookies_to_jar(jar: cookielib.CookieJar, request: Any, response: Any) -> None:
    """Puts the cookies of a response into the jar."""
    if not may_set_cookies(response):
        return
    original = getattr(response, "_original_response", None)
    if original is not None:
        jar.extract_cookies(MockResponse(original.msg), MockRequest(request))  # type: ignore[arg-type]


def may_set_cookies(response: Any) -> bool:
    """Whether a response may have cookies: of one from a connection that is known without a jar."""
    return not isinstance(response, RawResponse) or "set-cookie" in response.headers or "set-cookie2" in response.headers


def is_empty(jar: Any) -> bool:
    """Whether there is no cookie, as far as that is known at once."""
    return not jar if isinstance(jar, dict) else not getattr(jar, "_cookies", True)


def get_cookie_header(jar: cookielib.CookieJar, request: Any) -> str | None:
    """The `Cookie` header for a request; None if no cookie fits."""
    seen = MockRequest(request)
    jar.add_cookie_header(seen)  # type: ignore[arg-type]
    return seen.get_new_headers().get("Cookie")


def remove_cookie_by_name(
    cookiejar: cookielib.CookieJar, name: str, domain: str | None = None, path: str | None = None
) -> None:
    """Removes every cookie of a name, of one domain or path if they are given."""
    for cookie in list(_matching(cookiejar, name, domain, path)):
        cookiejar.clear(cookie.domain, cookie.path, cookie.name)


def _matching(
    jar: cookielib.CookieJar, name: str | None, domain: str | None, path: str | None
) -> Iterator[cookielib.Cookie]:
    for cookie in jar:
        wanted = ((name, cookie.name), (domain, cookie.domain), (path, cookie.path))
        if all(want is None or want == has for want, has in wanted):
            yield cookie


class RequestsCookieJar(cookielib.CookieJar, MutableMapping):  # type: ignore[type-arg]
    """A `http.cookiejar.CookieJar` that is also a dict of names and values."""

    def get(self, name: Any, default: Any = None, domain: str | None = None, path: str | None = None) -> Any:
        """The value of a cookie. Raises CookieConflictError if several fit."""
        try:
            return self._find_no_duplicates(name, domain, path)
        except KeyError:
            return default

    def set(self, name: str, value: Any, **kwargs: Any) -> cookielib.Cookie | None:
        """Sets a cookie; None removes it. Further arguments as for `create_cookie`."""
        if value is None:
            remove_cookie_by_name(self, name, kwargs.get("domain"), kwargs.get("path"))
            return None
        cookie = morsel_to_cookie(value) if isinstance(value, Morsel) else create_cookie(name, value, **kwargs)
        self.set_cookie(cookie)
        return cookie

    def iterkeys(self) -> Iterator[str]:
        return (cookie.name for cookie in iter(self))

    def keys(self) -> list[str]:  # type: ignore[override]
        return list(self.iterkeys())

    def itervalues(self) -> Iterator[str | None]:
        return (cookie.value for cookie in iter(self))

    def values(self) -> list[str | None]:  # type: ignore[override]
        return list(self.itervalues())

    def iteritems(self) -> Iterator[tuple[str, str | None]]:
        return ((cookie.name, cookie.value) for cookie in iter(self))

    def items(self) -> list[tuple[str, str | None]]:  # type: ignore[override]
        return list(self.iteritems())

    def list_domains(self) -> list[str]:
        """The domains, each once."""
        return list(dict.fromkeys(cookie.domain for cookie in iter(self)))

    def list_paths(self) -> list[str]:
        """The paths, each once."""
        return list(dict.fromkeys(cookie.path for cookie in iter(self)))

    def multiple_domains(self) -> bool:
        """Whether a domain has more than one cookie."""
        domains = [cookie.domain for cookie in iter(self) if cookie.domain is not None]
        return len(domains) != len(set(domains))

    def get_dict(self, domain: str | None = None, path: str | None = None) -> dict[str, str | None]:
        """The cookies of one domain and path as a dict."""
        return {cookie.name: cookie.value for cookie in _matching(self, None, domain, path)}

    def __contains__(self, name: object) -> bool:
        return any(cookie.name == name for cookie in iter(self))

    def __getitem__(self, name: str) -> Any:
        return self._find_no_duplicates(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        remove_cookie_by_name(self, name)

    def set_cookie(self, cookie: cookielib.Cookie, *args: Any, **kwargs: Any) -> None:
        value = cookie.value
        if isinstance(value, str) and value.startswith('"') and value.endswith('"'):
            cookie.value = value.replace('\\"', "")
        super().set_cookie(cookie, *args, **kwargs)

    def update(self, other: Any = (), /, **kwargs: Any) -> None:
        if isinstance(other, cookielib.CookieJar):
            for cookie in other:
                self.set_cookie(copy.copy(cookie))
            other = ()
        super().update(other, **kwargs)

    def _find(self, name: str, domain: str | None = None, path: str | None = None) -> Any:
        for cookie in _matching(self, name, domain, path):
            return cookie.value
        raise KeyError(f"name={name!r}, domain={domain!r}, path={path!r}")

    def _find_no_duplicates(self, name: str, domain: str | None = None, path: str | None = None) -> Any:
        found = list(_matching(self, name, domain, path))
        if len(found) > 1:
            raise CookieConflictError(f"There are multiple cookies with name, {name!r}")
        # A cookie without a value is none.
        if not found or found[0].value is None:
            raise KeyError(f"name={name!r}, domain={domain!r}, path={path!r}")
        return found[0].value

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_cookies_lock")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        import threading

        self.__dict__.update(state)
        self.__dict__.setdefault("_cookies_lock", threading.RLock())

    def copy(self) -> RequestsCookieJar:
        """A copy with the same policy."""
        new = RequestsCookieJar()
        new.set_policy(self.get_policy())
        new.update(self)
        return new

    def get_policy(self) -> cookielib.CookiePolicy:
        """The policy."""
        return self._policy  # type: ignore[attr-defined, no-any-return]


def create_cookie(name: str, value: str, **kwargs: Any) -> cookielib.Cookie:
    """A cookie; by default for every domain and path, until the end of the session."""
    settings: dict[str, Any] = {
        "version": 0,
        "name": name,
        "value": value,
        "port": None,
        "domain": "",
        "path": "/",
        "secure": False,
        "expires": None,
        "discard": True,
        "comment": None,
        "comment_url": None,
        "rest": {"HttpOnly": None},
        "rfc2109": False,
    }
    unknown = kwargs.keys() - settings.keys()
    if unknown:
        raise TypeError(f"create_cookie() got unexpected keyword arguments: {sorted(unknown)}")
    settings.update(kwargs)
    settings["port_specified"] = bool(settings["port"])
    settings["domain_specified"] = bool(settings["domain"])
    settings["domain_initial_dot"] = settings["domain"].startswith(".")
    settings["path_specified"] = bool(settings["path"])
    return cookielib.Cookie(**settings)


def morsel_to_cookie(morsel: Any) -> cookielib.Cookie:
    """A cookie from a morsel of `http.cookies`."""
    expires = None
    if morsel["max-age"]:
        try:
            expires = int(time.time() + int(morsel["max-age"]))
        except ValueError:
            raise TypeError(f"max-age: {morsel['max-age']} must be integer") from None
    elif morsel["expires"]:
        expires = calendar.timegm(time.strptime(morsel["expires"], "%a, %d-%b-%Y %H:%M:%S GMT"))
    return create_cookie(
        comment=morsel["comment"],
        comment_url=bool(morsel["comment"]),
        discard=False,
        domain=morsel["domain"],
        expires=expires,
        name=morsel.key,
        path=morsel["path"],
        port=None,
        rest={"HttpOnly": morsel["httponly"]},
        rfc2109=False,
        secure=bool(morsel["secure"]),
        value=morsel.value,
        version=morsel["version"] or 0,
    )


def cookiejar_from_dict(cookie_dict: Any, cookiejar: Any = None, overwrite: bool = True) -> Any:
    """Adds names and values to a jar, or to a new one."""
    jar = RequestsCookieJar() if cookiejar is None else cookiejar
    present = {cookie.name for cookie in jar}
    for name in cookie_dict or {}:
        if overwrite or name not in present:
            jar.set_cookie(create_cookie(name, cookie_dict[name]))
    return jar


def merge_cookies(cookiejar: Any, cookies: Any) -> Any:
    """Adds cookies, of a dict or a jar, to a jar."""
    if not isinstance(cookiejar, cookielib.CookieJar):
        raise ValueError("You can only merge into CookieJar")
    if isinstance(cookies, dict):
        return cookiejar_from_dict(cookies, cookiejar=cookiejar, overwrite=False)
    if isinstance(cookies, cookielib.CookieJar):
        if isinstance(cookiejar, RequestsCookieJar):
            cookiejar.update(cookies)
        else:
            for cookie in cookies:
                cookiejar.set_cookie(cookie)
    return cookiejar
