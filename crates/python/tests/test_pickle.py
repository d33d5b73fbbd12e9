"""Records that leave the process: pickled, copied, and sent by `multiprocessing`."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import overlapped
import pytest

Url = Callable[[str], str]

# Whatever a record is asked for, so that an attribute that is added later is compared too.
_ATTRIBUTES = [name for name in dir(overlapped.Record) if not name.startswith("_") and name != "json"]


def _all_of(record: overlapped.Record) -> dict[str, Any]:
    attributes = {name: getattr(record, name) for name in _ATTRIBUTES}
    return {**attributes, "timings": repr(record.timings), "repr": repr(record)}


def _row_and_body(record: overlapped.Record) -> tuple[int, bytes]:
    return record.row, record.body


@pytest.fixture
def records(url: Url, tmp_path: Path) -> list[overlapped.Record]:
    """With a body of every kind, and with and without everything that a record may lack."""
    full = {"url": url("/echo"), "id": "b", "method": "PUT", "body": b"\0\xff", "meta": {"a": [1, None]}}
    cut = {"url": url("/drip?bytes=1000&every_ms=1000"), "timeout": 0.2}
    rows = [full, url("/redirect/2"), url("/status/404"), "no url", url("/bytes/100"), url("/ok").replace("//", "//me:secret@"), cut]
    found = list(overlapped.fetch(rows, sha256=True, retries=0))
    # One that is on disk, one that is not kept, and one that has a file of its own.
    found += overlapped.fetch([url("/bytes/3000000")], max_memory=1)
    found += overlapped.fetch([url("/bytes/100")], keep_body=False)
    found += overlapped.fetch([url("/bytes/100")], out=f"{tmp_path}/bodies/")
    assert found[-1].body_path is not None and {record.error for record in found} >= {None, "status", "input.url"}
    return found


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_record_has_the_same_attributes(records: list[overlapped.Record], protocol: int) -> None:
    for record in records:
        pickled = pickle.dumps(record, protocol)
        assert b"secret" not in pickled
        again = pickle.loads(pickled)
        assert type(again) is overlapped.Record
        assert _all_of(again) == _all_of(record)
        # And once more, from one that was made of bytes.
        assert _all_of(pickle.loads(pickle.dumps(again, protocol))) == _all_of(record)


def test_a_copy_of_a_record_is_the_record(records: list[overlapped.Record]) -> None:
    for record in records:
        assert copy.copy(record) is record
        assert copy.deepcopy([record])[0] is record


def test_records_are_sent_to_other_processes(records: list[overlapped.Record]) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_row_and_body, records) == [_row_and_body(record) for record in records]


def test_what_is_no_pickled_record_is_refused(records: list[overlapped.Record]) -> None:
    make, (version, columns, body) = records[0].__reduce__()
    assert _all_of(make(version, columns, body)) == _all_of(records[0])
    with pytest.raises(ValueError, match="that overlapped 0.0.1 has pickled, which only that version reads"):
        make("0.0.1", columns, body)
    for wrong in (b"", columns[:-1], columns + b"\0", bytes(len(columns))):
        with pytest.raises(ValueError, match="no record that was pickled"):
            make(version, wrong, body)
