"""What a report of a defect should say of the system: `python -m overlapped.requests.help`."""

from __future__ import annotations

import json
import platform
import ssl
import sys
from types import ModuleType
from typing import Any

from .. import _overlapped
from .__version__ import __version__

idna: ModuleType | None
try:
    import idna
except ImportError:
    idna = None


def info() -> dict[str, Any]:
    """The versions of what takes part in a request. What requests itself builds on and this package does not is None."""
    absent = {"version": None}
    return {
        "platform": {"system": platform.system(), "release": platform.release()},
        "implementation": {"name": platform.python_implementation(), "version": platform.python_version()},
        # Of requests over a proxy; all others have the TLS of the client in Rust.
        "system_ssl": {"version": f"{ssl.OPENSSL_VERSION_NUMBER:x}"},
        "using_pyopenssl": False,
        "using_charset_normalizer": "charset_normalizer" in sys.modules,
        "pyOpenSSL": {"version": None, "openssl_version": ""},
        "urllib3": absent,
        "chardet": absent,
        "charset_normalizer": absent,
        "cryptography": absent,
        "idna": {"version": getattr(idna, "__version__", "")},
        # That of the interface.
        "requests": {"version": __version__},
        "overlapped": {"version": _overlapped.__version__},
    }


def main() -> None:
    """Prints it as JSON."""
    print(json.dumps(info(), sort_keys=True, indent=2))


if __name__ == "__main__":
    main()
