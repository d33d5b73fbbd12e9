"""Not run: type checkers find the types that code written for requests relies on. Any would fail, since each is returned."""

from __future__ import annotations

import datetime

import overlapped
from overlapped import requests


def status(response: requests.Response) -> int:
    return response.status_code


def text(response: requests.Response) -> str:
    return response.text


def reason(response: requests.Response) -> str:
    return response.reason


def url(response: requests.Response) -> str:
    return response.url


def header(response: requests.Response) -> str:
    return response.headers["Content-Type"]


def header_or_none(response: requests.Response) -> str | None:
    return response.headers.get("Content-Type")


def header_or_empty(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "")


def encoding(response: requests.Response) -> str | None:
    return response.encoding


def content(response: requests.Response) -> bytes:
    return response.content


def ok(response: requests.Response) -> bool:
    return response.ok


def elapsed(response: requests.Response) -> datetime.timedelta:
    return response.elapsed


def history(response: requests.Response) -> list[requests.Response]:
    return response.history


def cookies(response: requests.Response) -> requests.cookies.RequestsCookieJar:
    return response.cookies


def request(response: requests.Response) -> requests.PreparedRequest:
    return response.request


def sent(request: requests.PreparedRequest) -> str:
    return request.method if request.headers["X"] else request.url


def failed(error: requests.HTTPError) -> int:
    return error.response.status_code


def response_or_none(error: requests.RequestException) -> requests.Response | None:
    return error.response


async def streamed(session: overlapped.AsyncSession) -> int:
    async with session.stream("GET", "https://example.org/") as response:
        return response.status_code


async def streamed_header(session: overlapped.AsyncSession) -> str:
    async with session.stream("GET", "https://example.org/") as response:
        return response.headers["Content-Type"]
