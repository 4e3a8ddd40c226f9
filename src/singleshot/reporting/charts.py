"""Charts as SVG that a page colours: readable in light and dark, by the colour-blind, and on paper.

A chart in an image file has fixed colours; these take theirs from the page's style (`var(--c0)` …), so one file suits
every reader. Lines differ in dashes and marks in shape too, so that nothing depends on colour alone. The colours are
those of Okabe and Ito, darkened for white paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from singleshot.reporting.page import Html, text

COLOURS = 7
DASHES = ("", "7 3", "2 3")
MAX_POINTS = 240
SHAPES = ("circle", "square", "triangle", "diamond")


@dataclass(frozen=True)
class Mark:
    """A marked point: its position, its shape (an index into `SHAPES`) and its label."""

    x: float
    y: float
    shape: int
    label: str


@dataclass(frozen=True)
class Line:
    """One line of a chart; values that are not finite leave gaps.

    Args:
        name: in the legend.
        x: (N,) numbers, not falling.
        y: (N,) numbers.
        marks: marked points.
    """

    name: str
    x: ndarray
    y: ndarray
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Frame:
    """The size and axes of a chart.

    Args:
        title: above it.
        x_label: below it.
        y_range: lowest and highest value; None takes them from the lines.
        x_range: likewise.
        log_y: a logarithmic axis; values that are not positive are left out.
        width: in pixels; the height follows.
        height: in pixels, without the legend.
    """

    title: str
    x_label: str
    y_range: tuple[float, float] | None = None
    x_range: tuple[float, float] | None = None
    log_y: bool = False
    width: int = 500
    height: int = 280


def chart(lines: Sequence[Line], frame: Frame) -> Html:
    """Return a line chart with axes, ticks, a grid and a legend, and with a note where there is no point."""
    finite = []
    for line in lines:
        shown = np.isfinite(line.x) & np.isfinite(line.y)
        if frame.log_y:
            shown &= line.y > 0
        finite.append(Line(line.name, line.x[shown], line.y[shown], line.marks))
    x_low, x_high = frame.x_range or _span([line.x for line in finite], from_zero=False)
    y_low, y_high = frame.y_range or _span([line.y for line in finite], from_zero=not frame.log_y)
    left, top, right, bottom = 52.0, 30.0, frame.width - 12.0, frame.height - 40.0

    def position(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low or 1)
        if frame.log_y:
            up = math.log(y / y_low) / (math.log(y_high / y_low) or 1)
        else:
            up = (y - y_low) / (y_high - y_low or 1)
        return left + across * (right - left), bottom - up * (bottom - top)

    parts = [f"<text x='{left}' y='16' font-weight='600'>{text(frame.title)}</text>"]
    for tick in log_ticks(y_low, y_high) if frame.log_y else ticks(y_low, y_high):
        _, y = position(x_low, tick)
        parts.append(f"<line class='grid' x1='{left}' x2='{right}' y1='{y:.1f}' y2='{y:.1f}'/>")
        parts.append(f"<text class='dim' x='{left - 6}' y='{y + 4:.1f}' text-anchor='end'>{tick:g}</text>")
    for tick in ticks(x_low, x_high):
        x, _ = position(tick, y_low)
        parts.append(f"<text class='dim' x='{x:.1f}' y='{bottom + 16}' text-anchor='middle'>{tick:g}</text>")
    parts.append(f"<line class='axis' x1='{left}' x2='{right}' y1='{bottom}' y2='{bottom}'/>")
    middle = (left + right) / 2
    parts.append(f"<text class='dim' x='{middle}' y='{bottom + 33}' text-anchor='middle'>{text(frame.x_label)}</text>")
    for number, line in enumerate(finite):
        points = [position(x, y) for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True)]
        if len(points) == 1:
            parts.append(f"<circle cx='{points[0][0]:.1f}' cy='{points[0][1]:.1f}' r='3' fill='{colour(number)}'/>")
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f"<polyline points='{path}' fill='none' {_stroke(number)}/>")
        parts += [_mark(mark, *position(mark.x, mark.y), number) for mark in line.marks]
    if not any(len(line.x) for line in finite):
        parts.append(f"<text class='dim' x='{middle}' y='{(top + bottom) / 2}' text-anchor='middle'>nothing yet</text>")
    legend, height = _legend([line.name for line in lines], frame)
    names = ", ".join(line.name for line in lines)
    return Html(
        f"<svg role='img' aria-label='{text(f'{frame.title}: {names}')}' width='{frame.width}' height='{height}' "
        f"viewBox='0 0 {frame.width} {height}'>{''.join(parts)}{legend}</svg>"
    )


def mark_legend(names: Sequence[str]) -> Html:
    """Return the meanings of the shapes of marks, in a row."""
    parts = [
        f"{_mark(Mark(0.0, 0.0, shape, name), 10.0 + 70.0 * shape, 9.0, 6)}"
        f"<text x='{20 + 70 * shape}' y='13'>{text(name)}</text>"
        for shape, name in enumerate(names)
    ]
    return Html(f"<svg role='img' aria-label='marks' width='{70 * len(names) + 10}' height='18'>{''.join(parts)}</svg>")


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`, about `wanted` of them.

    >>> ticks(0.0, 1.0), ticks(3.0, 24.0)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [5.0, 10.0, 15.0, 20.0])
    """
    rough = (high - low) / max(1, wanted) or 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten between two positive numbers; with 2 and 5 times them where there are few.

    >>> log_ticks(0.09, 12.0), log_ticks(0.8, 6.0)
    ([0.1, 1.0, 10.0], [1.0, 2.0, 5.0])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [float(f"{factor}e{power}") for power in decades for factor in factors]
        found = [tick for tick in found if low * 0.999 <= tick <= high * 1.001]
        if len(found) >= 3:
            break
    return found


def thinned(line: Line, most: int = MAX_POINTS) -> Line:
    """Return the line with no more points than an eye can tell apart: its ends and evenly spaced ones between."""
    if len(line.x) <= most:
        return line
    keep = np.unique(np.linspace(0, len(line.x) - 1, most).round().astype(int))
    return Line(line.name, line.x[keep], line.y[keep], line.marks)


def colour(number: int) -> str:
    """Return the colour of the `number`-th line, as the page's style names it."""
    return f"var(--c{number % COLOURS})"


def _span(values: Sequence[ndarray], *, from_zero: bool) -> tuple[float, float]:
    """Return the least and the greatest value; 0 and the greatest with `from_zero`."""
    every = np.concatenate([np.empty(0), *values])
    if not len(every):
        return (0.0, 1.0) if from_zero else (0.1, 1.0)
    low, high = float(every.min()), float(every.max())
    low = min(0.0, low) if from_zero else low
    return (low, high) if high > low else (low, low * 1.5 if low > 0 else low + 1.0)


def _stroke(number: int) -> str:
    dash = DASHES[number % len(DASHES)]  # 3 and 7 have no common factor: 21 lines differ
    return f"stroke='{colour(number)}' stroke-width='2' stroke-dasharray='{dash}' stroke-linejoin='round'"


def _mark(mark: Mark, x: float, y: float, number: int) -> str:
    shapes = {
        "circle": f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4.5'",
        "square": f"<rect x='{x - 4:.1f}' y='{y - 4:.1f}' width='8' height='8'",
        "triangle": f"<polygon points='{x:.1f},{y - 5:.1f} {x + 5:.1f},{y + 4:.1f} {x - 5:.1f},{y + 4:.1f}'",
        "diamond": f"<polygon points='{x:.1f},{y - 6:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 6:.1f} {x - 5:.1f},{y:.1f}'",
    }
    shape = shapes[SHAPES[mark.shape % len(SHAPES)]]
    element = shape[1 : shape.index(" ")]
    return f"{shape} fill='{colour(number)}' stroke='var(--paper)'><title>{text(mark.label)}</title></{element}>"


def _legend(names: Sequence[str], frame: Frame) -> tuple[str, int]:
    """Return the rows under the chart, and the height of all. A single line is named by the title."""
    if len(names) < 2:
        return "", frame.height
    parts, x, y = [], 52.0, frame.height + 8.0
    for number, name in enumerate(names):
        wide = 40 + 7.2 * len(name)
        if x + wide > frame.width and x > 52:
            x, y = 52.0, y + 18
        parts.append(f"<line x1='{x}' x2='{x + 24}' y1='{y - 4}' y2='{y - 4}' {_stroke(number)}/>")
        parts.append(f"<text x='{x + 30}' y='{y}'>{text(name)}</text>")
        x += wide
    return "".join(parts), int(y + 8)
