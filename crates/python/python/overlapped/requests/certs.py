"""Where the certificates are that are trusted by default."""

from __future__ import annotations

import ssl


def where() -> str:
    """The file with the system's certificates; empty if they are in a directory only."""
    return ssl.get_default_verify_paths().cafile or ""
