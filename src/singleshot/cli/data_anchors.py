"""`singleshot data anchors`: counts the objects that no anchor matches, and fits anchors to the data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from singleshot.cli.data import Split, read_split
from singleshot.cli.reading import Classes, DataFormat, FollowLinks, MaxPixels, Rename, Splits
from singleshot.errors import DataError
from singleshot.storage import atomic

if TYPE_CHECKING:
    from singleshot.data.anchor_fit import AnchorReport
    from singleshot.detection.ssd import SSDConfig

_BARS = 40
_BINS = 10


def anchors(
    path: Annotated[Path, typer.Argument(help="A data folder.")],
    model: Annotated[str, typer.Option(help="vgg300, vgg512, lite320, lite320-fine2, …")] = "lite320-fine2",
    input_size: Annotated[
        str | None, typer.Option(help="Network input as HxW; the model's default if not given.")
    ] = None,
    fit: Annotated[
        Literal["warp", "letterbox"], typer.Option(help="Stretch images to the input size, or pad them.")
    ] = "warp",
    split: Split = None,
    splits: Splits = None,
    data_format: DataFormat = None,
    classes: Classes = None,
    rename: Rename = None,
    max_pixels: MaxPixels = None,
    follow_links: FollowLinks = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the fitted anchors to this file, for `train --anchors`.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a histogram of best IoU into this PNG.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Count the objects that no anchor matches at IoU 0.5, and fit the anchors to the data."""
    from singleshot.cli import outputs, reading, terminal
    from singleshot.cli.train import parse_size
    from singleshot.data import anchor_fit, class_choice
    from singleshot.data.anchor_fit import draw_best_iou
    from singleshot.detection.ssd import config_for

    keys = ("model", "input_size_hw", "split")
    reading.use(max_pixels, follow_links)
    outputs.check_outside(path, out, plot, json_file)
    outputs.check(out, plot, json_file=json_file, json_keys=keys, inputs=[path], overwrite=overwrite)
    dataset = read_split(path, split, data_format, splits, class_choice.parse(classes, rename))
    split = dataset.split
    size_hw = None if input_size is None else parse_size(input_size)
    config = config_for(model, dataset.label_map.names or ("none",), size_hw, fit=fit)
    found = anchor_fit.report(dataset.samples, config)
    if not len(found.best_iou):
        raise DataError(
            f"no boxes in {split}", kind="no-boxes", remedy="Name a split with annotated objects", file=path
        )
    height, width = config.input_size_hw
    title = f"{model} at {height}x{width}, {fit}"
    terminal.show(_table(found, title))
    for line in (*_histogram(found), "", *_summary(found, config)):
        terminal.show(line)
    if out is not None:
        anchor_fit.write_anchors(out, anchor_fit.AnchorFile(model, config.input_size_hw, fit, found.suggested))
        terminal.show(f"fitted anchors: {out} (train --anchors {out})")
    if plot is not None:
        atomic.write(plot, lambda temporary: draw_best_iou(found, temporary, title=title))
        terminal.show(f"histogram: {plot}")
    facts = {"model": model, "input_size_hw": [height, width], "fit": fit, "split": split, **found.as_json()}
    outputs.write_json(json_file, facts)


def _table(found: AnchorReport, title: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"Objects that no anchor matches at IoU 0.5 ({title})"))
    table.add_column("class")
    table.add_column("√area at the input", justify="right")
    for column in ("objects", "unmatched", "after the fit"):
        table.add_column(column, justify="right")
    for group in found.groups:
        low, high = group.size_px
        missed = [
            f"{count} ({count / group.objects:.0%})"
            for count in (group.objects - group.reached, group.objects - group.reached_fitted)
        ]
        size = f"{low:g}–{high:g} px" if math.isfinite(high) else f"{low:g} px and up"
        table.add_row(Text(group.class_name), size, str(group.objects), *missed)
    table.add_section()
    shares = [f"{share:.1%}" for share in (found.unreached, found.unreached_fitted)]
    table.add_row("all", "", str(len(found.best_iou)), *shares, style="bold")
    return table


def _histogram(found: AnchorReport) -> list[str]:
    """Draw best IoU as bars of text: the model's own anchors, then the fitted ones."""
    import numpy as np

    edges = np.linspace(0, 1, _BINS + 1)
    own, fitted = (np.histogram(best, edges)[0] for best in (found.best_iou, found.best_iou_fitted))
    unit = max(int(own.max()), int(fitted.max()), 1) / _BARS
    lines = ["best IoU   own anchors (█) and fitted anchors (░)"]
    for index in range(_BINS):
        for count, bar, start in (
            (own[index], "█", f"{edges[index]:.1f}–{edges[index + 1]:.1f}"),
            (fitted[index], "░", ""),
        ):
            lines.append(f"{start:<9}  {bar * round(count / unit):<{_BARS}}  {count}")
    return lines


def _summary(found: AnchorReport, config: SSDConfig) -> list[str]:
    shares = f"{found.unreached:.1%} of {len(found.best_iou)} objects are unmatched"
    lines = [f"{shares}, {found.unreached_fitted:.1%} after the fit"]
    if found.suggested == config.anchors:
        return [*lines, "no better anchors were found: keep the model's own"]
    lines.append("suggested (pixels of the input; old → new):")
    for old, new in zip(config.anchors, found.suggested, strict=True):
        changes = [
            f"{name} {_shown(before)} → {_shown(after)}" if before != after else f"{name} {_shown(after)}"
            for name, before, after in (
                ("size", (old.min_size, old.max_size), (new.min_size, new.max_size)),
                ("ratios", old.ratios, new.ratios),
            )
        ]
        lines.append(f"  level {new.size_hw[0]}x{new.size_hw[1]}: {', '.join(changes)}")
    if found.unreached_fitted > 0.05:
        height, width = config.input_size_hw
        lines.append(
            f"the rest is too small or too thin for the grid: try a larger input, such as --input-size "
            f"{height * 2}x{width * 2}, or a model with a finer first level"
        )
    return lines


def _shown(numbers: tuple[float | None, ...]) -> str:
    return "–".join(f"{number:.1f}" for number in numbers if number is not None)
