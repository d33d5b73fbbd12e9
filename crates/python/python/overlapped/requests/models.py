"""Requests, prepared requests and responses."""

from __future__ import annotations

from urllib.parse import urlencode

from ._prepare import PreparedRequest, Request, RequestEncodingMixin, RequestHooksMixin
from ._response import CONTENT_CHUNK_SIZE, ITER_CHUNK_SIZE, REDIRECT_STATI, Response
from .auth import HTTPBasicAuth
from .cookies import RequestsCookieJar
from .exceptions import (
    ChunkedEncodingError,
    ConnectionError,
    ContentDecodingError,
    HTTPError,
    InvalidJSONError,
    InvalidURL,
    MissingSchema,
    StreamConsumedError,
)
from .structures import CaseInsensitiveDict

DEFAULT_REDIRECT_LIMIT = 30

__all__ = [
    "CONTENT_CHUNK_SIZE",
    "DEFAULT_REDIRECT_LIMIT",
    "ITER_CHUNK_SIZE",
    "REDIRECT_STATI",
    "CaseInsensitiveDict",
    "ChunkedEncodingError",
    "ConnectionError",
    "ContentDecodingError",
    "HTTPBasicAuth",
    "HTTPError",
    "InvalidJSONError",
    "InvalidURL",
    "MissingSchema",
    "PreparedRequest",
    "Request",
    "RequestEncodingMixin",
    "RequestHooksMixin",
    "RequestsCookieJar",
    "Response",
    "StreamConsumedError",
    "urlencode",
]
