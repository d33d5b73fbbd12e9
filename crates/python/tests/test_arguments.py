"""Arguments that were taken silently and meant something else are refused: by the name that the caller knows, with what is to be written instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import overlapped
import pyarrow
import pytest
from overlapped import requests

Url = Callable[[str], str]

# Values that are no number, no count and no time, with what is said of them.
_NO_COUNT = ((True, TypeError, "must be an int( or None)?, not bool"), (-1, ValueError, "is -1; it must be between [01] and"))
_NO_RATE = (
    (True, TypeError, "must be a number or None, not bool"),
    (math.nan, ValueError, "is nan.*above 0"),
    (math.inf, ValueError, "is inf.*finite; None is no limit"),
    (-1, ValueError, "is -1.*above 0"),
    (0, ValueError, "is 0.*above 0"),
)
_NO_TIME = (
    (True, TypeError, "must be a number or None, not bool"),
    (math.nan, ValueError, "is nan; it must be above 0; None is no limit"),
    (math.inf, ValueError, "is inf; it must be finite; None is no limit"),
    (-math.inf, ValueError, "is -inf; it must be above 0"),
    (-0.5, ValueError, "is -0.5; it must be above 0"),
)

_OF_FETCH = (
    *((name, _NO_COUNT) for name in ("limit", "per_host", "retries", "max_body", "max_redirects", "max_memory", "threads")),
    *((name, _NO_RATE) for name in ("rate", "rate_per_host")),
    *((name, _NO_TIME) for name in ("timeout", "connect_timeout", "host_down_after")),
    ("bearer", (("", ValueError, "is empty; None sends no token"), (" ", ValueError, "is empty"))),
    (
        "fail",
        (
            ([(500, 400)], ValueError, r"has the range \(500, 400\), which is empty; did you mean \(400, 500\)\?"),
            ([(False, True)], TypeError, "must be a list of pairs of int"),
        ),
    ),
    ("progress", ((1, TypeError, "must be a bool, not int"),)),
)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [(name, value, error, message) for name, wrong in _OF_FETCH for value, error, message in wrong],
)
def test_of_fetch(name: str, value: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{name} {message}"):
        overlapped.fetch([], **{name: value})  # type: ignore[arg-type]
    with pytest.raises(error, match=f"^{name} {message}"):
        overlapped.fetch_stream(pyarrow.table({"url": ["http://127.0.0.1/"]}), **{name: value})


def test_of_a_row(url: Url) -> None:
    for timeout, error in ((True, TypeError), (math.nan, ValueError), (-1, ValueError), (0, ValueError)):
        with pytest.raises(error, match="row 0: .*timeout"):
            list(overlapped.fetch([{"url": url("/ok"), "timeout": timeout}]))
        with pytest.raises(error, match="timeout"):
            overlapped.get(url("/ok"), timeout=timeout)
    with pytest.raises(ValueError, match="most is 0; it must be between 1"):
        overlapped.fetch([]).batches(0)


def test_a_colon_in_a_user_name_is_sent_as_requests_does(url: Url) -> None:
    (record,) = overlapped.fetch([url("/echo")], auth=("a:b", "c"))
    response = requests.get(url("/echo"), auth=("a:b", "c"))
    own, theirs = (dict(one.json()["headers"]) for one in (record, response))
    assert {name.lower(): value for name, value in own.items()}["authorization"] == theirs["Authorization"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"limit": True}, TypeError, "limit must be an int, not bool"),
        ({"limit": 0}, ValueError, "limit is 0; it must be between 1"),
        ({"limit": 2.5}, TypeError, "limit must be an int, not float"),
        ({"max_per_host": True}, TypeError, "max_per_host must be an int or None, not bool"),
        ({"max_per_host": -1}, ValueError, "max_per_host is -1"),
        ({"retries": True}, TypeError, "retries must be an int, not bool"),
        ({"retries": -1}, ValueError, "retries is -1; it must be between 0"),
        ({"retries": 70_000}, ValueError, "retries is 70000; it must be between 0 and 65535"),
        ({"http2": 1}, TypeError, "http2 must be a bool, not int"),
        ({"timeout": math.nan}, ValueError, "timeout of nan, but it must be greater than 0, and finite; None is no limit"),
        ({"timeout": (1, math.inf)}, ValueError, "timeout of inf, but it must be greater than 0, and finite"),
        ({"timeout": -1}, ValueError, "timeout of -1"),
        ({"timeout": True}, ValueError, "Timeout value was True"),
    ],
)
def test_of_sessions(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        overlapped.AsyncSession(**settings)
    of_both = settings.keys() & {"retries", "max_per_host", "http2"}
    if of_both:
        for kind in (requests.Session, requests.adapters.HTTPAdapter):
            with pytest.raises(error, match=message):
                kind(**settings)
    if "timeout" in settings:
        with pytest.raises(error, match=message), requests.Session() as session:
            session.timeout = settings["timeout"]
            session.get("http://127.0.0.1:1/")


def test_a_retry_of_urllib3_is_sent_to_where_it_belongs() -> None:
    class Retry:
        def increment(self) -> None: ...

    with pytest.raises(TypeError, match=r"HTTPAdapter\(max_retries=...\)"):
        requests.Session(retries=Retry())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"max_workers": True}, TypeError, "max_workers must be a number or None, not bool"),
        ({"max_workers": math.nan}, ValueError, "max_workers must be greater than 0"),
        ({"max_workers": math.inf}, ValueError, "max_workers must be greater than 0, and finite"),
        ({"max_queue": True}, TypeError, "max_queue must be an int or None, not bool"),
        ({"max_queue": 0}, ValueError, "max_queue is 0; it must be between 1"),
        ({"keep_alive": True}, TypeError, "keep_alive must be a number or None, not bool"),
        ({"keep_alive": -1}, ValueError, "keep_alive is -1; it must be at least 0; None is no limit"),
        ({"keep_alive": math.nan}, ValueError, "keep_alive is nan; it must be at least 0"),
        ({"keep_alive": math.inf}, ValueError, "keep_alive is inf; it must be finite; None is no limit"),
        ({"wait_at_exit": "no"}, TypeError, "wait_at_exit must be a bool, not str"),
    ],
)
def test_of_executors(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        overlapped.Executor(**settings)


def test_of_the_methods_of_executors() -> None:
    with overlapped.Executor(1) as executor:
        for limit, error in ((True, TypeError), (0, ValueError), (1.5, TypeError)):
            with pytest.raises(error, match="the limit of a view"):
                executor.limited(limit)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="buffersize must be an integer"):
            executor.map(abs, [1], buffersize=True)
        for timeout in (math.nan, math.inf, -1):
            with pytest.raises(ValueError, match="timeout is"):
                executor.shutdown(timeout=timeout)
        # What was refused has shut nothing down.
        assert executor.submit(abs, -1).result() == 1


async def test_of_gather_and_as_completed() -> None:
    for limit, error in ((True, TypeError), (0, ValueError), (-1, ValueError)):
        with pytest.raises(error, match="^limit "):
            await overlapped.gather(limit=limit)
        with pytest.raises(error, match="^limit "):
            overlapped.as_completed([], limit=limit)
    for timeout in (math.nan, math.inf, -1):
        with pytest.raises(ValueError, match="^timeout is"):
            overlapped.as_completed([], timeout=timeout)
