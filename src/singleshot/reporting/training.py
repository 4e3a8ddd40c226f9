"""The course of a training from its `log.csv`: losses by part, learning rate, score and speed over the epochs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from singleshot.errors import DataError
from singleshot.reporting import page
from singleshot.reporting.charts import Frame, Line, chart, thinned
from singleshot.reporting.page import Html

Row = Mapping[str, float | None]
SCORES = ("map", "miou", "maxf", "pixel_accuracy")
PARTS = ("class", "box", "pixel", "soft_iou")


def read_log(path: Path) -> list[Row]:
    """Return the rows of `log.csv`, one for each epoch; none without the file. Raises DataError for bad numbers."""
    if not path.is_file():
        return []
    rows: list[Row] = []
    with path.open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            try:
                rows.append({name: float(value) if value else None for name, value in row.items() if name})
            except (TypeError, ValueError) as error:
                remedy = "Correct it, or delete it"
                raise DataError("not a row of numbers", remedy=remedy, file=path, line=number) from error
    return rows


def curves(rows: Sequence[Row]) -> Html:
    """Return losses, learning rate, score, AP by class and speed, each against the epoch."""
    if not rows:
        return page.paragraph("No epoch was finished: log.csv has no row.", "soft")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    losses = {f"{split}_{part}" for split in ("train", "val", "train_subset") for part in PARTS}
    losses = [name for name in columns if name in losses]
    scores = [name for name in columns if name.endswith(tuple(f"_{score}" for score in SCORES))]
    ap = [name for name in columns if name.startswith(("val_ap_", "val_iou_"))]
    charts = [
        _chart(rows, losses, "Loss by part", log=True),
        _chart(rows, [name for name in columns if name == "lr"], "Learning rate"),
        _chart(rows, scores, "Score of the validation split and of a part of the training split", top=1.0),
        _chart(rows, ap[:12], "Validation by class", strip="val_", top=1.0),
        _chart(rows, ["images_per_second"], "Images per second, in training"),
    ]
    last = [(name, rows[-1][name]) for name in (*losses, *scores) if rows[-1].get(name) is not None]
    return page.joined(
        [
            Html(f"<div class='charts'>{''.join(charts)}</div>"),
            page.table(("last epoch", ""), last),
        ]
    )


def speed(rows: Sequence[Row]) -> list[tuple[str, object]]:
    """Return seconds in all, steps, and images per second (the median over epochs), as names and values."""
    if not rows:
        return []
    rates = [rate for row in rows if (rate := row.get("images_per_second")) is not None]
    return [
        ("epochs", int(rows[-1].get("epoch") or 0)),
        ("steps", int(rows[-1].get("step") or 0)),
        ("seconds of training, validation included", f"{rows[-1].get('seconds') or 0:.0f}"),
        ("images per second in training (median)", f"{np.median(rates):.0f}" if rates else None),
    ]


def _chart(
    rows: Sequence[Row],
    names: Sequence[str],
    title: str,
    *,
    strip: str = "",
    log: bool = False,
    top: float | None = None,
) -> Html:
    epochs = np.array([row.get("epoch") or index + 1 for index, row in enumerate(rows)], np.float64)
    lines = []
    for name in names:
        values = np.array([np.nan if row.get(name) is None else row[name] for row in rows], np.float64)
        if np.isfinite(values).any():
            lines.append(thinned(Line(name.removeprefix(strip).replace("_", " "), epochs, values)))
    if not lines:
        return Html("")
    x_range = (float(epochs[0]), float(epochs[-1])) if len(epochs) > 1 else (0.0, 2.0)
    return page.figure(chart(lines, Frame(title, "epoch", (0.0, top) if top else None, x_range, log_y=log)))
