"""The helper functions that requests makes public."""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import ipaddress
import os
import re
import socket
import struct
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.parse import urlparse as urlparse
from urllib.request import getproxies, parse_http_list, proxy_bypass

from .._overlapped import __version__
from . import certs
from .cookies import cookiejar_from_dict
from .exceptions import FileModeWarning, InvalidHeader, InvalidURL, UnrewindableBodyError
from .structures import CaseInsensitiveDict

DEFAULT_CA_BUNDLE_PATH = certs.where()
DEFAULT_ACCEPT_ENCODING = "gzip, deflate"
DEFAULT_PORTS = {"http": 80, "https": 443}
NETRC_FILES = (".netrc", "_netrc")

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
# The parts of a URL (RFC 3986, appendix B); a backslash ends the host, as in browsers.
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/\\?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
# What is written without escapes in each part, beside letters, digits and `-._~`.
USERINFO_PLAIN = "!$&'()*+,;=:"
PATH_PLAIN = USERINFO_PLAIN + "@/"
QUERY_PLAIN = PATH_PLAIN + "?"
_HEADER_NAME = re.compile(r"[^:\s][^:\r\n]*")
_HEADER_VALUE = re.compile(r"\S[^\r\n]*|")


# Values that become pairs


def dict_to_sequence(d: Any) -> Any:
    """The items of a mapping; anything else as it is."""
    return d.items() if hasattr(d, "items") else d


def from_key_val_list(value: Any) -> Any:
    """An ordered dict of a mapping or of pairs."""
    if value is None:
        return None
    if isinstance(value, (str, bytes, bool, int)):
        raise ValueError("cannot encode objects that are not 2-tuples")
    return OrderedDict(value)


def to_key_val_list(value: Any) -> Any:
    """A list of pairs of a mapping or of pairs."""
    if value is None:
        return None
    if isinstance(value, (str, bytes, bool, int)):
        raise ValueError("cannot encode objects that are not 2-tuples")
    return list(value.items() if isinstance(value, Mapping) else value)


def to_native_string(string: str | bytes, encoding: str = "ascii") -> str:
    """A str of a str or bytes."""
    return string if isinstance(string, str) else string.decode(encoding)


def unicode_is_ascii(u_string: str) -> bool:
    """Whether a str is ASCII."""
    return u_string.isascii()


# Bodies


def super_len(o: Any) -> int:
    """How many bytes of a body are left to be sent; 0 if that is not known."""
    total: int | None = None
    if isinstance(o, str):
        o = o.encode("utf-8")
    if hasattr(o, "__len__"):
        total = len(o)
    elif hasattr(o, "len"):
        total = o.len
    elif hasattr(o, "fileno"):
        try:
            total = os.fstat(o.fileno()).st_size
        except (io.UnsupportedOperation, AttributeError):
            pass
        else:
            if "b" not in getattr(o, "mode", "b"):
                warnings.warn(
                    "a file that is open as text may have another length in bytes than its Content-Length says; "
                    "open it as binary",
                    FileModeWarning,
                    stacklevel=2,
                )
    position = 0
    if hasattr(o, "tell"):
        try:
            position = o.tell()
        except OSError:
            # A stream that cannot tell, such as standard input.
            position = total or 0
        else:
            if hasattr(o, "seek") and total is None:
                try:
                    o.seek(0, 2)
                    total = o.tell()
                    o.seek(position or 0)
                except OSError:
                    total = 0
    return max(0, (total or 0) - position)


def rewind_body(prepared_request: Any) -> None:
    """Moves the body of a request back to where it began, to be sent again."""
    seek = getattr(prepared_request.body, "seek", None)
    if seek is None or not isinstance(prepared_request._body_position, int):
        raise UnrewindableBodyError("Unable to rewind request body for redirect.")
    try:
        seek(prepared_request._body_position)
    except OSError:
        raise UnrewindableBodyError("An error occurred when rewinding request body for redirect.") from None


def guess_filename(obj: Any) -> str | None:
    """The name of an open file, if it has one that is a path."""
    name = getattr(obj, "name", None)
    if name and isinstance(name, (str, bytes)) and name[:1] not in ("<", b"<") and name[-1:] not in (">", b">"):
        return os.path.basename(name)  # type: ignore[return-value]
    return None


def iter_slices(string: Any, slice_length: int | None) -> Iterator[Any]:
    """Slices of a text or of bytes."""
    length = slice_length if slice_length and slice_length > 0 else max(len(string), 1)
    return (string[at : at + length] for at in range(0, len(string), length))


@contextlib.contextmanager
def atomic_open(filename: str) -> Iterator[Any]:
    """A file that gets its name when it is complete."""
    import tempfile

    handle, name = tempfile.mkstemp(dir=os.path.dirname(filename))
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(name, filename)
    except BaseException:
        os.remove(name)
        raise


def extract_zipped_paths(path: str) -> str:
    """A path to a file in a zip archive, as a path to a copy of the file."""
    if os.path.exists(path):
        return path
    import tempfile
    import zipfile

    archive, member = os.path.split(path)
    while archive and not os.path.exists(archive):
        archive, prefix = os.path.split(archive)
        if not prefix:
            break
        member = "/".join([prefix, member])
    if not zipfile.is_zipfile(archive):
        return path
    with zipfile.ZipFile(archive) as opened:
        if member not in opened.namelist():
            return path
        copied = os.path.join(tempfile.gettempdir(), member.split("/")[-1])
        if not os.path.exists(copied):
            with atomic_open(copied) as file:
                file.write(opened.read(member))
    return copied


# Headers


def default_user_agent(name: str = "python-overlapped") -> str:
    """The value of `User-Agent`."""
    return f"{name}/{__version__}"


def default_headers() -> CaseInsensitiveDict[Any]:
    """The headers of a new session."""
    return CaseInsensitiveDict(
        {
            "User-Agent": default_user_agent(),
            "Accept-Encoding": DEFAULT_ACCEPT_ENCODING,
            "Accept": "*/*",
            "Connection": "keep-alive",
        }
    )


def check_header_validity(header: tuple[Any, Any]) -> None:
    """Raises InvalidHeader if a name or value could break the request apart."""
    name, value = header
    if type(name) is str and type(value) is str and _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value):
        return
    for part, text in (("name", name), ("value", value)):
        if not isinstance(text, (str, bytes)):
            raise InvalidHeader(
                f"Header part ({text!r}) from ({name!r}, {value!r}) must be of type str or bytes, not {type(text)}"
            )
        pattern = _HEADER_NAME if part == "name" else _HEADER_VALUE
        if not pattern.fullmatch(text.decode("latin-1") if isinstance(text, bytes) else text):
            raise InvalidHeader(
                f"Invalid leading whitespace, reserved character(s), or return character(s) in header {part}: {text!r}"
            )


def parse_list_header(value: str) -> list[str]:
    """The elements of a list in a header, without quotes."""
    return [
        unquote_header_value(item[1:-1]) if item[:1] == item[-1:] == '"' else item for item in parse_http_list(value)
    ]


def parse_dict_header(value: str) -> dict[str, str | None]:
    """The pairs of a list in a header; a name without a value has None."""
    pairs: dict[str, str | None] = {}
    for item in parse_http_list(value):
        name, equals, text = item.partition("=")
        if not equals:
            pairs[item] = None
        else:
            pairs[name] = unquote_header_value(text[1:-1]) if text[:1] == text[-1:] == '"' else text
    return pairs


def unquote_header_value(value: str, is_filename: bool = False) -> str:
    """A value without its quotes and escapes; the name of a UNC path keeps its backslashes."""
    if value and value[0] == value[-1] == '"':
        value = value[1:-1]
    if not value or (is_filename and value[:2] == "\\\\"):
        return value
    return value.replace("\\\\", "\\").replace('\\"', '"')


def parse_header_links(value: str) -> list[dict[str, str]]:
    """The links of a `Link` header, each with `url` and its parameters."""
    links = []
    stripped = " '\""
    for text in re.split(", *<", value.strip(stripped)) if value.strip(stripped) else []:
        url, _, parameters = text.partition(";")
        link = {"url": url.strip("<> '\"")}
        for parameter in parameters.split(";"):
            name, equals, content = parameter.partition("=")
            if not equals:
                break
            link[name.strip(stripped)] = content.strip(stripped)
        links.append(link)
    return links


@functools.lru_cache(maxsize=64)
def _parse_content_type_header(header: str) -> tuple[str, dict[str, Any]]:
    content_type, *tokens = header.split(";")
    parameters: dict[str, Any] = {}
    for token in (token.strip() for token in tokens):
        if token:
            name, equals, value = token.partition("=")
            if equals:
                parameters[name.strip("\"' ").lower()] = value.strip("\"' ")
    return content_type.strip(), parameters


def get_encoding_from_headers(headers: Any) -> str | None:
    """The charset that `Content-Type` names, or that its type implies."""
    header = headers.get("content-type")
    if not header:
        return None
    content_type, parameters = _parse_content_type_header(header)
    if isinstance(parameters.get("charset"), str):
        return str(parameters["charset"])
    if "text" in content_type:
        return "ISO-8859-1"
    if "application/json" in content_type:
        return "utf-8"
    return None


# Texts


def guess_json_utf(data: bytes) -> str | None:
    """Which UTF a JSON text is in, by its byte order mark or the zeros of its first characters."""
    sample = data[:4]
    if sample in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    if sample[:3] == codecs.BOM_UTF8:
        return "utf-8-sig"
    if sample[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    zeros = tuple(byte == 0 for byte in sample)
    known: dict[tuple[bool, ...], str] = {
        (True, False, True, False): "utf-16-be",
        (False, True, False, True): "utf-16-le",
        (True, True, True, False): "utf-32-be",
        (False, True, True, True): "utf-32-le",
    }
    return known.get(zeros) or (None if any(zeros) else "utf-8")


def stream_decode_response_unicode(iterator: Any, r: Any) -> Iterator[Any]:
    """The blocks of a body, decoded; as they are if the response has no encoding."""
    if r.encoding is None:
        yield from iterator
        return
    decoder = codecs.getincrementaldecoder(r.encoding)(errors="replace")
    for block in iterator:
        text = decoder.decode(block)
        if text:
            yield text
    text = decoder.decode(b"", final=True)
    if text:
        yield text


def get_unicode_from_response(r: Any) -> Any:
    """The body as text, in the encoding of its headers, or else as it is."""
    encoding = get_encoding_from_headers(r.headers)
    if encoding:
        with contextlib.suppress(UnicodeError):
            return str(r.content, encoding)
    try:
        return str(r.content, encoding or "utf-8", errors="replace")
    except (TypeError, LookupError):
        return r.content


def get_encodings_from_content(content: str) -> list[str]:
    """The charsets that a document names in itself."""
    patterns = (
        r'<meta.*?charset=["\']*(.+?)["\'>]',
        r'<meta.*?content=["\']*;?charset=(.+?)["\'>]',
        r'^<\?xml.*?encoding=["\']*(.+?)["\'>]',
    )
    return [found for pattern in patterns for found in re.findall(pattern, content, flags=re.IGNORECASE)]


# URLs


def unquote_unreserved(uri: str) -> str:
    """A URL without escapes of characters that need none."""

    def plain(escape: re.Match[str]) -> str:
        char = chr(int(escape.group()[1:], 16))
        return char if char in _UNRESERVED else escape.group()

    for escape in re.findall("%(.{2})", uri):
        if len(escape) == 2 and escape.isalnum() and not re.fullmatch("[0-9A-Fa-f]{2}", escape):
            raise InvalidURL(f"Invalid percent-escape sequence: '{escape}'")
    return _ESCAPE.sub(plain, uri)


def requote_uri(uri: str) -> str:
    """A URL with exactly the escapes that it needs."""
    try:
        return quote(unquote_unreserved(uri), safe="!#$%&'()*+,/:;=?@[]~")
    except InvalidURL:
        # A percent sign that is no escape is one.
        return quote(uri, safe="!#$&'()*+,/:;=?@[]~")


def split_url(url: str) -> tuple[str, str, str, str, str]:
    """Scheme, host with what belongs to it, path, query and fragment. No character is lost, unlike with `urlsplit`."""
    found = _URL.fullmatch(url)
    assert found is not None, "the expression matches any text"
    scheme, netloc, path, query, fragment = (part or "" for part in found.groups())
    return scheme, netloc, path, query, fragment


def escape_component(part: str, plain: str) -> str:
    """A part of a URL with escapes for all but `plain`. Escapes stay, unless a percent sign is there that begins none."""
    if len(_ESCAPE.findall(part)) == part.count("%"):
        plain += "%"
    upper = _ESCAPE.sub(lambda escape: escape.group().upper(), part)
    return quote(upper.encode("utf-8", "surrogatepass"), safe=plain)


def remove_dot_segments(path: str) -> str:
    """A path from the root, without `.` and `..` (RFC 3986, section 5.2.4)."""
    segments = path.removeprefix("/").split("/")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def prepend_scheme_if_needed(url: str, new_scheme: str) -> str:
    """The URL with a scheme."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", url):
        return f"{new_scheme}://{url.removeprefix('//')}"
    parts = urlsplit(url)
    return urlunsplit(parts)


def get_auth_from_url(url: str) -> tuple[str, str]:
    """The user name and password in a URL."""
    parts = urlsplit(url)
    try:
        return unquote(parts.username or ""), unquote(parts.password or "")
    except (AttributeError, TypeError):
        return "", ""


def urldefragauth(url: str) -> str:
    """The URL without its fragment, user name and password."""
    parts = urlsplit(url)
    netloc, path = parts.netloc, parts.path
    if not netloc:
        netloc, path = path, netloc
    return urlunsplit((parts.scheme, netloc.rsplit("@", 1)[-1], path, parts.query, ""))


# Credentials and proxies


def get_netrc_auth(url: str, raise_errors: bool = False) -> tuple[str, str] | None:
    """The user name and password for a host in the netrc file."""
    found = [path for path in netrc_paths() if os.path.exists(path)]
    if not found:
        return None
    try:
        host = urlsplit(url).hostname
    except (ValueError, AttributeError):
        # It is no URL, which is told when the request is prepared.
        return None
    if not isinstance(host, str):
        return None
    from netrc import NetrcParseError, netrc

    try:
        entry = netrc(found[0]).authenticators(host)
    except (NetrcParseError, OSError):
        if raise_errors:
            raise
        return None
    if not entry or not any(entry):
        return None
    return entry[0] or entry[1] or "", entry[2] or ""


def netrc_paths() -> list[str]:
    """Where the netrc file may be."""
    named = os.environ.get("NETRC")
    home = os.path.expanduser("~")
    return [os.path.expanduser(named)] if named else [f"{home}/{name}" for name in NETRC_FILES]


def address_in_network(ip: str, net: str) -> bool:
    """Whether an IPv4 address is in a network such as 192.168.1.0/24."""
    return ipaddress.IPv4Address(ip) in ipaddress.IPv4Network(net, strict=False)


def dotted_netmask(mask: int) -> str:
    """The netmask of so many bits: 24 gives 255.255.255.0."""
    return socket.inet_ntoa(struct.pack(">I", 0xFFFFFFFF ^ (1 << 32 - mask) - 1))


def is_ipv4_address(string_ip: str) -> bool:
    """Whether a text is an IPv4 address."""
    try:
        socket.inet_aton(string_ip)
    except OSError:
        return False
    return True


def is_valid_cidr(string_network: str) -> bool:
    """Whether a text is an IPv4 network with its length, which is not 0."""
    address, slash, mask = string_network.partition("/")
    return bool(slash) and mask.isdigit() and 1 <= int(mask) <= 32 and is_ipv4_address(address)


@contextlib.contextmanager
def set_environ(env_name: str, value: str | None) -> Iterator[None]:
    """Sets a variable of the environment for a time; None leaves it."""
    if value is None:
        yield
        return
    before = os.environ.get(env_name)
    os.environ[env_name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[env_name]
        else:
            os.environ[env_name] = before


def should_bypass_proxies(url: str, no_proxy: str | None) -> bool:
    """Whether a URL is asked for directly, by `no_proxy`, or else by the environment."""
    listed = no_proxy
    if listed is None:
        listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    parts = urlsplit(url)
    if parts.hostname is None:
        return True
    if listed:
        for entry in (entry for entry in listed.replace(" ", "").split(",") if entry):
            if is_ipv4_address(parts.hostname):
                if is_valid_cidr(entry):
                    if address_in_network(parts.hostname, entry):
                        return True
                elif parts.hostname == entry:
                    return True
            else:
                with_port = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
                # A domain has all names below it, and no other that ends in the same letters.
                domain = entry.lstrip(".")
                if domain in (parts.hostname, with_port):
                    return True
                if parts.hostname.endswith(f".{domain}") or with_port.endswith(f".{domain}"):
                    return True
    with set_environ("no_proxy", no_proxy):
        try:
            return bool(proxy_bypass(parts.hostname))
        except (TypeError, socket.gaierror):
            return False


def may_have_proxies() -> bool:
    """Whether the system or the environment may name a proxy."""
    if sys.platform in ("win32", "darwin"):
        return True
    # The names in the form that the system has: decoding each of them for each request takes longer than the rest.
    names = getattr(os.environ, "_data", None)
    if names is None:
        return any(name.lower().endswith("_proxy") for name in os.environ)
    return b"_proxy" in b"\0".join(names).lower()


def get_environ_proxies(url: str, no_proxy: str | None = None) -> dict[str, str]:
    """The proxies that the environment names for a URL."""
    if not may_have_proxies():
        return {}
    return {} if should_bypass_proxies(url, no_proxy=no_proxy) else getproxies()


def select_proxy(url: str, proxies: Any) -> str | None:
    """The proxy for a URL: the most specific of its scheme and host, scheme, host, or any."""
    if not proxies:
        return None
    parts = urlsplit(url)
    if parts.hostname is None:
        return proxies.get(parts.scheme, proxies.get("all"))  # type: ignore[no-any-return]
    keys = (f"{parts.scheme}://{parts.hostname}", parts.scheme, f"all://{parts.hostname}", "all")
    return next((proxies[key] for key in keys if key in proxies), None)


def resolve_proxies(request: Any, proxies: Any, trust_env: bool = True) -> dict[str, Any]:
    """The proxies for a request: those given, and beside them those of the environment."""
    resolved = dict(proxies or {})
    no_proxy = resolved.get("no_proxy")
    if trust_env and may_have_proxies() and not should_bypass_proxies(request.url, no_proxy=no_proxy):
        environ = get_environ_proxies(request.url, no_proxy=no_proxy)
        scheme = urlsplit(request.url).scheme
        proxy = environ.get(scheme, environ.get("all"))
        if proxy:
            resolved.setdefault(scheme, proxy)
    return resolved


# Cookies


def dict_from_cookiejar(cj: Any) -> dict[str, Any]:
    """The names and values of a jar."""
    return {cookie.name: cookie.value for cookie in cj}


def add_dict_to_cookiejar(cj: Any, cookie_dict: Any) -> Any:
    """Adds names and values to a jar."""
    return cookiejar_from_dict(cookie_dict, cj)




def __getattr__(name: str) -> Any:
    """A function of urllib3 that code written for requests takes from here, if it is installed."""
    if name == "parse_url":
        with contextlib.suppress(ImportError):
            from urllib3.util import parse_url

            return parse_url
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
