"""The body of a response as it comes, whatever it comes from: `Response.raw`."""

from __future__ import annotations

import contextlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import ref

from ._transport import READ_BYTES, DecodeError, TransportError
from .structures import CaseInsensitiveDict

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# A line break within the value of a header, with the blanks that make it one.
_FOLD = re.compile(r"\r?\n[ \t]+")


class HeaderDict(CaseInsensitiveDict[str]):
    """The headers of a response; several of one name are one, joined by commas."""

    def __init__(self, fields: Any = ()) -> None:
        super().__init__()
        self._fields = fields
        for name, value in fields:
            self.add(name, value)

    def getlist(self, name: str, default: Any = ()) -> list[str]:
        """The values of a name, each by itself."""
        lower = name.lower()
        return [value for field, value in self._fields if field.lower() == lower] or list(default)

    def add(self, name: str, value: str) -> None:
        """Adds a header."""
        lower = name.lower()
        if lower in self._store:
            first, before = self._store[lower]
            self._store[lower] = (first, f"{before}, {value}")
        else:
            self._store[lower] = (name, value)


class Head:
    """The header fields of a response, as the jar of cookies asks for them."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    @property
    def msg(self) -> Head:
        """The fields."""
        return self

    def get_all(self, name: str, default: Any = None) -> Any:
        """The values of a field."""
        name = name.lower()
        return [value for field, value in self._fields if field.lower() == name] or default


class RawResponse(io.IOBase):
    """A response whose body is read as it comes. Its connection is free for other requests after the last byte.

    A subclass has `_read`, `_read_piece`, `_is_read` and `close`, which sets `_is_closed`, and counts in `_count` what was taken
    from the wire.

    Attributes:
        decode_content: Whether `read` and `stream` remove content codings where they are not told. Lines always have none.
        auto_close: Whether it is closed after the last byte. Readers of `io` around it, which ask for more, want False.
    """

    decode_content = False
    auto_close = True
    #: False: a body in chunks is given on as one without.
    chunked = False
    #: The `Retry` of urllib3 that was obeyed, as it was at the end.
    retries: Any = None
    _count = 0
    _body: bytes | None = None
    _is_closed = False
    _request_url: str | None = None
    # What was put in the place of the connection.
    _source: Any = None

    def __init__(self, fields: list[tuple[str, str]], status: int, reason: str, version: int) -> None:
        self._fields = fields
        self._original_response: Any = Head(fields)
        self._decoder: _Decoder | None = None
        self._decoded = bytearray()
        self.headers = HeaderDict(self.getheaders())
        self.status = status
        self.reason = reason
        self.version = version

    @property
    def closed(self) -> bool:
        """Whether nothing more can be read."""
        if self._source is not None:
            return bool(self.auto_close and self._is_source_closed())
        return self._is_closed or (self.auto_close and self._is_read() and not self._decoded)

    def _is_read(self) -> bool:
        """Whether nothing more comes from the wire."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the connection, if the body was not read to its end."""
        raise NotImplementedError

    def _read(self, amt: int | None) -> bytes:
        """The next `amt` bytes as they are on the wire, fewer at the end; None: all."""
        raise NotImplementedError

    def _read_piece(self, amt: int) -> bytes:
        """What comes next, at most `amt` bytes."""
        raise NotImplementedError

    def getheaders(self) -> list[tuple[str, str]]:
        """The headers in their order. A value that was folded is one line: a line break would end it where it is sent on."""
        return [(name, _FOLD.sub(" ", value) if "\n" in value else value) for name, value in self._fields]

    def getheader(self, name: str, default: Any = None) -> Any:
        """A header."""
        return self.headers.get(name, default)

    def read(self, amt: int | None = None, decode_content: bool | None = None, cache_content: bool = False) -> bytes:
        """The next `amt` bytes, or all; by default as they are on the wire, or as `decode_content` of the response says."""
        decoder = self._decoding(decode_content)
        if decoder is None:
            return self._next(amt)
        while amt is None or len(self._decoded) < amt:
            block = self._next(READ_BYTES)
            self._decoded += decoder.decode(block, not block)
            if not block:
                break
        count = len(self._decoded) if amt is None else amt
        taken = bytes(self._decoded[:count])
        del self._decoded[:count]
        return taken

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        """What comes next, at most `amt` bytes. Empty only at the end."""
        if amt is None or amt < 0:
            amt = READ_BYTES
        decoder = self._decoding(decode_content)
        if decoder is None:
            return self._next_piece(amt) if amt else b""
        while not self._decoded and amt:
            block = self._next_piece(READ_BYTES)
            self._decoded += decoder.decode(block, not block)
            if not block:
                break
        taken = bytes(self._decoded[:amt])
        del self._decoded[:amt]
        return taken

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Reads as many bytes as fit, fewer at the end."""
        with memoryview(buffer).cast("B") as view:
            data = self.read(len(view))
            view[: len(data)] = data
        return len(data)

    @property
    def data(self) -> bytes:
        """The whole body, kept."""
        if self._body is None:
            self._body = self.read()
        return self._body

    def __iter__(self) -> Iterator[bytes]:
        """The lines, decoded."""
        before = bytearray()
        for block in self.stream(decode_content=True):
            *lines, rest = block.split(b"\n")
            for line in lines:
                yield bytes(before) + line + b"\n"
                before.clear()
            before += rest
        if before:
            yield bytes(before)

    def tell(self) -> int:
        """How many bytes were taken from the wire."""
        return self._count

    def isclosed(self) -> bool:
        """Whether nothing more can be read."""
        return self.closed

    def info(self) -> HeaderDict:
        """The headers."""
        return self.headers

    def stream(self, amt: int | None = READ_BYTES, decode_content: bool | None = None) -> Iterator[bytes]:
        """The body in blocks of `amt` bytes; without `amt`, or if its length is not known, as they come."""
        if not self.comes_in_pieces(amt):
            while block := self.read(amt, decode_content):
                yield block
            return
        decoder = self._decoding(decode_content)
        while True:
            block = self._next_piece(READ_BYTES if amt is None or decoder is not None else amt)
            yield from self.pieces(block, amt, decoder)
            if not block:
                return

    def comes_in_pieces(self, amt: int | None) -> bool:
        """Whether blocks are given on as they come, as of a stream of events, rather than filled up."""
        return amt is None or "content-length" not in self.headers

    def pieces(self, block: bytes, amt: int | None, decoder: _Decoder | None) -> Iterator[bytes]:
        """What a block of the wire gives: decoded, and no more than `amt` bytes at a time. An empty block is the end."""
        data = block if decoder is None else decoder.decode(block, not block)
        if amt is None or len(data) <= amt:
            if data:
                yield data
            return
        for start in range(0, len(data), amt):
            yield data[start : start + amt]

    def json(self) -> Any:
        """The body, parsed as JSON."""
        return json.loads(self.data)

    @property
    def url(self) -> str | None:
        """The URL that answered."""
        return self._request_url

    def geturl(self) -> str | None:
        """The URL that answered."""
        return self._request_url

    @property
    def version_string(self) -> str:
        """The version of HTTP, such as `HTTP/1.1`."""
        return f"HTTP/{self.version // 10}.{self.version % 10}" if self.version < 20 else f"HTTP/{self.version // 10}"

    def drain_conn(self) -> None:
        """Reads what is left, so that the connection is free for other requests. An error of it is not raised."""
        with contextlib.suppress(TransportError):
            while self._next(READ_BYTES):
                pass

    @property
    def _fp(self) -> Any:
        """The bytes as they are on the wire, as a file. Extensions of requests that keep responses put one of theirs in its place,
        which passes on what it reads, or has the body from elsewhere."""
        return Wire(self) if self._source is None else self._source

    @_fp.setter
    def _fp(self, source: Any) -> None:
        self._source = source
        self._decoder = None

    @property
    def _has_decoded_content(self) -> bool:
        """Whether content codings have been removed, for such extensions."""
        return self._decoder is not None

    def _next(self, amt: int | None) -> bytes:
        return self._read(amt) if self._source is None else _read_from(self._source, amt)

    def _next_piece(self, amt: int) -> bytes:
        return self._read_piece(amt) if self._source is None else _read_from(self._source, amt)

    def _is_source_closed(self) -> bool:
        source = self._source
        return bool(source.isclosed() if hasattr(source, "isclosed") else source.closed)

    def get_redirect_location(self) -> bool:
        """False: redirects are followed elsewhere."""
        return False

    def readable(self) -> bool:
        """True."""
        return True

    def release_conn(self) -> None:
        """Closes the connection, if the body was not read to its end: what is left of it would be read as the next head."""
        self.close()

    def _decoding(self, decode_content: bool | None) -> _Decoder | None:
        if not (self.decode_content if decode_content is None else decode_content):
            return None
        if self._decoder is None and (codings := self._codings()):
            self._decoder = _Decoder(codings, self.close)
        return self._decoder

    def _codings(self) -> list[str]:
        value = self.headers.get("content-encoding")
        if not value:
            return []
        codings = [coding.strip().lower() for coding in value.split(",") if coding.strip()]
        known = all(coding in _DECODERS or coding == "identity" for coding in codings)
        return [coding for coding in codings if coding != "identity"] if known else []


class Wire:
    """The bytes of a response as they are on the wire. It does not keep the response: that keeps what reads from this."""

    def __init__(self, raw: RawResponse) -> None:
        self._raw = ref(raw)

    def read(self, amt: int | None = None) -> bytes:
        """The next `amt` bytes, or all."""
        raw = self._raw()
        return b"" if raw is None else raw._read(amt)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be read."""
        raw = self._raw()
        return raw is None or raw._is_read()

    def isclosed(self) -> bool:
        """Whether nothing more can be read."""
        return self.closed

    def close(self) -> None:
        """Closes the connection, if the body was not read to its end."""
        raw = self._raw()
        if raw is not None:
            raw.close()


def _read_from(source: Any, amt: int | None) -> bytes:
    return b"" if getattr(source, "closed", False) else bytes(source.read(amt))


class _Decoder:
    """Removes content codings."""

    def __init__(self, codings: list[str], close: Callable[[], None]) -> None:
        self._steps = [_DECODERS[coding]() for coding in reversed(codings)]
        self._close = close

    def decode(self, block: bytes, is_end: bool) -> bytes:
        try:
            for step in self._steps:
                block = step.decompress(block) + (step.flush() if is_end else b"")
        except Exception as error:
            self._close()
            raise DecodeError(f"the body is not what its Content-Encoding says: {error}") from error
        return block


class _Gzip:
    """gzip, with any number of members."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._begun = False

    def decompress(self, block: bytes) -> bytes:
        decoded = bytearray()
        while block:
            if self._inflate.eof:
                # Zeros and rubbish behind the last member are ignored, as everyone does.
                if not block.startswith(b"\x1f\x8b"):
                    break
                self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
            decoded += self._inflate.decompress(block)
            block = self._inflate.unused_data
        return bytes(decoded)

    def flush(self) -> bytes:
        return self._inflate.flush()


class _Deflate:
    """deflate: as zlib, or without its frame, which some servers send."""

    def __init__(self) -> None:
        self._inflate: Any = None

    def decompress(self, block: bytes) -> bytes:
        if self._inflate is None and block:
            is_zlib = block[0] & 0x0F == 8 and (len(block) < 2 or int.from_bytes(block[:2], "big") % 31 == 0)
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        return bytes(self._inflate.decompress(block)) if block else b""

    def flush(self) -> bytes:
        return b"" if self._inflate is None else bytes(self._inflate.flush())


_DECODERS: dict[str, Any] = {"gzip": _Gzip, "x-gzip": _Gzip, "deflate": _Deflate}
