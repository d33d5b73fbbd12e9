"""Turns the results of scenarios into Markdown, and keeps them by date.

What is kept is the raw JSON; the Markdown beside it is made from it and from nothing else.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from pathlib import Path
from typing import Any, Sequence

RESULTS = Path(__file__).with_name("results")

# A scenario's result: title, lead (a line before the table), table (rows of cells), notes (after it), commands,
# complaints (empty when every run did what it was asked for), runs (the raw figures).
Result = dict[str, Any]


def machine() -> dict[str, Any]:
    """What of this machine bears on the figures; no names, and of the kernel only what it is called in public."""
    kernel = re.match(r"\d+\.\d+", platform.release())
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30),
        "kernel": f"{platform.system()} {kernel.group() if kernel else ''}".strip(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }


def render(result: Result) -> str:
    """One scenario as Markdown."""
    parts = [f"## {result['title']}", result["lead"], table(result["table"])]
    parts += ["\n".join(f"- {line}" for line in result["notes"])] if result["notes"] else []
    parts += ["```\n" + "\n".join(result["commands"]) + "\n```"] if result["commands"] else []
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the head. Columns are padded, so that it reads well as plain text too."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return "| " + " | ".join(padded) + " |"

    head, *body = rows
    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    return "\n".join([line(head), rule, *map(line, body)])


def record(scenario: str, result: Result) -> Path:
    """Keeps a result under today's date, in place of an earlier one of the same scenario on this day."""
    RESULTS.mkdir(exist_ok=True)
    day = datetime.date.today().isoformat()
    raw_path = RESULTS / f"{day}.json"
    kept: dict[str, Any] = json.loads(raw_path.read_text()) if raw_path.exists() else {"date": day, "scenarios": {}}
    kept["scenarios"][scenario] = {"machine": machine(), **result}
    raw_path.write_text(json.dumps(kept, indent=1) + "\n")
    readable = raw_path.with_suffix(".md")
    readable.write_text(_render_day(kept))
    return readable


def _render_day(kept: dict[str, Any]) -> str:
    parts = [f"# {kept['date']}\n"]
    for result in kept["scenarios"].values():
        of = result["machine"]
        where = f"{of['cores']} cores, {of['memory_gib']} GiB, {of['kernel']} {of['architecture']}"
        parts += [render(result), f"{where}, Python {of['python']}.\n"]
    return "\n".join(parts)


def number(value: float | None, digits: int = 0) -> str:
    """A figure with separators; unknown is empty."""
    return "" if value is None else f"{value:,.{digits}f}"


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} ×"


def percent(part: float | None) -> str:
    return "" if part is None else f"{part:.0%}"


def megabytes(size: float | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f}"
