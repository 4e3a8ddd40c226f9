"""`singleshot report A B …`: a page that compares training runs with the first of them.

From the runs' folders: the fields in which their recipes differ, and their curves over one another. With data, the best
weights of each are evaluated on the same images (`comparison_on_data`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from singleshot.config import to_json_dict
from singleshot.data.split_file import SplitFile
from singleshot.errors import DataError, InputMissingError, UsageError
from singleshot.evaluation.paired import Paired
from singleshot.prediction.load import load
from singleshot.reporting import page, training
from singleshot.reporting.charts import Frame, Line, chart, thinned
from singleshot.reporting.comparison_on_data import NamedModel, class_table, compare_on_data, verdict
from singleshot.reporting.page import Html
from singleshot.reporting.pages import machine
from singleshot.reporting.report import SplitChoice
from singleshot.storage.files import file_bytes
from singleshot.training.recipe import Recipe
from singleshot.training.run import this_command

LONGEST_VALUE = 120
"""Characters of a field's value in the table of differences."""
MAX_RECIPE_BYTES = 1 << 20
CHARTS = (
    ("Score of the validation split", ("val_map", "val_miou", "val_maxf"), False),
    ("Loss of classes, training", ("train_class", "train_pixel"), True),
    ("Loss of boxes, training", ("train_box",), True),
    ("Loss of classes, validation", ("val_class", "val_pixel"), True),
    ("Loss of boxes, validation", ("val_box",), True),
    ("Learning rate", ("lr",), False),
)


@dataclass(frozen=True)
class ComparedRun(NamedModel):
    """A run as its folder shows it; the model is its best weights.

    Args:
        recipe: the fields of its recipe by dotted name, as JSON values.
        log: the rows of its `log.csv`.
    """

    recipe: Mapping[str, Any]
    log: Sequence[training.Row]

    def summary(self) -> dict[str, Any]:
        """Return its name, model, epochs, steps, best validation score and seconds; None for what its log lacks."""
        scores = [row[name] for row in self.log for name in CHARTS[0][1] if row.get(name) is not None]
        last = self.log[-1] if self.log else {}
        return {
            "run": self.name,
            "model": self.recipe["model"],
            "epochs": len(self.log),
            "steps": None if last.get("step") is None else int(last["step"] or 0),
            "best_val_score": max(filter(None, scores), default=None),
            "seconds": last.get("seconds"),
        }


@dataclass(frozen=True)
class Comparison:
    """What `compare_runs` wrote.

    Args:
        page: the file.
        runs: a summary of each run.
        recipe: the fields in which recipes differ, each with its value by run.
        paired: the mean and each class with intervals, AP of detectors and IoU of segmenters, if they were evaluated.
        notes: sentences on images that were trained on, and on images and boxes that are left out.
    """

    page: Path
    runs: Sequence[Mapping[str, Any]]
    recipe: Mapping[str, Sequence[Any]]
    paired: Sequence[Paired] = ()
    notes: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what `report --json` writes: lists are in the order of the runs.

        `map` is null without data and of segmenters, for which `miou` and `iou` are added.
        """
        by_class = {each.name: each.as_json() for each in self.paired if each.name is not None}
        mean = next((each.as_json() for each in self.paired if each.name is None), None)
        fields = {"page": str(self.page), "runs": list(self.runs), "recipe": dict(self.recipe)}
        if self.paired and self.paired[0].unit == "pixels":
            return fields | {"map": None, "ap": {}, "miou": mean, "iou": by_class}
        return fields | {"map": mean, "ap": by_class}


def compare_runs(
    runs: Sequence[str | Path],
    *,
    data: str | Path | None = None,
    split: str = "val",
    splits: SplitFile | None = None,
    data_format: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    workers: int = 0,
) -> Comparison:
    """Write a page that compares runs with the first of them.

    Args:
        runs: their folders, two or more.
        data: a folder with images to evaluate their best weights on; None compares recipes and curves only.
        split: the list of images there. Where a run divided the folder itself, its splits are used.
        splits: take the split from here in place of the folder's own.
        data_format: the folder's layout; None to find out.
        out: where to write; None for `comparison.html` in the first run's folder.
        overwrite: replace an existing file. A report of ours is always replaced.
        workers: processes that read images.

    Raises:
        UsageError: fewer than two runs, one twice, or data for both detectors and segmenters.
        InputMissingError: a folder has no run.
        CannotCreateError: another file exists there.
        DataError: the runs have other classes, or divided the folder in other ways; or images have no masks.
    """
    folders = [Path(each) for each in runs]
    if len({each.resolve() for each in folders}) < max(2, len(folders)):
        raise UsageError("a comparison takes two or more different runs", remedy="Name their folders")
    target = Path(out) if out is not None else folders[0] / "comparison.html"
    page.check_target(target, overwrite=overwrite)
    distinct = len({each.name for each in folders}) == len(folders)
    compared = [_read(folder, folder.name if distinct else str(folder)) for folder in folders]
    names = [each.name for each in compared]
    differences = recipe_differences([each.recipe for each in compared])
    sections = [
        page.section("Runs", _summaries(compared)),
        page.section("Recipes", _recipe_table(differences, names)),
        page.section("Curves", curves(names, [each.log for each in compared])),
    ]
    lead = [page.paragraph(Html(f"Made by {page.element('code', this_command())}"), "soft")]
    paired: Sequence[Paired] = ()
    notes: Sequence[str] = ()
    if data is None:
        lead.append(page.paragraph("Nothing was evaluated: the page was made without data (--data).", "note"))
    else:
        shown = compare_on_data(compared, SplitChoice(Path(data), split, splits, data_format, workers))
        paired, mean, notes = shown.paired, shown.paired[0], shown.notes
        lead += [page.paragraph(note, "note") for note in notes]
        lead.append(page.tiles([(f"{shown.score} of {name}", v) for name, v in zip(names, mean.values, strict=True)]))
        lead.append(page.paragraph(verdict(mean, names)))
        sections[1:1] = [
            page.section("By class", class_table(paired, names)),
            page.section("Images on which they differ most", shown.most_different),
        ]
        size = f"{len(shown.dataset)} images of {shown.dataset.split}, {mean.truths:,} {mean.unit}."
        lead.append(page.paragraph(size, "soft"))
    sections.append(page.section("Machine", page.table(("", ""), machine(), words=(0, 1))))
    title = f"Comparison of {', '.join(names)}"
    page.write(target, page.document(title, page.joined(lead), sections))
    return Comparison(target, [each.summary() for each in compared], differences, paired, notes)


def _read(folder: Path, name: str) -> ComparedRun:
    weights, file = folder / "best.safetensors", folder / "recipe.json"
    for needed in (weights, file):
        if not needed.is_file():
            remedy = "Name the folder that singleshot train --out made"
            raise InputMissingError(f"no run: it has no {needed.name}", remedy=remedy, file=folder)
    try:
        recipe = Recipe.from_json(file_bytes(file, MAX_RECIPE_BYTES).decode("utf-8"))
    except ValueError as error:
        raise DataError("not JSON", remedy="Name a run whose recipe is intact", file=file) from error
    log = training.read_log(folder / "log.csv")
    return ComparedRun(name, weights, load(weights), flattened(to_json_dict(recipe)), log)


def flattened(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested fields by their dotted names; lists stay whole.

    >>> flattened({"seed": 0, "optimizer": {"lr": 0.1, "steps": [1, 2]}})
    {'seed': 0, 'optimizer.lr': 0.1, 'optimizer.steps': [1, 2]}
    """
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def recipe_differences(recipes: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the fields in which recipes differ, each with its value by recipe; None where a recipe lacks it.

    >>> recipe_differences([{"seed": 0, "batch_size": 16}, {"seed": 1, "batch_size": 16}])
    {'seed': [0, 1]}
    """
    names = dict.fromkeys(name for recipe in recipes for name in recipe)
    rows = {name: [recipe.get(name) for recipe in recipes] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _recipe_table(differences: Mapping[str, Sequence[Any]], names: Sequence[str]) -> Html:
    if not differences:
        return page.paragraph("The recipes are equal.")
    rows = []
    for name, values in differences.items():
        shown = [json.dumps(value, ensure_ascii=False) for value in values]
        shown = [text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…" for text in shown]
        rows.append((name, *(page.element("code", text) for text in shown)))
    return page.table(("field", *names), rows, words=range(len(names) + 1))


def _summaries(runs: Sequence[ComparedRun]) -> Html:
    rows = []
    for run in runs:
        facts = run.summary()
        seconds = facts["seconds"]
        rows.append((*list(facts.values())[:5], None if seconds is None else f"{seconds:.0f}"))
    return page.table(("run", "model", "epochs", "steps", "best validation score", "seconds"), rows, words=(0, 1))


def curves(names: Sequence[str], logs: Sequence[Sequence[training.Row]]) -> Html:
    """Return the runs' curves over one another: scores, losses and learning rate by epoch, and the score by minutes.

    Args:
        names: of the runs.
        logs: the rows of their `log.csv`. A run without rows has no line.
    """
    charts = []
    for title, columns, log in CHARTS:
        column = next((name for name in columns for rows in logs for row in rows if row.get(name) is not None), None)
        if column is None:
            continue
        top = (0.0, 1.0) if column in CHARTS[0][1] else None
        axes = [("epoch", "epoch", 1.0)] + ([("minutes of training", "seconds", 60.0)] if top else [])
        for label, x_name, unit in axes:
            lines = [
                thinned(Line(name, _column(rows, x_name) / unit, _column(rows, column)))
                for name, rows in zip(names, logs, strict=True)
            ]
            charts.append(page.figure(chart(lines, Frame(title, label, top, log_y=log))))
    if not charts:
        return page.paragraph("No run has finished an epoch.", "soft")
    return Html(f"<div class='charts'>{''.join(charts)}</div>")


def _column(rows: Sequence[training.Row], name: str) -> ndarray:
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], np.float64)
