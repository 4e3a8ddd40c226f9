"""`singleshot report A B …`: a page that compares training runs with the first of them.

From the runs' folders: the fields in which their recipes differ, and their curves over one another. With data, the best
weights of each are evaluated on the same images: AP by class with intervals, whether a difference is more than chance
(`evaluation.paired`), and the images on which two runs differ most, side by side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from singleshot.config import to_json_dict
from singleshot.data.divide import for_evaluation
from singleshot.data.split_file import SplitFile
from singleshot.errors import DataError, InputMissingError, UsageError
from singleshot.evaluation.loop import check_classes, eval_loader, predictions
from singleshot.evaluation.paired import Bounds, Paired, compare_detectors
from singleshot.evaluation.voc import CollectDetections, as_text
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.error_kinds import FOUND, PASSED_OVER, RIGHT, UNCOUNTED, error_kinds
from singleshot.metrics.voc_ap import Metric as VocMetric
from singleshot.prediction.load import load
from singleshot.prediction.predictor import Predictor
from singleshot.reporting import page, training
from singleshot.reporting.charts import Frame, Line, chart, thinned
from singleshot.reporting.detections import whole_image
from singleshot.reporting.page import Album, Html
from singleshot.reporting.pages import ERRORS_AT, machine
from singleshot.storage.files import file_bytes
from singleshot.structures import Dataset, Detections
from singleshot.training.recipe import Recipe
from singleshot.training.run import this_command

IMAGES = 4
"""Images in each direction on which two runs differ most."""
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
class ComparedRun:
    """A run as its folder shows it.

    Args:
        name: by which the page calls it; no two runs have the same.
        folder: of the run.
        model: its best weights.
        recipe: the fields of its recipe by dotted name, as JSON values.
        log: the rows of its `log.csv`.
    """

    name: str
    folder: Path
    model: Predictor[Any, Any]
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
        paired: the mean AP and AP by class with intervals, if the runs were evaluated.
    """

    page: Path
    runs: Sequence[Mapping[str, Any]]
    recipe: Mapping[str, Sequence[Any]]
    paired: Sequence[Paired] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what `report --json` writes: lists are in the order of the runs; `map` is null without data."""
        by_class = {each.name: each.as_json() for each in self.paired if each.name is not None}
        mean = next((each.as_json() for each in self.paired if each.name is None), None)
        return {
            "page": str(self.page),
            "runs": list(self.runs),
            "recipe": dict(self.recipe),
            "map": mean,
            "ap": by_class,
        }


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
        UsageError: fewer than two runs, one twice, or data for segmenters, whose masks are not compared.
        InputMissingError: a folder has no run.
        CannotCreateError: another file exists there.
        DataError: the runs have other classes, or divided the folder in other ways.
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
    paired: list[Paired] = []
    if data is None:
        lead.append(page.paragraph("Nothing was evaluated: the page was made without data (--data).", "note"))
    else:
        if any(each.model.task == "segmentation" for each in compared):
            raise UsageError("masks of segmenters are not compared image by image", remedy="Omit --data")
        found, dataset, notes = _evaluate(compared, Path(data), split, splits, data_format, workers)
        metric: VocMetric = "voc07" if compared[0].model.provenance.get("metric") == "voc07" else "voc12"
        paired = compare_detectors(found, dataset, metric=metric)
        lead += [page.paragraph(note, "note") for note in notes]
        lead.append(
            page.tiles([(f"mAP ({metric}) of {name}", v) for name, v in zip(names, paired[0].values, strict=True)])
        )
        lead.append(page.paragraph(verdict(paired[0], names)))
        sections[1:1] = [
            page.section("By class", class_table(paired, names)),
            page.section("Images on which they differ most", _most_different(found, dataset, names)),
        ]
        lead.append(page.paragraph(f"{len(dataset)} images of {dataset.split}, {paired[0].objects} objects.", "soft"))
    sections.append(page.section("Machine", page.table(("", ""), machine(), words=(0, 1))))
    title = f"Comparison of {', '.join(names)}"
    page.write(target, page.document(title, page.joined(lead), sections))
    return Comparison(target, [each.summary() for each in compared], differences, paired)


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
    return ComparedRun(name, folder, load(weights), flattened(to_json_dict(recipe)), log)


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


def _evaluate(
    runs: Sequence[ComparedRun],
    data: Path,
    split: str,
    splits: SplitFile | None,
    data_format: str | None,
    workers: int,
) -> tuple[list[list[Detections]], Dataset, list[str]]:
    """Return the detections by run and image, the split without images that could not be read, and notes on it."""
    datasets, notes = [], []
    for run in runs:
        file = run.folder / "best.safetensors"
        options: dict[str, Any] = {"layout": data_format, "label_map": run.model.label_map, "with_masks": False}
        dataset, warnings = for_evaluation(data, split, weights=file, splits=splits, **options)
        check_classes(run.model, dataset)
        if datasets and dataset.label_map != datasets[0].label_map:
            message = f"{run.name} has other classes than {runs[0].name}"
            raise DataError(message, kind="other-classes", remedy="Compare runs of the same classes", file=run.folder)
        if datasets and [each.image_path for each in dataset.samples] != [
            each.image_path for each in datasets[0].samples
        ]:
            message = f"{run.name} has other images in {split} than {runs[0].name}"
            remedy = f"Pass --splits {runs[0].folder / 'split.json'}, whose images are then evaluated for all runs"
            raise DataError(message, kind="other-images", remedy=remedy, file=run.folder)
        datasets.append(dataset)
        notes += [f"{run.name}: {warning}." for warning in warnings]
    dataset, results = datasets[0], []
    for run in runs:
        collected = CollectDetections(dataset)
        for batch, _, found in predictions(run.model, eval_loader(run.model, dataset, workers=workers, on_bad="skip")):
            collected.update(batch, found)
        results.append(collected.state())
    readable = sorted(set.intersection(*(set(state) for state in results)))
    if len(readable) < len(dataset):
        notes.append(f"{len(dataset) - len(readable)} images could not be read and are left out.")
    found = [[state[index] for index in readable] for state in results]
    return found, replace(dataset, samples=[dataset.samples[index] for index in readable]), notes


def verdict(mean: Paired, names: Sequence[str]) -> str:
    """Return one sentence for each run but the first: whether its mAP differs by more than chance."""
    sentences = []
    for index, name in list(enumerate(names))[1:]:
        difference, bounds = mean.differences[index], mean.difference_intervals[index]
        if difference is None or bounds is None:
            sentences.append(f"{name} cannot be compared with {names[0]}: there is no object to find.")
            continue
        interval = f"{difference:+.3f}, 95 % interval {bounds[0]:+.3f} to {bounds[1]:+.3f}"
        if mean.differs(index):
            better, worse = (name, names[0]) if difference > 0 else (names[0], name)
            sentences.append(f"{better} is better than {worse} by more than chance ({name}: {interval}).")
        else:
            sentences.append(f"{name} and {names[0]} differ by no more than chance ({interval}).")
    return " ".join(sentences)


def class_table(paired: Sequence[Paired], names: Sequence[str]) -> Html:
    """Return AP of every class and the mean, with intervals, and each difference from the first run."""
    columns = ["class", "objects", *(f"AP of {name}" for name in names)]
    for name in names[1:]:
        columns += [f"{name} less {names[0]}", "more than chance?"]
    rows = []
    for row in (*paired[1:], paired[0]):
        cells: list[object] = [row.name or "mean", row.objects]
        cells += [_with_interval(value, row.intervals[index]) for index, value in enumerate(row.values)]
        for index in range(1, len(names)):
            bounds, difference = row.difference_intervals[index], row.differences[index]
            shown = None if difference is None else _with_interval(difference, bounds, "+")
            cells += [shown, "n/a" if bounds is None else "yes" if row.differs(index) else "no"]
        rows.append(cells)
    note = (
        "In brackets 95 % intervals: the images are drawn again with replacement, the same drawings for all runs. Of "
        "twenty classes one differs by more than chance by chance alone."
    )
    return page.joined([page.paragraph(note, "soft"), page.table(columns, rows, sums=1)])


def _with_interval(value: float | None, bounds: Bounds | None, sign: str = "") -> str:
    if value is None or bounds is None:
        return as_text(value)
    return f"{value:{sign}.3f} ({bounds[0]:{sign}.3f} to {bounds[1]:{sign}.3f})"


def _most_different(found: Sequence[Sequence[Detections]], dataset: Dataset, names: Sequence[str]) -> Html:
    """Return for each run but the first the images on which it is most above and most below the first."""
    truths, classes = GroundTruths.from_samples(dataset.samples), len(dataset.label_map)
    flat = [FlatDetections.from_images([each.above(ERRORS_AT) for each in results]) for results in found]
    counts = [image_counts(each, truths, classes, len(dataset)) for each in flat]
    album, parts = Album(), []
    for other in range(1, len(names)):
        change = (counts[other][0] - counts[other][1]) - (counts[0][0] - counts[0][1])
        order = np.argsort(-change, kind="stable")
        better = [index for index in order[:IMAGES].tolist() if change[index] > 0]
        worse = [index for index in order[::-1][:IMAGES].tolist() if change[index] < 0]
        for title, indices in ((f"{names[other]} is better", better), (f"{names[0]} is better", worse)):
            parts.append(page.element("h3", title))
            if not indices:
                parts.append(page.paragraph("On no image.", "soft"))
            for index in indices:
                shots = []
                for run in (0, other):
                    right, false, objects = (int(each[index]) for each in counts[run])
                    caption = f"{names[run]} on {dataset.samples[index].image_id}: {right} of {objects} found, "
                    caption += f"{false} false"
                    shots.append(whole_image(dataset, index, flat[run], truths, caption, album))
                parts.append(Html(f"<div class='shots'>{''.join(shots)}</div>"))
    note = f"By objects found less false detections, at a score of {ERRORS_AT:g}. "
    note += "Annotated boxes are blue, detected ones orange."
    return page.joined([page.paragraph(note, "soft"), *parts])


def image_counts(
    flat: FlatDetections, truths: GroundTruths, classes: int, images: int
) -> tuple[ndarray, ndarray, ndarray]:
    """Return (N,) objects found, (N,) false detections and (N,) objects to find, by image; difficult ones left out."""
    errors = error_kinds(flat, truths, classes)
    false = ~np.isin(errors.kinds, (RIGHT, PASSED_OVER))
    return (
        np.bincount(truths.image_indices[errors.fates == FOUND], minlength=images),
        np.bincount(flat.image_indices[false], minlength=images),
        np.bincount(truths.image_indices[errors.fates != UNCOUNTED], minlength=images),
    )
