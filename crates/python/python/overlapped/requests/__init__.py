"""The interface of requests.

    from overlapped import requests

    response = requests.get("https://example.org/", params={"q": "1"})
    response.raise_for_status()
    print(response.text)

Code that was written for requests changes its import; libraries that import requests get this after `install()`. Beyond it: a
default timeout (`Session.timeout`), sessions that threads may share, `verify=False` that the environment does not override, and an
`Authorization` header that netrc does not.
"""

from __future__ import annotations

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
from .__version__ import __build__, __version__
from ._install import install
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


def check_compatibility(urllib3_version: str, chardet_version: str | None, charset_normalizer_version: str | None) -> None:
    """Nothing: no version of these packages is needed. In requests it raises for one that is too old."""


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
    "__build__",
    "__version__",
    "adapters",
    "auth",
    "certs",
    "check_compatibility",
    "codes",
    "compat",
    "cookies",
    "delete",
    "exceptions",
    "get",
    "head",
    "hooks",
    "install",
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
