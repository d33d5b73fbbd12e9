"""The exceptions of requests, with the same names and ancestors."""

from __future__ import annotations

from json import JSONDecodeError as _StandardJSONDecodeError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._prepare import PreparedRequest
    from ._response import Response


class HTTPErrorBase(Exception):
    """The ancestor of errors of the transport."""


#: Its name in requests.
BaseHTTPError = HTTPErrorBase


class RequestException(IOError):
    """A request failed. `request` and `response` are what it had, or None."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.response: Response | None = kwargs.pop("response", None)
        self.request: PreparedRequest | None = kwargs.pop("request", None)
        if self.request is None:
            self.request = getattr(self.response, "request", None)
        super().__init__(*args, **kwargs)


class InvalidJSONError(RequestException):
    """What was to be JSON is not."""


class JSONDecodeError(InvalidJSONError, _StandardJSONDecodeError):
    """The text of a response is not JSON."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _StandardJSONDecodeError.__init__(self, *args)
        InvalidJSONError.__init__(self, *self.args, **kwargs)

    def __reduce__(self) -> Any:
        return _StandardJSONDecodeError.__reduce__(self)


class HTTPError(RequestException):
    """The status of the response is an error."""

    response: Response


class ConnectionError(RequestException):
    """No connection, or it broke."""


class ProxyError(ConnectionError):
    """The proxy failed."""


class SSLError(ConnectionError):
    """TLS failed."""


class Timeout(RequestException):
    """A limit in time has passed."""


class ConnectTimeout(ConnectionError, Timeout):
    """No connection in time. It is safe to try again."""


class ReadTimeout(Timeout):
    """No data in time."""


class URLRequired(RequestException):
    """There is no URL."""


class TooManyRedirects(RequestException):
    """There were more redirects than `max_redirects`."""


class MissingSchema(RequestException, ValueError):
    """The URL has no scheme."""


class InvalidSchema(RequestException, ValueError):
    """No adapter is mounted for the scheme of the URL."""


class InvalidURL(RequestException, ValueError):
    """The URL cannot be parsed."""


class InvalidHeader(RequestException, ValueError):
    """A header is not valid."""


class InvalidProxyURL(InvalidURL):
    """The URL of the proxy cannot be parsed."""


class ChunkedEncodingError(RequestException):
    """The body of the response was not whole."""


class ContentDecodingError(RequestException, HTTPErrorBase):
    """The body of the response could not be decoded."""


class StreamConsumedError(RequestException, TypeError):
    """The body of the response was taken already."""


class RetryError(RequestException):
    """All retries have failed."""


class UnrewindableBodyError(RequestException):
    """The body of the request cannot be sent a second time."""


class RequestsWarning(Warning):
    """The ancestor of warnings."""


class FileModeWarning(RequestsWarning, DeprecationWarning):
    """A file was opened as text, so that its length is not known in bytes."""


class RequestsDependencyWarning(RequestsWarning):
    """A dependency has a version that does not fit; here for those who filter it."""
