"""Charts as inline SVG, drawn from numbers; colours come from the page, so dark mode just works.

Each chart carries a title and a description for screen readers, and the page shows the same numbers
in a table: a reader who cannot see a picture loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """One row of a dot-and-whisker chart."""

    label: str
    value: float
    low: float
    high: float
    note: str = ""
    series: int = 0
    """Which colour and mark: 0 reference, 1, 2, 3."""


WIDTH = 480
ROW = 46
LEFT, RIGHT, TOP, BOTTOM = 124, 74, 10, 42
TIMELINE_WIDTH = 960


def whiskers(
    rows: Sequence[Whisker], *, title: str, axis: str, reference: float, is_change: bool = False
) -> str:
    """Draw shares, or changes of them, with their intervals and a line at the reference."""
    ends = [reference, *(edge for row in rows for edge in (row.low, row.high, row.value))]
    low, high = _nice_range(min(ends), max(ends), floor=None if is_change else 0.0)
    height = TOP + ROW * len(rows) + BOTTOM
    bottom = height - BOTTOM

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = [_open(height, title, "; ".join(_read_out(row, is_change) for row in rows))]
    for tick in _ticks(low, high):
        parts.append(_line(x(tick), TOP, x(tick), bottom, "grid"))
        parts.append(
            _text(x(tick), bottom + 18, _number(tick, is_change, high - low), "tick", "middle")
        )
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, height - 4, axis, "axis", "middle"))
    parts.append(_line(x(reference), TOP, x(reference), bottom, "reference"))
    for number, row in enumerate(rows):
        y = TOP + ROW * (number + 0.5)
        name_y = y - 3 if row.note else y + 4
        parts.append(_text(LEFT - 14, name_y, row.label, "label", "end"))
        if row.note:
            parts.append(_text(LEFT - 14, y + 13, row.note, "note", "end"))
        parts.append(_line(x(row.low), y, x(row.high), y, f"whisker s{row.series}"))
        parts.extend(
            _line(x(edge), y - 6, x(edge), y + 6, f"whisker s{row.series}")
            for edge in (row.low, row.high)
        )
        parts.append(_mark(x(row.value), y, row.series))
        value = _number(row.value, is_change, 0.0)
        parts.append(_text(WIDTH - RIGHT + 12, y + 4, value, f"value s{row.series}", "start"))
    return "".join([*parts, "</svg>"])


def reliability(bins: Sequence[tuple[float, float, float, float, int]], *, title: str) -> str:
    """Draw observed against predicted: (predicted, observed, low, high, rows) per bin."""
    size, left, bottom = 360, 66, 46
    side = size - left - 16
    top_value = max([0.05, *(max(b[0], b[3]) for b in bins)]) * 1.06

    def x(value: float) -> float:
        return left + min(value / top_value, 1.0) * side

    def y(value: float) -> float:
        return size - bottom - min(value / top_value, 1.0) * (size - bottom - 14)

    told = "; ".join(f"predicted {b[0]:.1%}, observed {b[1]:.1%} of {b[4]}" for b in bins)
    parts = [_open(size, title, told, width=size)]
    for tick in _ticks(0.0, top_value):
        if tick > top_value:
            continue
        parts.append(_line(left, y(tick), left + side, y(tick), "grid"))
        parts.append(_text(left - 8, y(tick) + 4, f"{tick * 100:.0f} %", "tick", "end"))
        parts.append(_text(x(tick), size - bottom + 18, f"{tick * 100:.0f} %", "tick", "middle"))
    parts.append(_line(x(0), y(0), x(top_value), y(top_value), "reference"))
    points = " ".join(f"{x(b[0]):.1f},{y(b[1]):.1f}" for b in bins)
    parts.append(f'<polyline points="{points}" class="curve s1"/>')
    for predicted, observed, low, high, _ in bins:
        parts.append(_line(x(predicted), y(low), x(predicted), y(high), "whisker s1"))
        parts.append(_mark(x(predicted), y(observed), 1))
    parts.append(_text(left + side / 2, size - 6, "predicted", "axis", "middle"))
    parts.append(
        f'<text x="12" y="{(size - bottom) / 2:.0f}" class="axis" text-anchor="middle"'
        f' transform="rotate(-90 12 {(size - bottom) / 2:.0f})">observed</text>'
    )
    return "".join([*parts, "</svg>"])


def bars(rows: Sequence[tuple[str, int, str]], *, title: str) -> str:
    """Draw counts as bars: (label, count, note)."""
    row_height, left = 38, 124
    height = row_height * len(rows) + 8
    most = max([1, *(count for _, count, _ in rows)])
    parts = [_open(height, title, "; ".join(f"{name}: {count:,}" for name, count, _ in rows))]
    for number, (name, count, note) in enumerate(rows):
        y = 4 + row_height * number
        width = count / most * (WIDTH - left - 196)
        parts.append(_text(left - 12, y + 21, name, "label", "end"))
        parts.append(
            f'<rect x="{left}" y="{y + 5}" width="{max(width, 1.5):.1f}" height="{row_height - 16}"'
            f' rx="3" class="bar"/>'
        )
        at = left + max(width, 1.5) + 9
        parts.append(_text(at, y + 21, f"{count:,}", "value", "start"))
        parts.append(_text(at + 9 * len(f"{count:,}") + 6, y + 21, note, "note", "start"))
    return "".join([*parts, "</svg>"])


def timeline(phases: Sequence[tuple[str, float, float]], *, title: str) -> str:
    """Draw what took how long: (label, start, end) in seconds."""
    height, y = 74, 14
    total = max(end for _, _, end in phases)
    told = "; ".join(f"{name}: {end - start:.0f} s" for name, start, end in phases)
    parts = [_open(height, title, told, width=TIMELINE_WIDTH)]
    for number, (name, start, end) in enumerate(phases):
        x, width = (at / total * TIMELINE_WIDTH for at in (start, end - start))
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{max(width - 2, 1):.1f}" height="22" rx="3"'
            f' class="phase p{number % 2}"/>'
        )
        if width > 62:
            parts.append(_text(x + 4, y + 40, name, "note", "start"))
            parts.append(_text(x + 4, y + 55, f"{end - start:.0f} s", "tick", "start"))
    return "".join([*parts, "</svg>"])


def _open(height: float, title: str, description: str, *, width: int = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" class="chart"'
        f' style="max-width:{width}px" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _mark(x: float, y: float, series: int) -> str:
    """Circle, square, triangle, diamond: never told apart by colour alone."""
    kind = f'class="mark s{series}"'
    if series == 1:
        return f'<rect x="{x - 5.5:.1f}" y="{y - 5.5:.1f}" width="11" height="11" rx="1" {kind}/>'
    if series == 2:
        points = f"{x:.1f},{y - 7:.1f} {x + 7:.1f},{y + 5.5:.1f} {x - 7:.1f},{y + 5.5:.1f}"
        return f'<polygon points="{points}" {kind}/>'
    if series == 3:
        points = f"{x:.1f},{y - 7:.1f} {x + 7:.1f},{y:.1f} {x:.1f},{y + 7:.1f} {x - 7:.1f},{y:.1f}"
        return f'<polygon points="{points}" {kind}/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" {kind}/>'


def _read_out(row: Whisker, is_change: bool) -> str:
    value, low, high = (_number(v, is_change, 0.0) for v in (row.value, row.low, row.high))
    return f"{row.label}: {value} ({low} to {high})"


def _number(value: float, is_change: bool, span: float) -> str:
    digits = 0 if span >= 0.04 else 1
    return f"{value * 100:{'+' if is_change and value else ''}.{digits}f} %"


def _nice_range(low: float, high: float, *, floor: float | None) -> tuple[float, float]:
    pad = (high - low) * 0.12 or 0.01
    low, high = low - pad, high + pad
    if floor is not None and low < floor:
        low = floor
    return low, high


def _ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]
