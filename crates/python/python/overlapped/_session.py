"""`AsyncSession`: a session whose requests are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from . import requests
from ._executor import Executor
from .requests import _transport
from .requests.models import Response

_END = object()

# What both kinds of sessions have.
_SETTINGS = frozenset(requests.Session.__attrs__)


class AsyncSession:
    """A session of `overlapped.requests` whose methods are coroutines.

        async with overlapped.AsyncSession() as session:
            session.headers["User-Agent"] = "mine"
            response = await session.get("https://example.org/")

    Settings are those of `requests.Session`: `headers`, `cookies`, `auth`, `proxies`, `timeout`, `verify`, `mount`. Cancelling
    the task that awaits a request closes its connection.

    Args:
        limit: The most requests at a time; further ones wait. Each has a thread while it runs.
    """

    def __init__(self, *, limit: int = 64) -> None:
        self.__dict__["_session"] = requests.Session()
        self.__dict__["_executor"] = Executor(max_workers=limit, thread_name_prefix="overlapped-session")
        for adapter in self._session.adapters.values():
            adapter.__init__(pool_maxsize=limit)

    _session: requests.Session
    _executor: Executor

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
        """Closes the connections that are free, and waits for the requests that run."""
        await asyncio.to_thread(self._executor.shutdown)
        self._session.close()

    async def request(self, method: Any, url: Any, **kwargs: Any) -> Response:
        """Makes a request. Arguments as for `requests.Session.request`."""
        response: Response = await self._call(self._session.request, method, url, **kwargs)
        return response

    async def send(self, request: Any, **kwargs: Any) -> Response:
        """Sends a prepared request."""
        response: Response = await self._call(self._session.send, request, **kwargs)
        return response

    async def get(self, url: Any, **kwargs: Any) -> Response:
        """A GET request."""
        response: Response = await self._call(self._session.get, url, **kwargs)
        return response

    async def options(self, url: Any, **kwargs: Any) -> Response:
        """An OPTIONS request."""
        response: Response = await self._call(self._session.options, url, **kwargs)
        return response

    async def head(self, url: Any, **kwargs: Any) -> Response:
        """A HEAD request. Redirects are not followed unless asked for."""
        response: Response = await self._call(self._session.head, url, **kwargs)
        return response

    async def post(self, url: Any, data: Any = None, json: Any = None, **kwargs: Any) -> Response:
        """A POST request."""
        response: Response = await self._call(self._session.post, url, data=data, json=json, **kwargs)
        return response

    async def put(self, url: Any, data: Any = None, **kwargs: Any) -> Response:
        """A PUT request."""
        response: Response = await self._call(self._session.put, url, data=data, **kwargs)
        return response

    async def patch(self, url: Any, data: Any = None, **kwargs: Any) -> Response:
        """A PATCH request."""
        response: Response = await self._call(self._session.patch, url, data=data, **kwargs)
        return response

    async def delete(self, url: Any, **kwargs: Any) -> Response:
        """A DELETE request."""
        response: Response = await self._call(self._session.delete, url, **kwargs)
        return response

    @asynccontextmanager
    async def stream(self, method: Any, url: Any, **kwargs: Any) -> AsyncIterator[AsyncStream]:
        """Makes a request whose body is read block by block.

            async with session.stream("GET", url) as response:
                async for block in response.iter_content(65536):
                    ...
        """
        response = await self._call(self._session.request, method, url, stream=True, **kwargs)
        try:
            yield AsyncStream(response, self)
        finally:
            response.close()

    async def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        abort = _transport.Abort()
        token = _transport.aborts.set(abort)
        try:
            return await self._executor.run(function, *args, **kwargs)
        except asyncio.CancelledError:
            abort.abort()
            raise
        finally:
            _transport.aborts.reset(token)


class AsyncStream:
    """A response whose body is read block by block; its other attributes are those of the response."""

    def __init__(self, response: Response, session: AsyncSession) -> None:
        self._response = response
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    async def iter_content(self, chunk_size: int | None = 65536, decode_unicode: bool = False) -> AsyncIterator[Any]:
        """The body in blocks."""
        blocks = self._response.iter_content(chunk_size, decode_unicode)
        while (block := await self._session._call(next, blocks, _END)) is not _END:
            yield block

    async def iter_lines(self, **kwargs: Any) -> AsyncIterator[Any]:
        """The body line by line."""
        lines = self._response.iter_lines(**kwargs)
        while (line := await self._session._call(next, lines, _END)) is not _END:
            yield line

    async def read(self) -> bytes:
        """The whole body."""
        return bytes(await self._session._call(lambda: self._response.content))
