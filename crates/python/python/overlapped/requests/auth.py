"""Authentication: objects that change a request before it is sent."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from base64 import b64encode
from typing import Any
from urllib.parse import urlsplit

from .cookies import extract_cookies_to_jar
from .utils import parse_dict_header

CONTENT_TYPE_FORM_URLENCODED = "application/x-www-form-urlencoded"
CONTENT_TYPE_MULTI_PART = "multipart/form-data"


def _basic_auth_str(username: Any, password: Any) -> str:
    """The value of `Authorization` for a user name and a password: str (sent as ISO 8859-1) or bytes."""

    def encoded(part: Any) -> bytes:
        part = part if isinstance(part, (str, bytes)) else str(part)
        return part.encode("latin1") if isinstance(part, str) else part

    return "Basic " + b64encode(encoded(username) + b":" + encoded(password)).decode("ascii")


class AuthBase:
    """The ancestor of all authentication. It is called with a prepared request, and returns it."""

    def __call__(self, r: Any) -> Any:
        raise NotImplementedError("Auth hooks must be callable.")


class HTTPBasicAuth(AuthBase):
    """A user name and a password, sent with each request."""

    _header = "Authorization"

    def __init__(self, username: Any, password: Any) -> None:
        self.username = username
        self.password = password

    def __eq__(self, other: object) -> bool:
        own = (self.username, self.password)
        return own == (getattr(other, "username", None), getattr(other, "password", None))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __call__(self, r: Any) -> Any:
        r.headers[self._header] = _basic_auth_str(self.username, self.password)
        return r


class HTTPProxyAuth(HTTPBasicAuth):
    """The same, for a proxy."""

    _header = "Proxy-Authorization"


_HASHES = {
    "MD5": hashlib.md5,
    "MD5-SESS": hashlib.md5,
    "SHA": hashlib.sha1,
    "SHA-256": hashlib.sha256,
    "SHA-512": hashlib.sha512,
}


class HTTPDigestAuth(AuthBase):
    """Digest authentication (RFC 7616): answers the challenge of a 401."""

    def __init__(self, username: Any, password: Any) -> None:
        self.username = username
        self.password = password
        # The state of a challenge is that of a thread.
        self._thread_local = threading.local()

    def init_per_thread_state(self) -> None:
        """Begins with no challenge, in a thread that has none."""
        if not hasattr(self._thread_local, "init"):
            self._thread_local.init = True
            self._thread_local.last_nonce = ""
            self._thread_local.nonce_count = 0
            self._thread_local.chal = {}
            self._thread_local.pos = None
            self._thread_local.num_401_calls = None
            self._thread_local.hooks = None

    def build_digest_header(self, method: str, url: str) -> str | None:
        """The value of `Authorization` for a request, or None if the challenge cannot be answered."""
        state = self._thread_local
        challenge = state.chal
        realm, nonce = challenge["realm"], challenge["nonce"]
        qop, opaque, algorithm = challenge.get("qop"), challenge.get("opaque"), challenge.get("algorithm")
        name = (algorithm or "MD5").upper()
        hasher = _HASHES.get(name)
        if hasher is None:
            return None

        def digest(text: str) -> str:
            return hasher(text.encode("utf-8"), usedforsecurity=False).hexdigest()

        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        state.nonce_count = state.nonce_count + 1 if nonce == state.last_nonce else 1
        state.last_nonce = nonce
        count = f"{state.nonce_count:08x}"
        own_nonce = hashlib.sha1(f"{count}{nonce}{time.ctime()}".encode() + os.urandom(8)).hexdigest()[:16]
        who = digest(f"{self.username}:{realm}:{self.password}")
        what = digest(f"{method}:{path}")
        if name == "MD5-SESS":
            who = digest(f"{who}:{nonce}:{own_nonce}")
        if not qop:
            response = digest(f"{who}:{nonce}:{what}")
        elif qop == "auth" or "auth" in qop.split(","):
            response = digest(f"{who}:{nonce}:{count}:{own_nonce}:auth:{what}")
        else:
            # Only auth-int, which covers the body, is asked for.
            return None
        fields = [
            f'username="{self.username}"',
            f'realm="{realm}"',
            f'nonce="{nonce}"',
            f'uri="{path}"',
            f'response="{response}"',
        ]
        if opaque:
            fields.append(f'opaque="{opaque}"')
        if algorithm:
            fields.append(f'algorithm="{algorithm}"')
        if qop:
            fields += ['qop="auth"', f"nc={count}", f'cnonce="{own_nonce}"']
        return "Digest " + ", ".join(fields)

    def handle_redirect(self, r: Any, **kwargs: Any) -> None:
        """A redirect begins a new count of challenges."""
        if r.is_redirect:
            self._thread_local.num_401_calls = 1

    def handle_401(self, r: Any, **kwargs: Any) -> Any:
        """Answers a challenge once, by sending the request again."""
        self.init_per_thread_state()
        state = self._thread_local
        hooks = getattr(r.request, "hooks", None)
        if getattr(state, "hooks", None) is not hooks:
            # The request was prepared in another thread, or something else was prepared in this one since.
            position = getattr(r.request, "_body_position", None)
            state.pos = position if isinstance(position, int) else None
            state.num_401_calls = 1
            state.hooks = hooks
        if not 400 <= r.status_code < 500:
            state.num_401_calls = 1
            return r
        if state.pos is not None:
            # The body has been sent: it is sent again from where it began.
            seek = getattr(r.request.body, "seek", None)
            if seek is not None:
                seek(state.pos)
        challenge = r.headers.get("www-authenticate", "")
        if "digest" not in challenge.lower() or state.num_401_calls >= 2:
            state.num_401_calls = 1
            return r
        state.num_401_calls += 1
        state.chal = parse_dict_header(re.sub("digest ", "", challenge, count=1, flags=re.IGNORECASE))
        # The connection is free again only when the body was read.
        r.content  # noqa: B018
        r.close()
        request = r.request.copy()
        extract_cookies_to_jar(request._cookies, r.request, r.raw)
        request.prepare_cookies(request._cookies)
        self._authorize(request)
        answer = r.connection.send(request, **kwargs)
        answer.history.append(r)
        answer.request = request
        return answer

    def __call__(self, r: Any) -> Any:
        self.init_per_thread_state()
        state = self._thread_local
        if state.last_nonce:
            self._authorize(r)
        try:
            state.pos = r.body.tell()
        except AttributeError:
            state.pos = None
        r.register_hook("response", self.handle_401)
        r.register_hook("response", self.handle_redirect)
        state.num_401_calls = 1
        state.hooks = getattr(r, "hooks", None)
        return r

    def _authorize(self, request: Any) -> None:
        """Sets the header, if the challenge can be answered."""
        header = self.build_digest_header(request.method, request.url)
        if header:
            request.headers["Authorization"] = header

    def __eq__(self, other: object) -> bool:
        own = (self.username, self.password)
        return own == (getattr(other, "username", None), getattr(other, "password", None))

    def __ne__(self, other: object) -> bool:
        return not self == other
