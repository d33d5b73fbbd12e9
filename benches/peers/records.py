"""Looks through an NDJSON result: is every row there, exactly once, with status 200?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Verdict:
    """What an output holds, against the rows that were asked for."""

    rows: int
    good: int = 0
    missing: int = 0
    twice: int = 0
    failed: int = 0  # there, but with another status, or with an error
    strange: int = 0  # not JSON, or of no row of ours

    @property
    def complete(self) -> bool:
        return self.good == self.rows and not (self.twice or self.failed or self.strange)

    def __str__(self) -> str:
        if self.complete:
            return "every row once, status 200"
        parts = {"missing": self.missing, "twice": self.twice, "failed": self.failed, "strange": self.strange}
        return f"{self.good} of {self.rows} good; " + ", ".join(f"{n} {what}" for what, n in parts.items() if n)


def verify(path: Path, rows: int) -> Verdict:
    """Reads the output once, a line at a time. The last part of a record's URL is the number of its row in the list."""
    verdict = Verdict(rows)
    seen = bytearray(rows)
    with open(path, "rb") as lines:
        for line in lines:
            number, good = _row_of(line)
            if number is None or not 0 <= number < rows:
                verdict.strange += 1
            elif seen[number]:
                verdict.twice += 1
            else:
                seen[number] = 1
                verdict.good += good
                verdict.failed += not good
    verdict.missing = seen.count(0)
    return verdict


def _row_of(line: bytes) -> tuple[int | None, bool]:
    try:
        record = json.loads(line)
        number = int(record["url"].rpartition("/")[2].rpartition("=")[2])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, False
    good = record.get("status") == 200 and record.get("ok") is True and record.get("error") is None
    return number, good
