"""What a notebook shows of a run: its figures as a table, its requests as a waterfall, and its progress."""

from __future__ import annotations

from html import escape
from typing import Any

from ._overlapped import Timings

# Each phase with the colour of its bar; light and dark enough to be told apart without colours.
_PHASES = (
    ("blocked", "#d9d9d9"),
    ("dns", "#1b9e77"),
    ("connect", "#e6863b"),
    ("tls", "#7570b3"),
    ("send", "#66a61e"),
    ("wait", "#a6cee3"),
    ("receive", "#1f5fa8"),
)
_LABEL, _WIDTH, _ROW = 320, 560, 16


def table(figures: dict[str, Any]) -> str:
    """Figures as a table of HTML, without those that are not known."""
    cells = {name: value for name, value in figures.items() if value is not None and value != {}}
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in cells.items())
    return f"<table>{''.join(rows)}</table>"


def waterfall(bars: list[tuple[str, int | None, float, Timings]]) -> str:
    """The phases of requests over time, as a picture of SVG; nothing if there are none."""
    if not bars:
        return ""
    waits = [timings.blocked or 0.0 for _, _, _, timings in bars]
    begins = [started * 1e3 - wait for (_, _, started, _), wait in zip(bars, waits)]
    first = min(begins)
    last = max(begin + wait + bar[3].total for begin, wait, bar in zip(begins, waits, bars))
    scale = _WIDTH / max(last - first, 1e-3)
    parts = []
    for number, ((url, status, _, timings), begin) in enumerate(zip(bars, begins)):
        top = number * _ROW
        label = f"{status or '-'} {url if len(url) <= 48 else url[:20] + '…' + url[-27:]}"
        parts.append(f'<text x="0" y="{top + 12}" font-size="11" fill="currentColor">{escape(label)}</text>')
        x = _LABEL + (begin - first) * scale
        for phase, colour in _PHASES:
            time = getattr(timings, phase)
            if not time:
                continue
            width = max(time * scale, 0.3)
            title = f"<title>{phase} {time:.3f} ms</title>"
            parts.append(
                f'<rect x="{x:.1f}" y="{top + 2}" width="{width:.1f}" height="{_ROW - 4}" fill="{colour}">{title}</rect>'
            )
            x += time * scale
    bottom = len(bars) * _ROW
    for number, (phase, colour) in enumerate(_PHASES):
        x = _LABEL + number * 80
        parts.append(f'<rect x="{x}" y="{bottom + 6}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14}" y="{bottom + 15}" font-size="11" fill="currentColor">{phase}</text>')
    size = f'width="{_LABEL + _WIDTH}" height="{bottom + 22}"'
    title = f"<title>The first {len(bars)} requests, over {last - first:.0f} ms</title>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>{title}{"".join(parts)}</svg>'


def bar(done: int, total: int | None, line: str) -> str:
    """The progress of a run as HTML."""
    extent = "" if total is None else f' value="{done}" max="{max(total, 1)}"'
    return f"<progress{extent} style='width: 24em'></progress> {escape(line)}"
