"""Names that code written for requests imports from here."""

from __future__ import annotations

import http.cookiejar as cookielib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from http.cookies import Morsel
from io import StringIO
from json import JSONDecodeError
from typing import Any
from urllib.parse import (
    quote,
    quote_plus,
    unquote,
    unquote_plus,
    urldefrag,
    urlencode,
    urljoin,
    urlparse,
    urlsplit,
    urlunparse,
)
from urllib.request import getproxies, getproxies_environment, parse_http_list, proxy_bypass
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined, unused-ignore]

builtin_str = str
str = str
bytes = bytes
basestring = (str, bytes)
numeric_types = (int, float)
integer_types = (int,)
is_py2 = False
is_py3 = True
is_urllib3_1 = False
has_simplejson = False

__all__ = [
    "Callable",
    "JSONDecodeError",
    "Mapping",
    "Morsel",
    "MutableMapping",
    "OrderedDict",
    "StringIO",
    "basestring",
    "builtin_str",
    "bytes",
    "cookielib",
    "getproxies",
    "getproxies_environment",
    "has_simplejson",
    "integer_types",
    "json",
    "is_py2",
    "is_py3",
    "is_urllib3_1",
    "numeric_types",
    "parse_http_list",
    "proxy_bypass",
    "proxy_bypass_environment",
    "quote",
    "quote_plus",
    "str",
    "unquote",
    "unquote_plus",
    "urldefrag",
    "urlencode",
    "urljoin",
    "urlparse",
    "urlsplit",
    "urlunparse",
]


def __getattr__(name: builtin_str) -> Any:
    """What recognises charsets, or None; not imported before it is asked for."""
    if name == "chardet":
        from . import packages

        return getattr(packages, name, None)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
