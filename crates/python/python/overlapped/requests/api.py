"""Functions for single requests. Arguments as for `Session.request`."""

from __future__ import annotations

from typing import Any

from . import sessions
from .models import Response


def request(method: Any, url: Any, **kwargs: Any) -> Response:
    """Makes a request and returns its response."""
    with sessions.Session() as session:
        return session.request(method=method, url=url, **kwargs)


def get(url: Any, params: Any = None, **kwargs: Any) -> Response:
    """A GET request."""
    return request("get", url, params=params, **kwargs)


def options(url: Any, **kwargs: Any) -> Response:
    """An OPTIONS request."""
    return request("options", url, **kwargs)


def head(url: Any, **kwargs: Any) -> Response:
    """A HEAD request. Redirects are not followed unless asked for."""
    kwargs.setdefault("allow_redirects", False)
    return request("head", url, **kwargs)


def post(url: Any, data: Any = None, json: Any = None, **kwargs: Any) -> Response:
    """A POST request."""
    return request("post", url, data=data, json=json, **kwargs)


def put(url: Any, data: Any = None, **kwargs: Any) -> Response:
    """A PUT request."""
    return request("put", url, data=data, **kwargs)


def patch(url: Any, data: Any = None, **kwargs: Any) -> Response:
    """A PATCH request."""
    return request("patch", url, data=data, **kwargs)


def delete(url: Any, **kwargs: Any) -> Response:
    """A DELETE request."""
    return request("delete", url, **kwargs)
