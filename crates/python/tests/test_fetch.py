"""`overlapped.fetch`: lists in, records out."""

from __future__ import annotations

import asyncio
import csv
import errno
import gc
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import overlapped
import pytest
from programs import check_interrupted

Url = Callable[[str], str]


def test_every_row_has_one_record_in_the_order_of_the_list(url: Url) -> None:
    rows = [url("/ok"), "no url", url("/status/404"), url("/ok")]
    records = list(overlapped.fetch(rows))
    assert [record.row for record in records] == [0, 1, 2, 3]
    assert [record.status for record in records] == [200, None, 404, 200]
    assert [record.error for record in records] == [None, "input.url", "status", None]
    assert [record.ok for record in records] == [True, False, False, True]


def test_each_column_of_the_reference_is_an_attribute(url: Url, tmp_path: Path) -> None:
    out = tmp_path / "results.ndjson"
    rows = [url("/echo"), {"url": url("/bytes/100"), "id": "b", "meta": {"a": 1}}, url("/redirect/2"), "no url"]
    records = list(overlapped.fetch(rows, out=out, sha256=True))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == len(lines) == 4
    for record, line in zip(records, lines):
        for column, value in line.items():
            attribute = getattr(record, column)
            if column == "body":
                assert attribute == (value or "").encode() or (value is None and line["body_base64"])
            elif column == "started":
                assert (attribute is None) == (value is None)
            elif column == "chain":
                assert [hop["url"] for hop in attribute] == [hop["url"] for hop in value]
            else:
                assert attribute == pytest.approx(value, abs=0.01) if isinstance(value, float) else attribute == value, column
        timings = record.timings
        phases = [getattr(timings, name) for name in ("blocked", "dns", "connect", "tls", "send", "wait", "receive")]
        assert phases == [getattr(record, f"{name}_ms") for name in ("blocked", "dns", "connect", "tls", "send", "wait", "receive")]


def test_a_record_has_what_the_reference_says(url: Url) -> None:
    body = {"url": url("/echo"), "id": 7, "body": "hello", "headers": {"x-one": "1"}, "meta": {"a": 1}}
    (record,) = overlapped.fetch([body])
    assert (record.id, record.method, record.status, record.meta) == ("7", "POST", 200, {"a": 1})
    assert record.body and record.bytes == len(record.body)
    assert record.content_type == record.headers["content-type"][0]
    assert record.timings.total > 0 and record.timings.wait is not None
    assert record.http_version == "1.1" and record.remote_ip == "127.0.0.1"
    assert "echo" in repr(record)


def test_a_redirect_is_followed_and_told(url: Url) -> None:
    (record,) = overlapped.fetch([url("/redirect/2")])
    assert (record.status, record.redirects, len(record.chain)) == (200, 2, 2)
    assert record.final_url is not None


def test_batches_have_all_records(url: Url) -> None:
    batches = list(overlapped.fetch([url("/ok")] * 3_000, ordered=False).batches(100))
    assert max(map(len, batches)) <= 100
    assert sorted(record.row for batch in batches for record in batch) == list(range(3_000))


async def test_async_for_gives_the_same(url: Url) -> None:
    assert [record.status async for record in overlapped.fetch([url("/ok")] * 500)] == [200] * 500
    records = [record.row async for record in overlapped.fetch(url("/ok") for _ in range(500))]
    assert records == list(range(500))


async def test_the_loop_goes_on_while_records_are_awaited(url: Url) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    async for _ in overlapped.fetch([url("/delay/300")]):
        pass
    ticking.cancel()
    assert ticks > 10


def test_a_generator_may_wait_for_an_earlier_answer(url: Url) -> None:
    answers: queue.Queue[int] = queue.Queue()

    def chain() -> object:
        yield url("/ok")
        for _ in range(20):
            assert answers.get(timeout=30) == 200
            yield url("/ok")

    count = 0
    for record in overlapped.fetch(chain()):
        answers.put(record.status)
        count += 1
    assert count == 21


def test_an_error_of_the_generator_comes_after_the_records_before_it(url: Url) -> None:
    def wrong() -> object:
        yield url("/ok")
        raise LookupError("no more")

    run = overlapped.fetch(wrong())
    assert next(run).status == 200
    with pytest.raises(LookupError, match="no more"):
        next(run)


def test_a_row_of_another_type_is_a_type_error(url: Url) -> None:
    for rows in ([url("/ok"), 7], iter([url("/ok"), 7])):
        run = overlapped.fetch(rows)  # type: ignore[arg-type]
        assert next(run).status == 200
        with pytest.raises(TypeError, match="a row is a str or a dict, not int"):
            next(run)


def test_a_bad_row_was_not_named(url: Url) -> None:
    bad: list[tuple[object, type[Exception], str]] = [
        (None, TypeError, "row 2: a row is a str or a dict, not NoneType"),
        ({"url": 5}, TypeError, "row 2: url must be a str, not int"),
        ({"url": url("/ok"), "nothing": 1}, ValueError, "row 2: a row has no column"),
        ({"url": url("/ok"), "timeout": -1}, ValueError, "row 2: timeout is -1.0 s; it must be above 0"),
        ({"url": url("/ok"), "timeout": 1e300}, ValueError, "row 2: timeout is 1e300 s; it is too long; infinity is no limit"),
        ({"url": url("/ok"), "timeout": "5"}, TypeError, "row 2: timeout must be a number, not str"),
        ({"url": url("/ok"), "method": 5}, TypeError, "row 2: method must be a str, not int"),
        ({"url": url("/ok"), "method": ""}, ValueError, 'row 2: method is ""; it must be one of HTTP, such as "GET"'),
        ({"url": url("/ok"), "headers": 5}, TypeError, "row 2: headers must be a dict of str, not int"),
        ({"url": url("/ok"), "headers": {"a": 5}}, TypeError, r'row 2: headers\["a"\] must be a str, not int'),
        ({"url": url("/ok"), "body": [1]}, TypeError, "row 2: body must be bytes or a str, not list"),
        ({"url": url("/ok"), "body": "\ud800"}, ValueError, "row 2: body: .*surrogates not allowed"),
        ({"url": url("/ok"), "body_file": 5}, TypeError, "row 2: body_file must be a path, not int"),
        ({"url": url("/ok"), "etag": 5}, TypeError, "row 2: etag must be a str, not int"),
        ({"url": url("/ok"), "sha256": 5}, TypeError, "row 2: sha256 must be a str, not int"),
    ]
    for row, error, message in bad:
        for rows in ([url("/ok"), "no url", row], iter([url("/ok"), "no url", row])):
            run = overlapped.fetch(rows)  # type: ignore[arg-type]
            assert [next(run).error, next(run).error] == [None, "input.url"]
            with pytest.raises(error, match=message):
                next(run)


def test_bytes_and_lone_surrogates_ended_the_list(url: Url) -> None:
    rows: list[str | bytes | dict[str, object]] = [
        url("/echo").encode(),
        url("/echo?\udc80"),
        url("/echo?").encode() + b"\xff\xc3\xbc",
        url("/echo?\ud800"),
        {"url": url("/echo").encode()},
    ]
    records = list(overlapped.fetch(rows))
    replaced = "%EF%BF%BD"
    targets = [record.json()["target"] for record in records]
    assert targets[:3] == ["/echo", "/echo?%80", "/echo?%FF%C3%BC"]
    assert targets[3].startswith(f"/echo?{replaced}") and targets[4] == "/echo"
    assert [record.status for record in overlapped.fetch(url("/ok").encode())] == [200]


async def test_two_tasks_with_one_run_ended_never(url: Url) -> None:
    for count in (1, 10, 1_000):
        run = overlapped.fetch([url("/ok")] * count)

        async def consume(run: overlapped.Fetch = run) -> list[int]:
            return [record.row async for record in run]

        shares = await asyncio.wait_for(asyncio.gather(*(consume() for _ in range(3))), 60)
        assert sorted(row for share in shares for row in share) == list(range(count))


async def test_a_run_closed_in_another_task_left_the_consumer_waiting(url: Url) -> None:
    run = overlapped.fetch([url("/delay/30000")])
    consumer = asyncio.create_task(anext(aiter(run), None))
    await asyncio.sleep(0.1)
    run.close()
    assert await asyncio.wait_for(consumer, 20) is None


async def test_a_cancelled_anext_ended_the_iteration(url: Url) -> None:
    records = aiter(overlapped.fetch([url("/delay/300")] * 4, limit=1))
    rows: list[int] = []
    timeouts = 0
    while True:
        try:
            rows.append((await asyncio.wait_for(anext(records), 0.05)).row)
        except asyncio.TimeoutError:
            timeouts += 1
        except StopAsyncIteration:
            break
    assert rows == [0, 1, 2, 3] and timeouts > 0


async def test_a_cancellation_loses_no_record(url: Url) -> None:
    records = aiter(overlapped.fetch([url("/ok")] * 500, limit=4))
    rows: list[int] = []
    waiting = asyncio.ensure_future(anext(records))
    while True:
        await asyncio.sleep(0)
        if not waiting.done():
            waiting.cancel()
        try:
            rows.append((await waiting).row)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
        except StopAsyncIteration:
            break
        waiting = asyncio.ensure_future(anext(records))
    assert rows == list(range(500))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limit": -1}, ValueError, "limit is -1; it must be between 1"),
        ({"limit": 0}, ValueError, "limit is 0; it must be between 1"),
        ({"retries": 70_000}, ValueError, "retries is 70000; it must be between 0 and 65535"),
        ({"max_body": 2.5}, TypeError, "max_body must be an int or None, not float"),
    ],
)
def test_a_number_out_of_range_was_refused_by_another_name(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        overlapped.fetch([], **options)


def test_errors_of_files_had_no_class_of_their_own(url: Url, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="cannot read the list") as missing:
        list(overlapped.fetch(tmp_path / "none.txt"))
    assert missing.value.errno == errno.ENOENT
    with pytest.raises(FileNotFoundError):
        overlapped.fetch([url("/ok")], out=tmp_path / "none" / "out.ndjson")
    (tmp_path / "there.ndjson").write_text("mine\n")
    with pytest.raises(FileExistsError):
        overlapped.fetch([url("/ok")], out=tmp_path / "there.ndjson")


def test_settings_out_of_range_are_refused_by_name(url: Url) -> None:
    for options in ({"timeout": 0}, {"rate": -1.0}, {"limit": 0}, {"method": "A B"}, {"resume": True}):
        with pytest.raises(ValueError):
            overlapped.fetch([url("/ok")], **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        overlapped.fetch([url("/ok")], unknown=1)  # type: ignore[call-arg]


def test_a_list_in_a_file_is_read_by_the_engine(url: Url, tmp_path: Path) -> None:
    path = tmp_path / "urls.txt"
    path.write_text(f"{url('/ok')}\n{url('/status/503')}\n")
    assert [record.status for record in overlapped.fetch(path, retries=0)] == [200, 503]
    assert [record.status for record in overlapped.fetch(str(path), retries=0)] == [200, 503]
    with pytest.raises(OSError):
        overlapped.fetch(tmp_path / "none.txt")


def test_results_are_written_and_a_run_is_resumed(url: Url, tmp_path: Path) -> None:
    path, out = tmp_path / "urls.txt", tmp_path / "results.ndjson"
    path.write_text("".join(f"{url('/ok')}\n" for _ in range(200)))
    run = overlapped.fetch(path, out=out)
    for _ in range(5):
        next(run)
    run.close()
    stats = overlapped.fetch(path, out=out, resume=True).wait()
    assert stats["finished"] is True
    rows = [json.loads(line)["row"] for line in out.read_text().splitlines()]
    assert sorted(rows) == list(range(200))


class Broken(Exception):
    """What a source of rows fails with."""


@pytest.mark.parametrize("ending", [".ndjson", ".csv", ".parquet"])
@pytest.mark.parametrize("rows_before", [0, 500])
def test_a_run_whose_generator_failed_ended_as_complete(url: Url, tmp_path: Path, ending: str, rows_before: int) -> None:
    out = tmp_path / f"g{ending}"

    def rows(breaks: bool) -> Iterator[dict[str, Any]]:
        for number in range(1_000):
            if breaks and number == rows_before:
                raise Broken
            yield {"url": url("/ok"), "id": f"i{number}"}

    run = overlapped.fetch(rows(True), out=out)
    records = []
    with pytest.raises(Broken):
        for record in run:
            records.append(record.row)
    assert records == list(range(rows_before))
    assert run.stats["finished"] is False
    assert (tmp_path / f"g{ending}.run").is_dir()
    if ending == ".parquet":
        assert not out.exists() or out.stat().st_size == 0
    with pytest.raises(FileExistsError, match="resume=True"):
        overlapped.fetch(rows(False), out=out)
    stats = overlapped.fetch(rows(False), out=out, resume=True).wait()
    assert stats["finished"] is True and stats["rows_earlier"] == rows_before
    assert stats["done"] == 1_000 - rows_before
    assert not (tmp_path / f"g{ending}.run").exists()
    if ending == ".parquet":
        import pyarrow.parquet

        found = pyarrow.parquet.read_table(out)["id"].to_pylist()
    elif ending == ".csv":
        found = [row["id"] for row in csv.DictReader(out.read_text().splitlines())]
    else:
        found = [json.loads(line)["id"] for line in out.read_text().splitlines()]
    assert sorted(found) == sorted(f"i{number}" for number in range(1_000))


def test_a_bad_row_of_a_list_ended_its_run_as_complete(url: Url, tmp_path: Path) -> None:
    out = tmp_path / "l.ndjson"
    with pytest.raises(TypeError, match="row 1"):
        overlapped.fetch([url("/ok"), 7], out=out).wait()  # type: ignore[list-item]
    stats = overlapped.fetch([url("/ok"), url("/ok")], out=out, resume=True).wait()
    assert (stats["done"], stats["rows_earlier"]) == (1, 1)


@pytest.mark.parametrize("ending", [".ndjson", ".csv.gz", ".parquet"])
def test_a_complete_run_could_not_be_resumed(url: Url, tmp_path: Path, ending: str) -> None:
    out, path = tmp_path / f"o{ending}", tmp_path / "urls.txt"
    urls = [url("/ok")] * 20
    path.write_text("".join(f"{url}\n" for url in urls))
    assert overlapped.fetch(urls, out=out).wait()["done"] == 20
    written = out.read_bytes()
    for rows in (urls, path):
        for options in ({"resume": True}, {"retry_failed": True}):
            run = overlapped.fetch(rows, out=out, **options)  # type: ignore[arg-type]
            assert list(run) == []
            stats = run.stats
            assert (stats["done"], stats["rows_earlier"], stats["finished"]) == (0, 20, True)
    with pytest.raises(FileExistsError, match="seems to be complete.*overwrite=True"):
        overlapped.fetch(iter(urls), out=out, resume=True)
    with pytest.raises(FileExistsError, match="it holds 20 of the 21 rows of the list: overwrite=True"):
        overlapped.fetch(urls + urls[:1], out=out, resume=True)
    assert out.read_bytes() == written
    assert not (tmp_path / f"o{ending}.run").exists()


def test_a_run_that_was_dropped_was_locked_for_a_while(url: Url, tmp_path: Path) -> None:
    out, urls = tmp_path / "o.ndjson", [url("/ok")] * 3_000
    for record in overlapped.fetch(urls, out=out):
        if record.row == 500:
            break
    run = overlapped.fetch(urls, out=out, resume=True)
    with pytest.raises(RuntimeError, match=r"close\(\) ends its earlier run"):
        overlapped.fetch(urls, out=out, resume=True)
    del run
    stats = overlapped.fetch(urls, out=out, resume=True).wait()
    assert stats["finished"] is True
    rows = [json.loads(line)["row"] for line in out.read_text().splitlines()]
    assert sorted(rows) == list(range(3_000))


def test_the_time_that_a_dead_host_is_waited_for_could_not_be_set() -> None:
    (record,) = overlapped.fetch(["http://127.0.0.1:1/"], host_down_after=0.5)
    assert record.error == "connect.refused"
    with pytest.raises(ValueError):
        overlapped.fetch([], host_down_after=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({name: 7}, f"^{name} must be a bool, not int") for name in ("ordered", "keep_body", "sha256", "robots", "hsts", "resume")]
    + [({name: "1"}, f"^{name} must be a number or None, not str") for name in ("rate", "timeout", "connect_timeout")]
    + [({name: 7}, f"^{name} must be a str or None, not int") for name in ("method", "bearer")]
    + [
        ({"headers": [("a", "b")]}, "^headers must be a dict or None, not list"),
        ({"headers": {"a": 1}}, "^headers\\['a'\\] must be a str, not int"),
        ({"body": "text"}, "^body must be bytes or None, not str"),
        ({"auth": "secret"}, "^auth must be a tuple of two str"),
        ({"fail": [404]}, "^fail must be a list of pairs of int"),
        ({"hosts": ["a.test"]}, "^hosts must be a dict or None, not list"),
        ({"hosts": {"a.test": 1}}, "^hosts\\['a.test'\\] must be a dict, not int"),
        ({"hosts": {"a.test": {"rate": "1"}}}, "^rate in hosts\\['a.test'\\] must be a number"),
        ({"proxies": 7}, "^proxies must be a dict, a str or None, not int"),
        ({"proxies": {"all": 7}}, "^proxies\\['all'\\] must be a str or None, not int"),
        ({"insecure_hosts": "127.0.0.1"}, r"^insecure_hosts must be a list of names of hosts, not a str: \['127.0.0.1'\]"),
        ({"ca_file": 7}, "^ca_file must be a path"),
    ],
)
def test_a_value_of_another_type_was_refused_by_an_inner_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        overlapped.fetch([], **options)


def test_a_dict_was_taken_for_a_list() -> None:
    with pytest.raises(TypeError, match="urls is a dict; it must be a list of rows"):
        overlapped.fetch({"url": "http://127.0.0.1/"})


def test_a_missing_file_of_certificates_was_not_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="ca_file: cannot read .*nofile.pem") as missing:
        overlapped.fetch([], ca_file=tmp_path / "nofile.pem")
    assert missing.value.errno == errno.ENOENT


def test_figures_count_every_row(url: Url) -> None:
    run = overlapped.fetch([url("/ok"), url("/status/404"), "no url"])
    stats = run.wait()
    assert (stats["done"], stats["ok"], stats["failed"]) == (3, 1, 2)
    assert stats["by_status"] == {200: 1, 404: 1}
    assert stats["by_error"] == {"status": 1, "input.url": 1}


def test_a_run_that_is_cancelled_ends(url: Url) -> None:
    run = overlapped.fetch(url("/delay/10000") for _ in range(100))
    run.cancel()
    assert len(list(run)) <= 100
    assert run.stats["finished"] is False


def test_a_run_that_is_dropped_ends_its_threads(url: Url) -> None:
    def endless() -> object:
        while True:
            yield url("/ok")

    before = threading.active_count()
    run = overlapped.fetch(endless())
    next(run)
    del run
    gc.collect()
    for _ in range(500):
        if threading.active_count() <= before:
            break
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_long_generator_is_read_only_so_far(url: Url) -> None:
    taken = 0

    def many() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield url("/ok")

    run = overlapped.fetch(many())
    next(run)
    time.sleep(0.5)
    bound = 60_000
    assert taken < bound
    run.close()


def test_waiting_for_a_record_can_be_interrupted(url: Url) -> None:
    check_interrupted(
        f"""
        import overlapped
        run = overlapped.fetch([{url("/delay/30000")!r}])
        print("ready", flush=True)
        try:
            next(run)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    )


def test_the_interpreter_ends_with_work_in_flight(url: Url) -> None:
    code = f"""
import overlapped
def endless():
    while True:
        yield {url("/delay/5000")!r}
run = overlapped.fetch(endless())
other = overlapped.fetch([{url("/ok")!r}] * 1000)
next(other)
"""
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_gets_an_error(url: Url) -> None:
    code = f"""
import os, overlapped
run = overlapped.fetch([{url("/ok")!r}] * 10)
next(run)
pid = os.fork()
if pid == 0:
    try:
        next(run)
    except RuntimeError as error:
        print(error, flush=True)
    print([record.status for record in overlapped.fetch([{url("/ok")!r}])], flush=True)
    del run
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert len(list(run)) == 9
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("this run belongs to the process that has forked")
    assert done.stdout.splitlines()[1] == "[200]"


def test_progress_is_one_line_that_ends_with_all_rows(url: Url, capsys: pytest.CaptureFixture[str]) -> None:
    run = overlapped.fetch([url("/ok"), url("/status/404")], progress=True)
    run.wait()
    lines = ""
    for _ in range(500):
        lines += capsys.readouterr().err
        if lines.endswith("\n"):
            break
        time.sleep(0.01)
    assert lines.count("\n") == 1 and "\r2/2 (100%) done, 1 failed, " in lines


def test_a_notebook_shows_the_figures(url: Url) -> None:
    run = overlapped.fetch([url("/ok")])
    run.wait()
    assert "<tr><th>by_status</th><td>{200: 1}</td></tr>" in run._repr_html_()


def test_a_notebook_sees_the_figures_and_a_waterfall(url: Url) -> None:
    run = overlapped.fetch([url("/echo?a=<b>"), url("/status/404"), "no url"])
    assert "<svg" not in run._repr_html_()
    assert len(list(run)) == 3
    page = run._repr_html_()
    assert "<th>by_status</th>" in page and page.count("<text x=\"0\"") == 2
    assert "200 " in page and "404 " in page and "<b>" not in page and "wait " in page
    assert page.count("<svg") == page.count("</svg>") == 1


def test_a_run_is_cancelled_by_another_thread(url: Url) -> None:
    goes_on = threading.Event()

    def blocked() -> Iterator[str]:
        yield url("/ok")
        goes_on.wait(60)
        yield url("/ok")

    def endless() -> Iterator[str]:
        while True:
            yield url("/ok")

    for urls in ([url("/delay/600000")] * 20, (url("/delay/600000") for _ in range(20)), blocked(), endless()):
        run = overlapped.fetch(urls)
        cancelling = threading.Timer(0.1, run.cancel)
        cancelling.start()
        for _ in run:
            pass
        assert run.stats["finished"] is False
        cancelling.join()
    goes_on.set()


async def test_a_run_that_is_awaited_is_cancelled_by_a_thread(url: Url) -> None:
    run = overlapped.fetch([url("/delay/600000")] * 20)
    threading.Timer(0.1, run.cancel).start()
    assert [record async for record in run] == [] and run.stats["finished"] is False


def test_the_progress_of_a_notebook_is_a_bar() -> None:
    from overlapped._picture import bar

    assert bar(21, 42, "21/42 <b>") == "<progress value=\"21\" max=\"42\" style='width: 24em'></progress> 21/42 &lt;b&gt;"
    assert bar(21, None, "").startswith("<progress style")


def test_an_async_generator_as_a_list_had_no_useful_error(url: Url) -> None:
    async def urls() -> AsyncIterator[str]:
        yield url("/ok")

    with pytest.raises(TypeError, match="urls is an async iterable"):
        overlapped.fetch(urls())  # type: ignore[arg-type]


def test_a_step_that_was_cancelled_is_taken_again(url: Url) -> None:
    async def main() -> int:
        records = aiter(overlapped.fetch([url("/delay/300")]))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(records), 0.05)
        return (await anext(records)).status

    assert asyncio.run(main()) == 200
