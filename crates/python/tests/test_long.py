"""What takes minutes: only with `OVERLAPPED_LONG=1`."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from programs import run_python

Url = Callable[[str], str]

ROWS = 1_000_000


@pytest.mark.skipif("OVERLAPPED_LONG" not in os.environ, reason="it takes minutes")
@pytest.mark.parametrize("ordered", [True, False])
def test_a_million_urls_of_a_generator_take_no_more_memory_than_a_tenth_of_them(url: Url, ordered: bool) -> None:
    done = run_python(
        f"""
        import resource, overlapped
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        urls = (f"{url("/status/404")}?{{number}}" for number in range({ROWS}))
        count = 0
        for record in overlapped.fetch(urls, ordered={ordered}):
            assert record.status == 404
            count += 1
            if count == {ROWS} // 10:
                early = peak()
        print(count, early, peak())
        """,
        seconds=3600,
    )
    assert done.returncode == 0, done.stderr
    count, early, late = map(int, done.stdout.split())
    print(f"{count} rows, ordered={ordered}: {early} MiB after a tenth, {late} MiB at the end")
    assert count == ROWS and late - early <= 32
