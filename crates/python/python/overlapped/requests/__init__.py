"""The interface of requests.

    from overlapped import requests

    response = requests.get("https://example.org/", params={"q": "1"})
    response.raise_for_status()
    print(response.text)

Code that was written for requests changes its import. Beyond it: a default timeout (`Session.timeout`), sessions that threads
may share, `verify=False` that the environment does not override, and an `Authorization` header that netrc does not.
"""

from __future__ import annotations

from .._overlapped import __version__
from . import (
    adapters,
    auth,
    certs,
    compat,
    cookies,
    exceptions,
    hooks,
    models,
    packages,
    sessions,
    status_codes,
    structures,
    utils,
)
from .api import delete, get, head, options, patch, post, put, request
from .exceptions import (
    ConnectionError,
    ConnectTimeout,
    FileModeWarning,
    HTTPError,
    JSONDecodeError,
    ReadTimeout,
    RequestException,
    Timeout,
    TooManyRedirects,
    URLRequired,
)
from .models import PreparedRequest, Request, Response
from .sessions import Session, session
from .status_codes import codes

# The version of requests whose interface this is, 2.34.2, in the form in which extensions of requests look for it.
__build__ = 0x023402

__all__ = [
    "ConnectTimeout",
    "ConnectionError",
    "FileModeWarning",
    "HTTPError",
    "JSONDecodeError",
    "PreparedRequest",
    "ReadTimeout",
    "Request",
    "RequestException",
    "Response",
    "Session",
    "Timeout",
    "TooManyRedirects",
    "URLRequired",
    "__version__",
    "adapters",
    "auth",
    "certs",
    "codes",
    "compat",
    "cookies",
    "delete",
    "exceptions",
    "get",
    "head",
    "hooks",
    "models",
    "options",
    "packages",
    "patch",
    "post",
    "put",
    "request",
    "session",
    "sessions",
    "status_codes",
    "structures",
    "utils",
]
