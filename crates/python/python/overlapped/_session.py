"""`AsyncSession`: a session whose requests are awaited."""

from __future__ import annotations

import codecs
import datetime
import time
from asyncio import _get_running_loop
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

from . import requests
from ._aio import _default_executor
from ._arguments import count, count_or_none, wrong
from ._executor import Executor
from ._loop import running_loop
from ._overlapped import RequestFailure
from ._places import Place, Places, is_within
from .requests import _native, _plain, _transport
from .requests.adapters import HTTPAdapter, public_error, timeouts_of
from .requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from .requests.exceptions import ChunkedEncodingError, ContentDecodingError
from .requests._response import Response
from .requests.sessions import Trail
from .requests.structures import CaseInsensitiveDict

_END = object()

# What both kinds of sessions have.
_SETTINGS = frozenset(requests.Session.__attrs__)

# Arguments that a plain request may have.
_PLAIN = frozenset({"timeout"})

# The threads for what cannot be awaited.
_THREADS = 16


class AsyncSession:
    """A session of `overlapped.requests` whose methods are coroutines.

        async with overlapped.AsyncSession() as session:
            session.headers["User-Agent"] = "mine"
            response = await session.get("https://example.org/")

    Settings are those of `requests.Session`: `headers`, `cookies`, `auth`, `proxies`, `timeout`, `verify`, `mount`. Cancelling
    the task that awaits a request closes its connection. Several event loops may use a session, also those of uvloop and trio.

    Requests are made by one thread in Rust. Only what may block has a thread for each of its requests: hooks, which digest
    authentication has too, bodies from files and iterators, and adapters of one's own.

    Args:
        limit: The most requests at a time in an event loop; further ones wait.
        max_per_host: The most requests to one host at a time in an event loop. Requests of a hook belong to that of the hook. A
            task within so many `stream` blocks gets a RuntimeError, since it would wait for itself; with `limit` too.
        retries: How often a request is sent again after a failure that may pass or a status such as 503, where its method
            allows that. `Retry-After` is obeyed, up to ten minutes beyond `timeout`; cancelling ends the wait.
        http2: Whether servers over TLS may choose HTTP/2.
        timeout: The setting `timeout`.
        headers: What the setting `headers` has beside the header fields of every session.
    """

    def __init__(
        self,
        *,
        limit: int = 256,
        max_per_host: int | None = None,
        retries: int = 0,
        http2: bool = False,
        timeout: Any = None,
        headers: Any = None,
    ) -> None:
        limit = count("limit", limit, 1)
        max_per_host = count_or_none("max_per_host", max_per_host, 1)
        timeouts_of(timeout)
        self.__dict__["_session"] = requests.Session(retries=retries, http2=http2)
        self._session.timeout = timeout
        self._session.headers.update(_fields(headers))
        self.__dict__["_executor"] = None
        self.__dict__["_limits"] = (limit, max_per_host)
        self.__dict__["_loops"] = WeakKeyDictionary()
        self.__dict__["_last"] = lambda: None

    _session: requests.Session
    _executor: Executor | None
    _limits: tuple[int, int | None]
    _loops: WeakKeyDictionary[Any, Places]
    _last: Callable[[], Places | None]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "request" in cls.__dict__ and "get" not in cls.__dict__:
            # All methods make their requests by `request`; that of this class only if it is not replaced.
            cls.get = _get_by_request  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> Any:
        if name in _SETTINGS or name in ("mount", "get_adapter"):
            return getattr(self._session, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _SETTINGS:
            raise AttributeError(f"{type(self).__name__!r} object has no setting {name!r}")
        setattr(self._session, name, value)

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections that are free, and waits for the requests that have a thread."""
        if self._executor is not None and self._executor._takes_calls:
            await _default_executor().run(self._executor.shutdown)
        self._session.close()

    async def request(self, method: Any, url: Any, **kwargs: Any) -> Response:
        """Makes a request. Arguments as for `requests.Session.request`."""
        if method == "GET" and kwargs.keys() <= _PLAIN:
            # That of this class: one of a subclass may call this.
            return await AsyncSession.get(self, url, **kwargs)
        return await self._request(method, url, kwargs)

    async def _request(self, method: Any, url: Any, kwargs: dict[str, Any]) -> Response:
        prepared, settings = self._session.prepare_call(method, url, **kwargs)
        return await self.send(prepared, **settings)

    async def send(self, request: Any, **kwargs: Any) -> Response:
        """Sends a prepared request."""
        async with self._place(request):
            return await self._sent(request, **kwargs)

    async def get(self, url: Any, **kwargs: Any) -> Response:
        """A GET request."""
        if self._limits[1] is not None or (kwargs and not kwargs.keys() <= _PLAIN):
            return await self._request("GET", url, kwargs)
        # A plain request, without a further coroutine, and with few calls: each costs as much as a tenth of what the rest does.
        session, places = self._session, self._last()
        timeout = kwargs.get("timeout") if kwargs else None
        if places is None or places.loop() is not _get_running_loop():
            places = self._places()
        limit = places.all
        if limit.free:
            limit.free -= 1
        elif is_within():
            # Of one within another request it is looked for whom it would wait.
            return await self._request("GET", url, kwargs)
        else:
            await limit.acquire()
        try:
            started = _plain.start(session, places, url, timeout)
            if started is not None:
                pending, common, read = started
                try:
                    await (pending if places.awaited is None else places.awaited(pending))
                except BaseException:
                    pending.abort()
                    raise
                try:
                    response: Response = pending.take()
                except RequestFailure as failure:
                    raise common.error(failure, url, read) from failure
                # Of one that is plain.
                if response._content_consumed:
                    return response
                extract_cookies_to_jar(session.cookies, response.request, response.raw)
                response.content  # noqa: B018
                return await self._followed(response, response.request, True, _plain.settings(timeout))
        finally:
            if limit.waiting:
                limit.release()
            else:
                limit.free += 1
        return await self._request("GET", url, kwargs)

    async def options(self, url: Any, **kwargs: Any) -> Response:
        """An OPTIONS request."""
        return await self.request("OPTIONS", url, **kwargs)

    async def head(self, url: Any, **kwargs: Any) -> Response:
        """A HEAD request. Redirects are not followed unless asked for."""
        kwargs.setdefault("allow_redirects", False)
        return await self.request("HEAD", url, **kwargs)

    async def post(self, url: Any, data: Any = None, json: Any = None, **kwargs: Any) -> Response:
        """A POST request."""
        return await self.request("POST", url, data=data, json=json, **kwargs)

    async def put(self, url: Any, data: Any = None, **kwargs: Any) -> Response:
        """A PUT request."""
        return await self.request("PUT", url, data=data, **kwargs)

    async def patch(self, url: Any, data: Any = None, **kwargs: Any) -> Response:
        """A PATCH request."""
        return await self.request("PATCH", url, data=data, **kwargs)

    async def delete(self, url: Any, **kwargs: Any) -> Response:
        """A DELETE request."""
        return await self.request("DELETE", url, **kwargs)

    @asynccontextmanager
    async def stream(self, method: Any, url: Any, **kwargs: Any) -> AsyncIterator[AsyncStream]:
        """Makes a request whose body is read block by block.

            async with session.stream("GET", url) as response:
                async for block in response.iter_content(65536):
                    ...
        """
        prepared, settings = self._session.prepare_call(method, url, **{**kwargs, "stream": True})
        async with self._place(prepared) as place:
            response = await self._sent(prepared, **settings)
            place.has_response()
            try:
                yield AsyncStream(response, self)
            finally:
                response.close()

    def _places(self) -> Places:
        """The limits of the running loop."""
        loop = running_loop()
        places = self._last()
        if places is None or places.loop() is not loop:
            places = self._loops.get(loop)
            if places is None:
                places = self._loops[loop] = Places(loop, *self._limits)
            # Most sessions have one loop, and looking for it takes longer. It must not be kept here when it is closed.
            self.__dict__["_last"] = ref(places)
        return places

    def _place(self, request: Any) -> Place:
        return Place(self._places(), request.url)

    async def _sent(self, request: Any, **settings: Any) -> Response:
        """Sends a request and follows its redirects: as `requests.Session.send` does."""
        self._session.complete_settings(request, settings)
        allow_redirects = settings.pop("allow_redirects", True)
        response = await self._exchanged(request, settings)
        return await self._followed(response, request, allow_redirects, settings)

    async def _followed(
        self, response: Response, request: Any, allow_redirects: bool, settings: dict[str, Any]
    ) -> Response:
        """The response that redirects lead to."""
        session, stream = self._session, settings["stream"]
        if not allow_redirects:
            if stream and session.get_redirect_target(response):
                await self._read(response)
            response._next = next(session.resolve_redirects(response, request, yield_requests=True, **settings), None)
            return response
        trail = Trail(request, settings["proxies"])
        while target := session.get_redirect_target(response):
            if stream:
                await self._read(response)
            request = session.next_request(response, request, target, trail)
            response = await self._exchanged(request, {**settings, "proxies": trail.proxies})
            response.history = list(trail.history)
        return response

    async def _exchanged(self, request: Any, settings: dict[str, Any]) -> Response:
        """One request and its response."""
        session, stream = self._session, settings["stream"]
        adapter = session.get_adapter(url=request.url)
        call = None
        if type(adapter).send is HTTPAdapter.send and not any(request.hooks.values()):
            try:
                with_limits = (settings[name] for name in ("timeout", "verify", "cert", "proxies"))
                call = adapter.native_call(request, *with_limits)
            except _transport.TransportError as error:
                raise public_error(error, request) from error
        if call is None:
            return await self._call(session.send, request, allow_redirects=False, **settings)  # type: ignore[no-any-return]
        client = adapter._sender.client()
        start = time.perf_counter()
        try:
            incoming = await _native.resolved(client.send_soon, call.prepared, not stream)
        except RequestFailure as failure:
            raise public_error(_native.head_error(failure, call.endpoint, call.prepared[6]), request) from failure
        response: Response = adapter.build_response(request, _native.NativeResponse(incoming, call.endpoint))
        response.elapsed = datetime.timedelta(seconds=time.perf_counter() - start)
        extract_cookies_to_jar(session.cookies, request, response.raw)
        if not stream:
            response.content  # noqa: B018
        return response

    async def _read(self, response: Response) -> None:
        """Reads a body of which nothing was taken."""
        try:
            response._content = b"".join([block async for block in AsyncStream(response, self).iter_content()])
        except (ChunkedEncodingError, ContentDecodingError):
            response._content = b""
        response._content_consumed = True

    async def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Makes a call that blocks, in a thread."""
        if self._executor is None or not self._executor._takes_calls:
            executor = Executor(max_workers=min(self._limits[0], _THREADS), thread_name_prefix="overlapped-session")
            self.__dict__["_executor"] = executor
        abort = _transport.Abort()
        token = _transport.aborts.set(abort)
        try:
            return await self._executor.run(function, *args, **kwargs)  # type: ignore[union-attr]
        except Exception:
            raise
        except BaseException:
            # The task was cancelled.
            abort.abort()
            raise
        finally:
            _transport.aborts.reset(token)


def _fields(headers: Any) -> dict[str, Any]:
    """The setting `headers` as a dict; pairs are taken too."""
    try:
        if isinstance(headers, (str, bytes)):
            raise TypeError
        return {} if headers is None else dict(headers)
    except (TypeError, ValueError):
        raise wrong("headers", "a dict or None", headers) from None


async def _get_by_request(self: AsyncSession, url: Any, **kwargs: Any) -> Response:
    """A GET request."""
    return await self.request("GET", url, **kwargs)


class AsyncStream:
    """A response whose body is read block by block; its other attributes are those of the response."""

    # Those that type checkers know the types of.
    status_code: int
    headers: CaseInsensitiveDict[str]
    url: str
    reason: str
    encoding: str | None
    elapsed: datetime.timedelta
    history: list[Response]
    cookies: RequestsCookieJar
    request: requests.PreparedRequest
    ok: bool

    def __init__(self, response: Response, session: AsyncSession) -> None:
        self._response = response
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    async def iter_content(self, chunk_size: int | None = 65536, decode_unicode: bool = False) -> AsyncIterator[Any]:
        """The body in blocks, decoded. None, and a body whose length is not known: blocks as they come."""
        encoding = self._response.encoding if decode_unicode else None
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace") if encoding else None
        async for block in self._blocks(chunk_size):
            text = block if decoder is None else decoder.decode(block)
            if text:
                yield text
        if decoder is not None and (text := decoder.decode(b"", final=True)):
            yield text

    async def _blocks(self, chunk_size: int | None) -> AsyncIterator[bytes]:
        raw = self._response.raw
        is_native = isinstance(raw, _native.NativeResponse) and raw._source is None
        if self._response._content_consumed or not is_native:
            blocks = self._response.iter_content(chunk_size)
            while (block := await self._session._call(next, blocks, _END)) is not _END:
                yield block
            return
        decoder = raw._decoding(True)
        while True:
            with self._response._body_errors():
                block = await raw.read_soon(chunk_size)
                pieces = list(raw.pieces(block, chunk_size, decoder))
            for piece in pieces:
                yield piece
            if not block:
                self._response._content_consumed = True
                return

    async def iter_lines(
        self, chunk_size: int | None = 512, decode_unicode: bool = False, delimiter: Any = None
    ) -> AsyncIterator[Any]:
        """The body line by line."""
        pending = None
        async for block in self.iter_content(chunk_size, decode_unicode):
            text = block if pending is None else pending + block
            lines = text.split(delimiter) if delimiter else text.splitlines()
            # The last one goes on in the next block, unless the block ended with it.
            goes_on = bool(lines and lines[-1] and text and lines[-1][-1] == text[-1])
            pending = lines.pop() if goes_on else None
            for line in lines:
                yield line
        if pending is not None:
            yield pending

    async def read(self) -> bytes:
        """The whole body."""
        response = self._response
        if response._content is False:
            response._content = b"".join([block async for block in self.iter_content(None)])
            response._content_consumed = True
        return bytes(response._content or b"")
