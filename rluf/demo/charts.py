"""Charts as inline SVG, drawn from numbers; colours come from the page, so dark mode just works.

Each chart carries a title and a description for screen readers, and the page shows the same numbers
in a table or beside the marks: a reader who cannot see a picture loses nothing. Words stand above
their row and not to its left, so a chart stays legible when a phone shrinks it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rluf.demo.wording import change, share


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One thing in a graph of where things come from."""

    name: str
    note: str
    parents: tuple[str, ...]
    is_result: bool = False


WIDTH = 440
SIDE = 22
"""Room left and right of the plot, for half a tick's number."""
ROW = 54
AXIS = 44
SERIES = 4
LABEL_CHARS_MAX = 14
"""More of a name would run into the row's numbers on a phone; the description has all of it."""


def whiskers(
    rows: Sequence[Whisker], *, title: str, axis: str, reference: float, is_change: bool = False
) -> str:
    """Draw shares, or changes of them, with their intervals and a line at the reference."""
    ends = [reference, *(edge for row in rows for edge in (row.low, row.high, row.value))]
    low, high = _padded(min(ends), max(ends), floor=None if is_change else 0.0)
    height = ROW * len(rows) + AXIS
    bottom = height - AXIS

    def x(value: float) -> float:
        return SIDE + (value - low) / (high - low) * (WIDTH - 2 * SIDE)

    parts = [_open(height, title, "; ".join(_read_out(row, is_change) for row in rows))]
    for number in range(len(rows)):
        parts.append(_line(x(low), ROW * number + 38, x(high), ROW * number + 38, "rail"))
    scale = _ticks(low, high)
    for tick in scale:
        parts.append(_line(x(tick), bottom, x(tick), bottom + 5, "axis-line"))
        parts.append(_text(x(tick), bottom + 19, _tick(tick, scale, is_change=is_change), "tick"))
    parts.append(_line(SIDE, bottom, WIDTH - SIDE, bottom, "axis-line"))
    parts.append(_text(WIDTH / 2, height - 4, axis, "axis"))
    for number, row in enumerate(rows):
        top, y, kind = ROW * number, ROW * number + 38, f"whisker s{row.series % SERIES}"
        note = f' <tspan class="note" dx="4">{escape(row.note)}</tspan>' if row.note else ""
        parts.append(
            f'<text x="0" y="{top + 18}" class="label">{escape(_brief(row.label))}{note}</text>'
        )
        parts.append(_text(WIDTH, top + 18, _value(row, is_change), "value", "end"))
        parts.append(_line(x(reference), y - 11, x(reference), y + 11, "reference"))
        parts.append(_line(x(row.low), y, x(row.high), y, kind))
        parts.extend(_line(x(edge), y - 6, x(edge), y + 6, kind) for edge in (row.low, row.high))
        parts.append(_mark(x(row.value), y, row.series % SERIES))
    return "".join([*parts, "</svg>"])


def reliability(bins: Sequence[tuple[float, float, float, float, int]], *, title: str) -> str:
    """Draw observed against predicted: (predicted, observed, low, high, rows) per bin.

    The axes share one unit but not one length: predictions that crowd together are drawn apart,
    and the dashed line says where they would equal what was observed.
    """
    height, left, bottom, top = 330, 64, 46, 12
    right, floor = WIDTH - 14, height - bottom
    x_high = max([0.02, *(b[0] for b in bins)]) * 1.08
    y_high = max([0.05, *(max(b[1], b[3]) for b in bins)]) * 1.06

    def x(value: float) -> float:
        return left + min(value / x_high, 1.0) * (right - left)

    def y(value: float) -> float:
        return floor - min(value / y_high, 1.0) * (floor - top)

    told = "; ".join(
        f"predicted {share(b[0])}, observed {share(b[1])} ({share(b[2])} to {share(b[3])})"
        f" of {b[4]} replies"
        for b in bins
    )
    parts = [_open(height, title, told)]
    scale = _ticks(0.0, y_high)
    for tick in scale:
        parts.append(_line(left, y(tick), right, y(tick), "grid"))
        parts.append(_text(left - 8, y(tick) + 4, _tick(tick, scale), "tick", "end"))
    scale = _ticks(0.0, x_high)
    for tick in scale:
        parts.append(_text(x(tick), floor + 18, _tick(tick, scale), "tick"))
    end = min(x_high, y_high)
    parts.append(_line(x(0), y(0), x(end), y(end), "reference"))
    for predicted, observed, low, high, _ in bins:
        parts.append(_line(x(predicted), y(low), x(predicted), y(high), "whisker thin s1"))
        parts.append(_mark(x(predicted), y(observed), 1))
    parts.append(_text((left + right) / 2, height - 6, "predicted P[love]", "axis"))
    middle = (floor + top) / 2
    parts.append(
        f'<text x="13" y="{middle:.0f}" class="axis" text-anchor="middle"'
        f' transform="rotate(-90 13 {middle:.0f})">observed love rate</text>'
    )
    return "".join([*parts, "</svg>"])


def bars(rows: Sequence[tuple[str, float, str]], *, title: str, unit: str = "") -> str:
    """Draw amounts as bars from one zero: (label, amount, note); `unit` stands behind each."""
    row_height = 46
    most = max([1.0, *(amount for _, amount, _ in rows)])
    told = "; ".join(f"{name}: {_amount(amount, unit)}" for name, amount, _ in rows)
    parts = [_open(row_height * len(rows), title, told)]
    for number, (name, amount, note) in enumerate(rows):
        y, width = row_height * number, amount / most * WIDTH
        noted = f' <tspan class="note" dx="4">{escape(note)}</tspan>' if note else ""
        parts.append(f'<text x="0" y="{y + 17}" class="label">{escape(name)}{noted}</text>')
        parts.append(_text(WIDTH, y + 17, _amount(amount, unit), "value", "end"))
        parts.append(_rect(0, y + 25, WIDTH, 10, "trough"))
        if amount > 0:
            parts.append(_rect(0, y + 25, max(width, 2.0), 10, "bar"))
    return "".join([*parts, "</svg>"])


def timeline(phases: Sequence[tuple[str, float, float]], *, title: str) -> str:
    """Draw what took how long, one under the other on one clock: (label, start, end), seconds."""
    row_height = 46
    height = row_height * len(phases) + 40
    total = max(1.0, *(end for _, _, end in phases))
    bottom = height - 40

    def x(seconds: float) -> float:
        return seconds / total * WIDTH

    told = "; ".join(f"{name}: {end - start:.0f} s" for name, start, end in phases)
    parts = [_open(height, title, told)]
    for tick in _ticks(0.0, total):
        parts.append(_line(x(tick), bottom, x(tick), bottom + 5, "axis-line"))
        parts.append(_text(x(tick), bottom + 19, f"{tick:,.0f} s", "tick", _anchor(x(tick))))
    parts.append(_line(0, bottom, WIDTH, bottom, "axis-line"))
    parts.append(_text(WIDTH / 2, height - 4, "seconds since the start", "axis"))
    for number, (name, start, end) in enumerate(phases):
        y = row_height * number
        parts.append(_text(0, y + 17, name, "label", "start"))
        value = f"{end - start:,.0f} s · {share((end - start) / total, 0)}"
        parts.append(_text(WIDTH, y + 17, value, "value", "end"))
        parts.append(_rect(0, y + 25, WIDTH, 10, "trough"))
        parts.append(_rect(x(start), y + 25, max(x(end) - x(start), 2.0), 10, "bar"))
    return "".join([*parts, "</svg>"])


def strip(value: float, low: float | None, high: float | None, limits: Sequence[float]) -> str:
    """Draw one measure small: mark, interval, and its limits as upright lines.

    It repeats the row of the table that it stands in, so screen readers pass it over.
    """
    width, height, side = 132, 22, 7
    ends = [value, *limits, *(edge for edge in (low, high) if edge is not None)]
    start, stop = _padded(min(ends), max(ends), floor=None)

    def x(at: float) -> float:
        return side + (at - start) / (stop - start) * (width - 2 * side)

    y = height / 2
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" class="strip"'
        ' aria-hidden="true" focusable="false">',
        _line(side, y, width - side, y, "rail"),
    ]
    parts.extend(_line(x(limit), 2, x(limit), height - 2, "limit") for limit in limits)
    if low is not None and high is not None:
        parts.append(_line(x(low), y, x(high), y, "whisker s0"))
    parts.append(f'<circle cx="{x(value):.1f}" cy="{y:.1f}" r="4.2" class="mark s0"/>')
    return "".join([*parts, "</svg>"])


def graph(boxes: Mapping[str, Box], *, title: str) -> str:
    """Draw what each thing was made of, oldest on the left; boxes are named by their key."""
    column = _columns(boxes)
    num_columns = max(column.values(), default=0) + 1
    columns = [[key for key in boxes if column[key] == c] for c in range(num_columns)]
    gap, box_height, step = 40, 44, 58
    box_width = (WIDTH - 2 - gap * (num_columns - 1)) / num_columns
    height = step * max(len(keys) for keys in columns) - step + box_height + 4
    places = {}
    for number, keys in enumerate(columns):
        top = (height - (step * (len(keys) - 1) + box_height)) / 2
        for row, key in enumerate(keys):
            places[key] = (1 + number * (box_width + gap), top + row * step)
    told = "; ".join(
        f"{key} comes from {', '.join(box.parents) or 'nothing older'}"
        for key, box in boxes.items()
    )
    parts = [_open(height, title, told)]
    for key, box in boxes.items():
        x2, y2 = places[key][0], places[key][1] + box_height / 2
        for parent in box.parents:
            x1, y1 = places[parent][0] + box_width, places[parent][1] + box_height / 2
            bend = (x1 + x2) / 2
            parts.append(
                f'<path d="M{x1:.1f} {y1:.1f}C{bend:.1f} {y1:.1f} {bend:.1f} {y2:.1f}'
                f' {x2:.1f} {y2:.1f}" class="edge"/>'
            )
    for key, box in boxes.items():
        x, y = places[key]
        parts.append(_rect(x, y, box_width, box_height, "box result" if box.is_result else "box"))
        parts.append(_text(x + box_width / 2, y + 19, box.name, "label"))
        parts.append(_text(x + box_width / 2, y + 35, box.note, "note"))
    return "".join([*parts, "</svg>"])


def _columns(boxes: Mapping[str, Box]) -> dict[str, int]:
    """Give each box its column: as far right as what was made of it allows, so lines are short."""

    def depth(key: str) -> int:
        return 1 + max((depth(parent) for parent in boxes[key].parents), default=-1)

    last = max((depth(key) for key in boxes), default=0)
    column: dict[str, int] = {}
    for key in sorted(boxes, key=depth, reverse=True):
        made = [column[other] for other, box in boxes.items() if key in box.parents]
        column[key] = min(made) - 1 if made else last
    return column


def _open(height: float, title: str, description: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" class="chart"'
        f' aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    radius = min(height / 2, 6)
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        f' rx="{radius:.0f}" class="{kind}"/>'
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str = "middle") -> str:
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


def _anchor(x: float) -> str:
    """Give how a number under the axis is set, so that none is cut off at the edge."""
    return "start" if x < 24 else "end" if x > WIDTH - 34 else "middle"


def _value(row: Whisker, is_change: bool) -> str:
    tell = change if is_change else share
    return f"{tell(row.value)} ({tell(row.low)} to {tell(row.high)})"


def _brief(label: str) -> str:
    is_short = len(label) <= LABEL_CHARS_MAX
    return label if is_short else f"{label[: LABEL_CHARS_MAX - 1]}…"


def _read_out(row: Whisker, is_change: bool) -> str:
    return f"{row.label}: {_value(row, is_change)}"


def _amount(amount: float, unit: str) -> str:
    return f"{amount:,.0f} {unit}".rstrip()


def _tick(value: float, ticks: Sequence[float], *, is_change: bool = False) -> str:
    """Give a number under an axis, with no more digits than its neighbours need."""
    fits = (all(abs(t * 100 - round(t * 100, digits)) < 1e-6 for t in ticks) for digits in range(3))
    digits = next((digits for digits, does in enumerate(fits) if does), 3)
    if abs(value) < 1e-9:  # No sign before nothing.
        return share(0.0, digits)
    return change(value, digits) if is_change else share(value, digits)


def _padded(low: float, high: float, *, floor: float | None) -> tuple[float, float]:
    pad = (high - low) * 0.08 or 0.01
    low, high = low - pad, high + pad
    if floor is not None and low < floor:
        low = floor
    return low, high


def _ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]
