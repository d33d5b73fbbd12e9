"""Arguments that were taken silently and meant something else are refused: by the name that the caller knows, with what is to be written instead."""

from __future__ import annotations

import concurrent.futures
import inspect
import math
import threading
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


# What no argument of `fetch` is to take silently: each is tried for each. A parameter may take some of them, as listed below.
_NONSENSE: dict[str, object] = {
    "an object": object(),
    "None": None,
    "a bool": True,
    "nan": math.nan,
    "infinity": math.inf,
    "-1": -1,
    "0": 0,
    "1e300": 1e300,
    "2**63": 2**63,
    "2**64": 2**64,
    "an empty str": "",
    "an empty list": [],
    "an empty dict": {},
    "empty bytes": b"",
    "lines": "a\r\nb",
    "a lone surrogate": "\ud800",
}
_BOOLS = ("ordered", "keep_body", "sha256", "robots", "public_only", "hsts", "progress")
_OUTPUTS = ("resume", "retry_failed", "overwrite")
_TAKEN: dict[str, set[str]] = {
    **dict.fromkeys(_BOOLS, {"a bool"}),
    # A bool is one of theirs, but takes `out` too.
    **dict.fromkeys(_OUTPUTS, {"a bool"}),
    **dict.fromkeys(("limit", "threads"), {"None"}),
    **dict.fromkeys(("per_host", "retries", "max_body", "max_redirects", "max_memory"), {"None", "0"}),
    **dict.fromkeys(("rate", "rate_per_host"), {"None", "1e300", "2**63", "2**64"}),
    **dict.fromkeys(("timeout", "connect_timeout", "host_down_after", "method", "auth", "bearer"), {"None"}),
    **dict.fromkeys(("headers", "hosts", "proxies"), {"None", "an empty dict"}),
    "body": {"None", "empty bytes"},
    "fail": {"None", "an empty list"},
    "insecure_hosts": {"an empty list"},
    **dict.fromkeys(("ca_file", "body_dir", "out"), {"None"}),
    "urls": {"an empty list"},
}


def check_each(call: Callable[..., object], taken: dict[str, set[str]]) -> None:
    """Nonsense is refused by the name of the parameter, and what is taken is taken."""
    for name, fine in taken.items():
        for kind, value in _NONSENSE.items():
            if kind in fine:
                if name not in _OUTPUTS:
                    call(**{name: value})
                continue
            # A file that is not there is one of the system's errors.
            with pytest.raises((TypeError, ValueError, OSError)) as caught:
                call(**{name: value})
            assert name in str(caught.value) or (name, kind) in _BY_THE_SYSTEM, (name, kind, caught.value)


# The path of a list that is not there: the message names the path.
_BY_THE_SYSTEM = {("urls", "lines"), ("urls", "a lone surrogate")}


def test_nonsense_is_refused_by_every_parameter_of_fetch() -> None:
    parameters = set(inspect.signature(overlapped.fetch).parameters)
    assert parameters == _TAKEN.keys()
    check_each(lambda **given: overlapped.fetch(**{"urls": [], **given}).close(), _TAKEN)


def test_nonsense_is_refused_by_every_parameter_of_get() -> None:
    def call(**given: Any) -> None:
        record = overlapped.get("http://127.0.0.1:1/", **given)
        # What a server would be sent is judged as that of a row.
        if record.error == "input.header":
            raise ValueError(record.error_message)

    taken = {
        "method": {"None"},
        "headers": {"None", "an empty dict", "an empty list"},
        "body": {"None", "empty bytes", "an empty str", "lines"},
        "timeout": {"None"},
    }
    assert taken.keys() == inspect.signature(overlapped.get).parameters.keys() - {"url"}
    check_each(call, taken)
    for headers, error, message in (
        ({5: "a"}, TypeError, "^a name in headers must be a str, not int"),
        ({"a": 5}, TypeError, r'^headers\["a"\] must be a str, not int'),
        ([("a", 5)], TypeError, "^headers must be a dict of str, not list"),
        ({"a": "b\r\nc"}, ValueError, "^the header a has a control character"),
        ({"": "b"}, ValueError, "is not the name of a header"),
    ):
        with pytest.raises(error, match=message):
            call(headers=headers)
    for body in ([1, 2], (1, 2), 5):
        with pytest.raises(TypeError, match="^body must be bytes or a str, not "):
            call(body=body)
    with pytest.raises(TypeError, match="^a row is a str or a dict, not int"):
        overlapped.get(5)  # type: ignore[arg-type]


def test_nonsense_is_refused_by_what_takes_tables() -> None:
    from overlapped import arrow

    table = pyarrow.table({"url": ["http://127.0.0.1:1/"]})

    def stream(**given: Any) -> None:
        overlapped.fetch_stream(**{"stream": table, **given}).close()

    for name in ("stream", "url_column"):
        for value in (5, None, True, b"", [], {}):
            with pytest.raises(TypeError, match=f"^{name} must be a "):
                stream(**{name: value})
            for call in (arrow.Fetcher, arrow.map_batches):
                with pytest.raises(TypeError, match="^url_column must be a str"):
                    call(url_column=value)
                with pytest.raises(TypeError, match="^prefix must be a str"):
                    call(prefix=value)
            with pytest.raises(TypeError, match="^prefix must be a str"):
                arrow.output_schema(table.schema, prefix=value)
            with pytest.raises(TypeError, match="^schema must be a pyarrow.Schema"):
                arrow.output_schema(value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bearer": "a\r\nb"}, ValueError, "bearer has a control character"),
        ({"headers": {"a": "b\r\nc"}}, ValueError, r"headers\['a'\] has a control character"),
        ({"headers": {"a\r\n": "b"}}, ValueError, r"headers has the key .*, which is not the name of a header"),
        ({"headers": {"": "b"}}, ValueError, "headers has the key '', which is not the name of a header"),
        ({"hosts": {"a.test": {"bearer": "a\nb"}}}, ValueError, r"bearer in hosts\['a.test'\] has a control character"),
        ({"hosts": {"a.test": {"headers": {"a": "\n"}}}}, ValueError, r"headers in hosts\['a.test'\]\['a'\] has a control"),
        ({"hosts": {"a.test": {"proxy": "http://a\n/"}}}, ValueError, r"proxy in hosts\['a.test'\] has a control character"),
        ({"hosts": {"a.test": {"proxy": ""}}}, ValueError, r"proxy in hosts\['a.test'\] is empty; None is no proxy"),
        ({"proxies": {"http": "http://a\r\nb/"}}, ValueError, r"proxies\['http'\] has a control character"),
        ({"insecure_hosts": [""]}, ValueError, "insecure_hosts has the name '', which is no host"),
        ({"insecure_hosts": ["a\nb"]}, ValueError, "a name in insecure_hosts has a control character"),
        ({"insecure_hosts": {"a.test": 1}}, TypeError, "insecure_hosts must be a list of names of hosts, not dict"),
        ({"body_dir": "a\0b"}, ValueError, "body_dir is .*; no path has a NUL in it"),
        ({"threads": 257}, ValueError, "threads is 257; it must be between 1 and 256"),
        ({"timeout": 1e-300}, ValueError, "timeout is 1e-300; it must be at least 1e-09 s"),
        ({"host_down_after": 1e300}, ValueError, r"host_down_after is 1e\+300; it must be at most 9223372036 s; None is no"),
    ],
)
def test_values_that_would_be_sent_or_used_otherwise(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        overlapped.fetch([], **options)


def test_the_longest_time_is_one() -> None:
    (record,) = overlapped.fetch(["http://127.0.0.1:1/"], timeout=9223372036, connect_timeout=9223372036, retries=0, host_down_after=0.1)
    assert record.error == "connect.refused"
    executor = overlapped.Executor(1, keep_alive=9223372036)
    assert executor.submit(abs, -1).result() == 1
    executor.shutdown(timeout=9223372036)


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
        ({"max_workers": "5"}, TypeError, "max_workers must be a number or None, not str"),
        ({"max_workers": []}, TypeError, "max_workers must be a number or None, not list"),
        ({"max_workers": 1e300}, ValueError, r"max_workers is 1e\+300; it must be at most 9223372036854775807"),
        ({"max_workers": 2**64}, ValueError, "max_workers is 18446744073709551616; it must be at most"),
        ({"keep_alive": 1e300}, ValueError, r"keep_alive is 1e\+300; it must be at most 9223372036 s; None is no limit"),
        ({"on_full": "drop"}, ValueError, "on_full is 'drop'; it must be 'wait', 'raise' or 'caller_runs'"),
        ({"initializer": abs, "initargs": 5}, TypeError, "initargs must be a tuple, not int"),
        ({"initializer": abs, "initargs": None}, TypeError, "initargs must be a tuple, not NoneType"),
        ({"initializer": 5}, TypeError, "initializer must be a callable"),
    ],
)
def test_of_executors(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        overlapped.Executor(**settings)


def test_arguments_without_an_initializer_are_taken_as_by_the_standard_executor() -> None:
    for kind in (overlapped.Executor, concurrent.futures.ThreadPoolExecutor):
        with kind(1, initargs=None) as executor:  # type: ignore[arg-type]
            assert executor.submit(abs, -1).result() == 1


def test_every_thread_gets_the_arguments_of_an_iterator() -> None:
    got, together = [], threading.Barrier(2, timeout=60)
    with overlapped.Executor(2, initializer=got.append, initargs=iter([1])) as executor:  # type: ignore[arg-type]
        assert len(list(executor.map(lambda _: together.wait(), range(2)))) == 2
    assert got == [1, 1]


def test_of_to_async() -> None:
    for target in (abs, [1]):
        for executor in ("x", 5, True, object(), concurrent.futures.ThreadPoolExecutor):
            with pytest.raises(TypeError, match="^executor must be an overlapped.Executor or None, not "):
                overlapped.to_async(target, executor=executor)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="^serialize must be a bool, not str"):
            overlapped.to_async(target, serialize="no")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="^thread is 'one'; it must be 'any' or 'sticky'"):
            overlapped.to_async(target, thread="one")
        with overlapped.Executor(1) as executor, pytest.raises(ValueError, match="^executor must be None with thread='sticky'"):
            overlapped.to_async(target, executor=executor, thread="sticky")


def test_of_adapters() -> None:
    for name in ("pool_connections", "pool_maxsize"):
        for value in ("5", 1e300, math.nan, None, [], object()):
            with pytest.raises(TypeError, match=f"^{name} must be an int, not "):
                requests.adapters.HTTPAdapter(**{name: value})
        for value in (0, -1, True, 2**64):
            requests.adapters.HTTPAdapter(**{name: value})
    for value in ("5", 1.5, [], object()):
        with pytest.raises(TypeError, match="^max_retries must be an int or a Retry of urllib3, not "):
            requests.adapters.HTTPAdapter(max_retries=value)
    assert requests.adapters.HTTPAdapter(max_retries=None).max_retries == 3


def test_of_the_headers_of_a_session() -> None:
    for headers in (5, 0, "", "a\r\nb", b"", ["a"], object(), True):
        with pytest.raises(TypeError, match="^headers must be a dict or None, not "):
            overlapped.AsyncSession(headers=headers)
    assert overlapped.AsyncSession(headers=[("a", "b")]).headers["A"] == "b"


def test_of_the_methods_of_executors() -> None:
    with overlapped.Executor(1) as executor:
        for limit, error in ((True, TypeError), (0, ValueError), (1.5, TypeError)):
            with pytest.raises(error, match="the limit of a view"):
                executor.limited(limit)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="^name must be a str or None, not int"):
            executor.limited(1, 5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="^timeout must be a number or None, not str"):
            executor.map(abs, [1], timeout="5")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="^buffersize is .*; it must be at most"):
            executor.map(abs, [1], buffersize=2**64)
        with pytest.raises(TypeError, match="buffersize must be an integer"):
            executor.map(abs, [1], buffersize=True)
        for timeout in (math.nan, math.inf, -1, 1e300):
            with pytest.raises(ValueError, match="timeout is"):
                executor.shutdown(timeout=timeout)
        # What was refused has shut nothing down.
        assert executor.submit(abs, -1).result() == 1


async def test_none_among_the_awaitables_ended_gather() -> None:
    async def made() -> int:
        return 1

    for aws in ((None,), (None, made()), (made(), None)):
        with pytest.raises(TypeError, match="awaitable is required"):
            await overlapped.gather(*aws)  # type: ignore[arg-type]


async def test_of_gather_and_as_completed() -> None:
    for aws in (5, None, "", "ab", b""):
        with pytest.raises(TypeError, match="^aws must be an iterable of awaitables, not "):
            overlapped.as_completed(aws)  # type: ignore[arg-type]
    for limit, error in ((True, TypeError), (0, ValueError), (-1, ValueError)):
        with pytest.raises(error, match="^limit "):
            await overlapped.gather(limit=limit)
        with pytest.raises(error, match="^limit "):
            overlapped.as_completed([], limit=limit)
    for timeout in (math.nan, math.inf, -1):
        with pytest.raises(ValueError, match="^timeout is"):
            overlapped.as_completed([], timeout=timeout)
