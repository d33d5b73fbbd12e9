"""The disk alone: writes as many bytes as a run does, has each group on the disk before the next, and that is all.

usage: plain_sync.py lines|files OUTPUT ROWS BYTES GROUP

A row is BYTES long: in `lines` a part of one file, which is synced after each GROUP of rows, and then a few bytes in a
second file; in `files` a file of its own, which gets its name when the file system was synced. Prints the rows.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Iterator

JOURNAL_BYTES = 60


def lines(output: Path, groups: Iterator[range], row: bytes) -> None:
    with open(output, "wb", buffering=0) as file, open(f"{output}.log", "wb", buffering=0) as log:
        for group in groups:
            file.write(row * len(group))
            os.fdatasync(file)
            _note(log.fileno())


def files(output: Path, groups: Iterator[range], row: bytes) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    output.mkdir()
    folder = os.open(output, os.O_RDONLY)
    with open(f"{output}.log", "wb", buffering=0) as log:
        for group in groups:
            for number in group:
                (output / f"{number}.part").write_bytes(row)
            if system.syncfs(folder) != 0:
                raise OSError(ctypes.get_errno(), "syncfs")
            for number in group:
                os.rename(output / f"{number}.part", output / str(number))
            os.fsync(folder)
            _note(log.fileno())


def _note(log: int) -> None:
    os.write(log, bytes(JOURNAL_BYTES))
    os.fdatasync(log)


def main() -> None:
    kind, output, *numbers = sys.argv[1:]
    rows, size, group_rows = map(int, numbers)
    groups = (range(start, min(rows, start + group_rows)) for start in range(0, rows, group_rows))
    {"lines": lines, "files": files}[kind](Path(output), groups, b"x" * size)
    print(rows)


if __name__ == "__main__":
    main()
