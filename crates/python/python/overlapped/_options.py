"""The options of `fetch`, checked, as the engine takes them."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Mapping
from types import EllipsisType

from . import _environ
from ._arguments import (
    COUNT_MAX,
    SHORT_MAX,
    check_flag,
    check_line,
    check_text,
    count_or_none,
    is_flag,
    rate,
    seconds,
    wrong,
)

# For type checkers, which take it as true: see `overlapped/__init__.py`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The least value of each option that is a whole number, and the most.
_COUNTS = {
    "limit": (1, COUNT_MAX),
    "per_host": (0, COUNT_MAX),
    "retries": (0, SHORT_MAX),
    "max_body": (0, COUNT_MAX),
    "max_redirects": (0, SHORT_MAX),
    "max_memory": (0, COUNT_MAX),
    "threads": (1, COUNT_MAX),
}

_FLAGS = (
    "ordered", "keep_body", "sha256", "robots", "public_only", "hsts", "resume", "retry_failed", "overwrite",
)
_RATES = ("rate", "rate_per_host")
_TIMES = ("timeout", "connect_timeout", "host_down_after")
_PATHS = ("ca_file", "body_dir", "out")
# What a name of a header consists of (RFC 9110, section 5.6.2).
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_OF_HOSTS = ("limit", "rate", "headers", "auth", "bearer", "proxy")


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """What the engine takes for these arguments of `fetch`."""
    options = dict(given)
    for name in _FLAGS:
        check_flag(name, given[name])
    for name, (least, most) in _COUNTS.items():
        options[name] = count_or_none(name, given[name], least, most)
    for name in _RATES:
        options[name] = rate(name, given[name])
    for name in _TIMES:
        options[name] = limit_of_time(name, given[name])
    for name in _PATHS:
        options[name] = _path(name, given[name])
    hosts = given["hosts"]
    _check_mapping("headers", given["headers"])
    _check_mapping("hosts", hosts)
    check_text("method", given["method"])
    options["headers"] = list((given["headers"] or {}).items())
    options["body"] = _bytes(given["body"])
    options["user"] = _pair("auth", options.pop("auth"))
    options["bearer"] = _token("bearer", given["bearer"])
    options["fail"] = _ranges(given["fail"])
    options["insecure_hosts"] = _names(given["insecure_hosts"])
    options["hosts"] = [_host(name, settings) for name, settings in (hosts or {}).items()]
    options["proxies"] = _proxies(given["proxies"])
    return options


def limit_of_time(name: str, value: Any) -> float | None:
    """Seconds, of which the engine takes infinity for no limit. `...`: the default."""
    if isinstance(value, EllipsisType):
        return None
    time = seconds(name, value)
    return math.inf if time is None else time


def _check_mapping(name: str, value: Any) -> None:
    """Refuses what is no mapping, and names that are no str; of headers also values."""
    if value is None:
        return
    if not hasattr(value, "items"):
        raise wrong(name, "a dict or None", value)
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{name} has the key {key!r}; it must be a str")
        if name == "hosts":
            if not isinstance(item, Mapping):
                raise wrong(f"hosts[{key!r}]", "a dict", item)
        elif not key or not _TOKEN.issuperset(key):
            raise ValueError(f"{name} has the key {key!r}, which is not the name of a header")
        else:
            check_line(f"{name}[{key!r}]", item)


def _bytes(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    if not isinstance(body, (bytearray, memoryview)):
        raise wrong("body", "bytes or None", body)
    return bytes(body)


def _pair(name: str, value: Any) -> tuple[str, str] | None:
    """A user name and a password."""
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not all(isinstance(part, str) for part in value):
        # The value may be a secret.
        raise TypeError(f"{name} must be a tuple of two str (user name, password), or None")
    return value[0], value[1]


def _token(name: str, value: Any) -> str | None:
    check_text(name, value)
    if value is not None and not value.strip():
        raise ValueError(f"{name} is empty; None sends no token")
    if value is not None:
        check_line(name, value)
    token: str | None = value
    return token


def _ranges(fail: Any) -> list[tuple[int, int]] | None:
    if fail is None:
        return None
    try:
        if isinstance(fail, (str, bytes, bytearray, Mapping)):
            raise TypeError
        ranges = [(first, last) for first, last in fail]
        if any(is_flag(status) for pair in ranges for status in pair):
            raise TypeError
        ranges = [(operator.index(first), operator.index(last)) for first, last in ranges]
    except (TypeError, ValueError):
        raise TypeError(f"fail must be a list of pairs of int such as [(400, 999)], or None, not {fail!r}") from None
    for first, last in ranges:
        for status in (first, last):
            if not 0 <= status <= SHORT_MAX:
                raise ValueError(f"fail is {fail!r}; its statuses must be between 0 and {SHORT_MAX}")
        if first > last:
            raise ValueError(f"fail has the range ({first}, {last}), which is empty; did you mean ({last}, {first})?")
    return ranges


def _path(name: str, path: Any) -> str | None:
    if path is None:
        return None
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise wrong(name, "a path (str or os.PathLike) or None", path) from None
    if not text:
        raise ValueError(f"{name} is empty; it must be a path, or None")
    if "\0" in text:
        raise ValueError(f"{name} is {text!r}; no path has a NUL in it")
    return text


def _names(hosts: Any) -> list[str]:
    wanted = "a list of names of hosts"
    if isinstance(hosts, (str, bytes)):
        raise TypeError(f"insecure_hosts must be {wanted}, not a {type(hosts).__name__}: [{hosts!r}] is such a list")
    if isinstance(hosts, Mapping):
        raise wrong("insecure_hosts", wanted, hosts)
    try:
        names = list(hosts)
    except TypeError:
        raise wrong("insecure_hosts", wanted, hosts) from None
    for name in names:
        check_line("a name in insecure_hosts", name)
        if not name.strip():
            raise ValueError(f"insecure_hosts has the name {name!r}, which is no host")
    return names


def _host(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is different for a host, as the engine takes it."""
    unknown = settings.keys() - set(_OF_HOSTS)
    if unknown:
        named = ", ".join(sorted(map(repr, unknown)))
        raise ValueError(f"hosts[{name!r}] has no key {named}; it may have {', '.join(_OF_HOSTS)}")
    of = f" in hosts[{name!r}]"
    headers = settings.get("headers")
    _check_mapping("headers" + of, headers)
    _check_proxy("proxy" + of, settings.get("proxy"))
    if settings.get("proxy") == "":
        raise ValueError(f"proxy{of} is empty; None is no proxy")
    return {
        "name": name,
        "limit": count_or_none("limit" + of, settings.get("limit"), 0),
        "rate": rate("rate" + of, settings.get("rate")),
        "headers": list((headers or {}).items()),
        "user": _pair("auth" + of, settings.get("auth")),
        "bearer": _token("bearer" + of, settings.get("bearer")),
        "own_proxy": "proxy" in settings,
        "proxy": settings.get("proxy"),
    }


def _check_proxy(name: str, url: Any) -> None:
    """Refuses line ends, which the URL would be read without."""
    check_text(name, url)
    if url is not None:
        check_line(name, url)


def _proxies(
    proxies: Mapping[str, str] | str | None | EllipsisType,
) -> tuple[str | None, str | None, str]:
    """The proxies for http and for https, and the hosts that are reached without."""
    if isinstance(proxies, EllipsisType):
        return _environ.proxies()
    if proxies is None or isinstance(proxies, str):
        _check_proxy("proxies", proxies)
        return proxies, proxies, ""
    if not isinstance(proxies, Mapping):
        raise wrong("proxies", "a dict, a str or None", proxies)
    for key, value in proxies.items():
        _check_proxy(f"proxies[{key!r}]", value)
    unknown = proxies.keys() - {"http", "https", "all", "no_proxy"}
    if unknown:
        raise ValueError(f"proxies has no key {', '.join(sorted(map(repr, unknown)))}")
    http, https = (proxies.get(scheme) or proxies.get("all") for scheme in ("http", "https"))
    return http, https, proxies.get("no_proxy") or ""
