"""Retries as an object of urllib3 says (`urllib3.util.Retry`), which code written for requests gives to an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _transport as transport
from .exceptions import RetryError
from .utils import rewind_body


class Attempts(int):
    """A number of further attempts to connect, to code that expects an object of urllib3."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """False: no status is retried."""
        return False


def exchanged(policy: Any, request: Any, exchange: Callable[[], Any]) -> Any:
    """Makes an exchange again and again, until there is a response that is not to be retried.

    Raises what the last exchange has raised, or RetryError if its status was to be retried.
    """
    exhausted = _urllib3_errors().MaxRetryError
    while True:
        try:
            raw = exchange()
        except transport.TransportError as error:
            try:
                policy = policy.increment(request.method, request.url, error=_as_of_urllib3(error, request.url))
            except exhausted:
                raise error from None
            raw = None
        else:
            raw.retries = policy
            if not policy.is_retry(request.method, raw.status, "retry-after" in raw.headers):
                return raw
            try:
                policy = policy.increment(request.method, request.url, response=raw)
            except exhausted as error:
                if not policy.raise_on_status:
                    return raw
                raw.close()
                raise RetryError(error, request=request) from error
            # The connection is free again when the body was read.
            raw.read()
        policy.sleep(raw)
        if not isinstance(request.body, (bytes, str, type(None))):
            rewind_body(request)


def _urllib3_errors() -> Any:
    # The object comes from it, so it is there.
    import urllib3.exceptions

    return urllib3.exceptions


def _as_of_urllib3(error: transport.TransportError, url: str) -> Exception:
    """An error by whose class the object counts."""
    errors = _urllib3_errors()
    kind: Exception
    if isinstance(error, transport.TLSError):
        kind = errors.SSLError(str(error))
    elif isinstance(error, transport.ConnectError):
        kind = errors.ConnectTimeoutError(str(error))
    elif isinstance(error, transport.ReadTimeoutError):
        kind = errors.ReadTimeoutError(None, url, str(error))
    else:
        kind = errors.ProtocolError(str(error))
    return kind
