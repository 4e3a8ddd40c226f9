"""The table and the chart of the 2017 post: the time of one epoch on several machines, with the post's own three.

Times are of an epoch with its validation pass, and a chart is normalised to one machine: a bar of 0.7 is seven tenths
of its time. A workload that failed is listed with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from singleshot import fonts
from singleshot.benchmark.results import Report
from singleshot.benchmark.workloads import WORKLOADS
from singleshot.errors import UsageError, nearest, visible
from singleshot.storage import atomic

BAR_WIDTH = 40
LOGARITHMIC_FROM = 20.0
"""Where the slowest is so many times the fastest, linear bars would make the others invisible."""


@dataclass(frozen=True)
class Column:
    """One machine of a report.

    Args:
        name: short.
        parts: a description of the machine.
        epoch_seconds: by workload; None where it failed.
        reasons: by workload, for those that failed.
        images_per_second: by workload, as far as known.
        verdicts: by workload, as far as known.
    """

    name: str
    parts: str
    epoch_seconds: Mapping[str, float | None]
    reasons: Mapping[str, str] = field(default_factory=dict)
    images_per_second: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)


MACHINES_2017 = (
    Column(
        "ti",
        "2017: GTX 1080 Ti, i7-6600U, SSD disk",
        {"vgg300": 698.0, "vgg512": 1689.0, "kitti": 16.0, "cityscapes": 562.0},
    ),
    Column(
        "p2",
        "2017: K80, E5-2686, RAM disk",
        {"vgg300": 2799.0, "vgg512": 6545.0, "kitti": 50.0, "cityscapes": 1231.0},
    ),
    Column(
        "p3",
        "2017: V100, RAM disk",
        {"vgg300": 495.0, "vgg512": 1210.0, "kitti": None, "cityscapes": 781.0},
        {"kitti": "CUDA bug"},
    ),
)
"""One epoch with its validation pass, TensorFlow 1.4, CUDA 9, as the author of ljanyst/ssd-tensorflow published them in
November 2017. His segmenters prepared their images one after the other in the main thread, so their columns partly
measure the processors (`--loader serial` does so too)."""


def column(name: str, report: Report) -> Column:
    """Return a measured machine as a column."""
    machine, rows = report.machine, report.workloads
    parts = [machine.get("gpu") or "no GPU", machine.get("cpu") or "unknown processor", f"{machine.get('cores')} cores"]
    parts += [str(machine.get("precision")), f"data on {machine.get('data_disk') or 'an unknown disk'}"]
    done = {key: row for key, row in rows.items() if row.error is None}
    verdicts = {}
    for key, row in done.items():
        if row.verdict is not None:  # the limiting side, and the epoch's time without its validation pass
            verdicts[key] = f"{row.verdict}, waits {100 * (row.waiting_share or 0):.0f} % of the time"
            if row.training_seconds is not None:
                verdicts[key] += f", {duration(row.training_seconds)} without validation"
    return Column(
        name,
        ", ".join(parts),
        {key: row.epoch_seconds for key, row in rows.items()},
        {key: row.error for key, row in rows.items() if row.error is not None},
        {key: row.images_per_second for key, row in done.items() if row.images_per_second is not None},
        verdicts,
    )


def check(columns: Sequence[Column], baseline: str) -> Column:
    """Return the machine that the others are compared with.

    Raises:
        UsageError: no machine has that name, or two machines share a name.
    """
    names = [each.name for each in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"two machines are named {', '.join(twice)}", remedy="Rename a file: its name is the machine's"
        )
    if baseline not in names:
        near = nearest(baseline, names)
        remedy = f"Did you mean {near}?" if near else f"There are: {', '.join(names)}"
        raise UsageError(f"no machine is named {baseline!r}", remedy=remedy)
    return columns[names.index(baseline)]


def table(columns: Sequence[Column], baseline: str) -> str:
    """Return the table, a line a machine: times, in brackets as multiples of the baseline's, and then the details.

    Raises as `check`.
    """
    base = check(columns, baseline)
    workloads = _workloads(columns)
    rows = [["one epoch", *(visible(name) for name in workloads)]]
    for each in columns:
        row = [visible(each.name)]
        for name in workloads:
            seconds, ratio = each.epoch_seconds.get(name), _ratio(each, base, name)
            if seconds is None:
                row.append("failed" if name in each.reasons else "–")
            else:
                row.append(duration(seconds) + ("" if ratio is None else f" ({ratio:.3g})"))
        rows.append(row)
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append("")
    for each in columns:
        lines.append(visible(f"{each.name}: {each.parts}"))
        for name in workloads:
            if name in each.images_per_second:
                verdict = f", {each.verdicts[name]}" if name in each.verdicts else ""
                lines.append(visible(f"  {name}: {each.images_per_second[name]:.3g} images/s{verdict}"))
            if name in each.reasons:
                lines.append(visible(f"  {name} failed: {each.reasons[name]}"))
    return "\n".join(lines)


def chart(columns: Sequence[Column], baseline: str) -> str:
    """Return the chart for a terminal: a block a workload, a bar a machine, as multiples of the baseline's time."""
    base = check(columns, baseline)
    width = max(len(visible(each.name)) for each in columns)
    (low, high), scale = _scale(columns, base)
    lines = [f"time of an epoch, {visible(baseline)} = 1{'' if scale == 'linear' else ', bars by logarithm'}"]
    for name in _workloads(columns):
        lines.append(visible(name))
        for each in columns:
            ratio = _ratio(each, base, name)
            if ratio is None:
                lines.append(f"  {visible(each.name):{width}} {'failed' if name in each.reasons else '–'}")
                continue
            length = max(1, round(BAR_WIDTH * ratio / high))
            if scale == "log":
                length = 1 + round((BAR_WIDTH - 1) * math.log(ratio / low) / math.log(high / low))
            lines.append(f"  {visible(each.name):{width}} {'█' * length} {ratio:.3g}")
    return "\n".join(lines)


def draw(columns: Sequence[Column], baseline: str, path: Path) -> None:
    """Save the chart as a PNG, replacing `path`. Raises as `check`, `fonts.in_charts` and `atomic.write`."""
    base = check(columns, baseline)
    with fonts.in_charts(visible(name) for name in [*(each.name for each in columns), *_workloads(columns)]):
        _draw(columns, base, path)


def _draw(columns: Sequence[Column], base: Column, path: Path) -> None:
    # Imported here: matplotlib takes a second to load. Figure without pyplot keeps no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    workloads = _workloads(columns)
    _, scale = _scale(columns, base)
    figure = Figure(figsize=(10.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    room = 0.8 / len(columns)
    for index, each in enumerate(columns):
        ratios = [_ratio(each, base, name) for name in workloads]
        centres = [group + (index - (len(columns) - 1) / 2) * room for group in range(len(workloads))]
        bars = axes.bar(centres, [ratio or math.nan for ratio in ratios], room * 0.92)
        # matplotlib omits a label that starts with _ from the legend.
        bars.set_label(visible(each.name).lstrip("_") or "machine")
        axes.bar_label(bars, ["" if ratio is None else f"{ratio:.3g}" for ratio in ratios], fontsize=8, padding=2)
        for name, centre in zip(workloads, centres, strict=True):
            if name in each.reasons:
                axes.annotate("failed", (centre, 0.02), xycoords=("data", "axes fraction"), rotation=90, ha="center")
    axes.axhline(1.0, color="0.4", linewidth=0.8)
    # A $ in the name of a file must not start a formula.
    axes.set(yscale=scale, title="One epoch with its validation pass")
    axes.set_ylabel(f"time of an epoch, {visible(base.name)} = 1", parse_math=False)
    axes.set_xticks(range(len(workloads)), [visible(name) for name in workloads], parse_math=False)
    axes.margins(y=0.12)
    for text in axes.legend().get_texts():
        text.set_parse_math(False)
    atomic.write(path, lambda temporary: figure.savefig(temporary, dpi=110, format="png"))


def duration(seconds: float) -> str:
    """Return a time in the form of the post.

    >>> duration(698.0), duration(6545.0), duration(16.4), duration(0.4)
    ('11:38', '1:49:05', '00:16', '0.40 s')
    """
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes:02}:{whole % 60:02}"


def _workloads(columns: Sequence[Column]) -> list[str]:
    """Return the names, the known ones first and in their order."""
    names = {name for each in columns for name in each.epoch_seconds}
    return [name for name in WORKLOADS if name in names] + sorted(names - set(WORKLOADS))


def _ratio(each: Column, base: Column, name: str) -> float | None:
    own, other = each.epoch_seconds.get(name), base.epoch_seconds.get(name)
    return own / other if own is not None and other else None


def _scale(columns: Sequence[Column], base: Column) -> tuple[tuple[float, float], str]:
    """Return the least and the greatest multiple, and whether bars are `linear` or `log`."""
    found = [_ratio(each, base, name) for each in columns for name in _workloads(columns)]
    ratios = [ratio for ratio in found if ratio is not None] or [1.0]
    scale = "log" if max(ratios) > LOGARITHMIC_FROM * min(ratios) else "linear"
    return (min(ratios), max(ratios)), scale
