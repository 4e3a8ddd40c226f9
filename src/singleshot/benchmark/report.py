"""The post's table and its chart: what one epoch costs, machine beside machine.

Times are of an epoch with its validation pass, and a chart is normalised to one machine, so that a bar of 0.7 takes
seven tenths of its time. A workload that failed keeps its place, with its reason below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from singleshot.benchmark.posts_2017 import Column
from singleshot.benchmark.results import Report, Result
from singleshot.benchmark.workloads import WORKLOADS
from singleshot.errors import UsageError, nearest, visible
from singleshot.storage import atomic

BAR = 40
LOGARITHMIC_FROM = 20.0
"""Where the slowest bar is so many times the fastest, a linear one would hide the others."""


def column(name: str, report: Report) -> Column:
    """A measured machine as a column."""
    machine, rows = report.machine, report.workloads
    parts = [machine.get("gpu") or "no GPU", machine.get("cpu") or "unknown processor", f"{machine.get('cores')} cores"]
    parts += [str(machine.get("precision")), f"data on {machine.get('data_disk') or 'an unknown disk'}"]
    done = {key: row for key, row in rows.items() if row.error is None}
    return Column(
        name,
        ", ".join(parts),
        {key: row.epoch_seconds for key, row in rows.items()},
        {key: row.error for key, row in rows.items() if row.error is not None},
        {key: row.images_per_second for key, row in done.items() if row.images_per_second is not None},
        {key: _said(row) for key, row in done.items() if row.verdict is not None},
    )


def check(columns: Sequence[Column], baseline: str) -> Column:
    """The machine that the others are compared with. Raises UsageError for an unknown name or one that occurs twice."""
    names = [each.name for each in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"two machines are called {', '.join(twice)}", remedy="Rename a file: its name is the machine's"
        )
    if baseline not in names:
        near = nearest(baseline, names)
        remedy = f"Did you mean {near}?" if near else f"There are: {', '.join(names)}"
        raise UsageError(f"no machine is called {baseline!r}", remedy=remedy)
    return columns[names.index(baseline)]


def table(columns: Sequence[Column], baseline: str) -> str:
    """The table, a line a machine: times, in brackets as multiples of the baseline's, and what is behind them.

    Raises what `check` raises.
    """
    base = check(columns, baseline)
    workloads = _workloads(columns)
    rows = [["one epoch", *(visible(name) for name in workloads)]]
    rows += [[visible(each.name), *(_cell(each, base, name) for name in workloads)] for each in columns]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append("")
    for each in columns:
        lines.append(visible(f"{each.name}: {each.what}"))
        for name in workloads:
            if name in each.images_per_second:
                verdict = f", {each.verdicts[name]}" if name in each.verdicts else ""
                lines.append(visible(f"  {name}: {each.images_per_second[name]:.3g} images/s{verdict}"))
            if name in each.reasons:
                lines.append(visible(f"  {name} failed: {each.reasons[name]}"))
    return "\n".join(lines)


def chart(columns: Sequence[Column], baseline: str) -> str:
    """The chart for a terminal: a block a workload, a bar a machine, as multiples of the baseline's time."""
    base = check(columns, baseline)
    width = max(len(visible(each.name)) for each in columns)
    most, scale = _scale(columns, base)
    lines = [f"time of an epoch, {visible(baseline)} = 1{'' if scale == 'linear' else ', bars by logarithm'}"]
    for name in _workloads(columns):
        lines.append(visible(name))
        for each in columns:
            ratio = _ratio(each, base, name)
            if ratio is None:
                lines.append(f"  {visible(each.name):{width}} {'failed' if name in each.reasons else '–'}")
            else:
                lines.append(f"  {visible(each.name):{width}} {'█' * _length(ratio, most, scale)} {ratio:.3g}")
    return "\n".join(lines)


def draw(columns: Sequence[Column], baseline: str, path: Path) -> None:
    """The chart as a PNG, replacing `path`. Raises what `check` and `atomic.write` raise."""
    # Imported here: matplotlib takes a second to load. Figure without pyplot keeps no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    base = check(columns, baseline)
    workloads = _workloads(columns)
    _, scale = _scale(columns, base)
    figure = Figure(figsize=(10.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    room = 0.8 / len(columns)
    for place, each in enumerate(columns):
        ratios = [_ratio(each, base, name) for name in workloads]
        places = [group + (place - (len(columns) - 1) / 2) * room for group in range(len(workloads))]
        bars = axes.bar(places, [ratio or math.nan for ratio in ratios], room * 0.92)
        bars.set_label(_kept(each.name))
        axes.bar_label(bars, ["" if ratio is None else f"{ratio:.3g}" for ratio in ratios], fontsize=8, padding=2)
        for name, where in zip(workloads, places, strict=True):
            if name in each.reasons:
                axes.annotate("failed", (where, 0.02), xycoords=("data", "axes fraction"), rotation=90, ha="center")
    axes.axhline(1.0, color="0.4", linewidth=0.8)
    # Names are strangers': no $ of theirs begins a formula.
    axes.set(yscale=scale, title="One epoch with its validation pass")
    axes.set_ylabel(f"time of an epoch, {visible(baseline)} = 1", parse_math=False)
    axes.set_xticks(range(len(workloads)), [visible(name) for name in workloads], parse_math=False)
    axes.margins(y=0.12)
    for text in axes.legend().get_texts():
        text.set_parse_math(False)
    atomic.write(path, lambda temporary: _save(figure, temporary))


def duration(seconds: float) -> str:
    """A time as the post writes it.

    >>> duration(698.0), duration(6545.0), duration(16.4), duration(0.4)
    ('11:38', '1:49:05', '00:16', '0.40 s')
    """
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes:02}:{whole % 60:02}"


def _said(row: Result) -> str:
    """What limits, and the epoch's time without its validation pass."""
    without = "" if row.training_seconds is None else f", {duration(row.training_seconds)} without validation"
    return f"{row.verdict}, waits {100 * (row.waiting_share or 0):.0f} % of the time{without}"


def _workloads(columns: Sequence[Column]) -> list[str]:
    """The names, the known ones in their order."""
    there = {name for each in columns for name in each.epoch_seconds}
    return [name for name in WORKLOADS if name in there] + sorted(there - set(WORKLOADS))


def _ratio(each: Column, base: Column, name: str) -> float | None:
    own, other = each.epoch_seconds.get(name), base.epoch_seconds.get(name)
    return own / other if own is not None and other else None


def _cell(each: Column, base: Column, name: str) -> str:
    seconds = each.epoch_seconds.get(name)
    if seconds is None:
        return "failed" if name in each.reasons else "–"
    ratio = _ratio(each, base, name)
    return duration(seconds) if ratio is None else f"{duration(seconds)} ({ratio:.3g})"


def _scale(columns: Sequence[Column], base: Column) -> tuple[tuple[float, float], str]:
    """The least and the greatest multiple, and how bars are to be drawn."""
    found = [_ratio(each, base, name) for each in columns for name in _workloads(columns)]
    ratios = [ratio for ratio in found if ratio is not None] or [1.0]
    scale = "log" if max(ratios) > LOGARITHMIC_FROM * min(ratios) else "linear"
    return (min(ratios), max(ratios)), scale


def _length(ratio: float, limits: tuple[float, float], scale: str) -> int:
    low, high = limits
    if scale == "log":
        return 1 + round((BAR - 1) * math.log(ratio / low) / math.log(high / low))
    return max(1, round(BAR * ratio / high))


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110, format="png")


def _kept(name: str) -> str:
    """A name that matplotlib does not leave out of the legend, as it does with those that begin with _."""
    return visible(name).lstrip("_") or "machine"
