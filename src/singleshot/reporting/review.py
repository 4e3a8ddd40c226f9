"""`singleshot.review`: where a detector and the annotations disagree most, as a list and as a page with crops.

    review = singleshot.review("cards", "runs/first", out="review")     →  review/review.html, review/review.csv

Annotations that the model has learned by heart hide their errors. With `folds=5` five models are trained, and each
judges the fifth of the images that it has not seen; images that look alike are in one fold. The ranking is that of
`metrics.disagreements`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy import ndarray

from singleshot.data import divide, read, split_groups
from singleshot.data.faults import OnBad, refuse_or_list
from singleshot.data.split_file import SplitFile
from singleshot.errors import DataError, Fault, SingleshotError, UsageError
from singleshot.evaluation.loop import check_classes, eval_loader, predictions
from singleshot.evaluation.voc import CollectDetections
from singleshot.images import read_image
from singleshot.metrics.disagreements import KINDS, Disagreement, disagreements
from singleshot.prediction.load import load_detector
from singleshot.prediction.predictor import Detector
from singleshot.reporting import page
from singleshot.reporting.detections import beside, crop
from singleshot.reporting.page import Album, Html
from singleshot.storage import atomic
from singleshot.structures import Dataset, Detections
from singleshot.training.recipe import Recipe
from singleshot.training.run import train
from singleshot.weights import BackboneFile, read_any

PAGE, LIST = "review.html", "review.csv"
ROWS = 100
COLUMNS = (
    "rank",
    "kind",
    "surprise",
    "image",
    "file",
    "annotated",
    "box_xyxy",
    "detected",
    "score",
    "detected_xyxy",
    "iou",
)
MEANINGS = {
    "missing": "a detection on no annotation: draw the box, or leave it",
    "spurious": "an annotation where the model finds nothing of its class: delete the box, or leave it",
    "wrong class": "an annotation where the model finds another class: rename the box, or leave it",
    "poor box": "an annotation beside what the model finds: move the box, or leave it",
}


@dataclass(frozen=True)
class Review:
    """The disagreements of a data set, ranked.

    Args:
        dataset: the images that were reviewed, without those that could not be read.
        found: by image, what the model detects at every score.
        rows: the most surprising first.
        faults: boxes and images that were left out.
        warnings: such as: the model was trained on these images.
    """

    dataset: Dataset
    found: list[Detections]
    rows: list[Disagreement]
    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return the number of rows by kind."""
        return {kind: sum(row.kind == kind for row in self.rows) for kind in KINDS}

    def as_json(self) -> dict[str, Any]:
        """Return `images`, `annotations`, `counts` and the `rows`; boxes are xyxy in pixels of the image."""
        return {
            "images": len(self.dataset),
            "annotations": sum(len(sample.class_ids) for sample in self.dataset.samples),
            "left_out": len(self.faults),
            "counts": self.counts(),
            "rows": [self.facts(rank, row) for rank, row in enumerate(self.rows, start=1)],
        }

    def facts(self, rank: int, row: Disagreement) -> dict[str, Any]:
        """Return one row as JSON; what it does not have is null."""
        sample, found, names = self.dataset.samples[row.index], self.found[row.index], self.dataset.label_map.names
        annotated, detected = row.annotation, row.detection
        facts = {
            "rank": rank,
            "kind": row.kind,
            "surprise": round(row.surprise, 4),
            "image": sample.image_id,
            "file": str(sample.image_path),
            "annotated": None if annotated is None else names[int(sample.class_ids[annotated])],
            "box_xyxy": None if annotated is None else _rounded(sample.boxes_xyxy[annotated]),
            "detected": None if detected is None else names[int(found.class_ids[detected])],
            "score": None if row.score is None else round(row.score, 4),
            "detected_xyxy": None if detected is None else _rounded(found.boxes_xyxy[detected]),
            "iou": round(row.iou, 4),
        }
        return {name: facts[name] for name in COLUMNS}

    def pre_annotated(self) -> list[tuple[Path, Detections]]:
        """Return, for a label tool, each listed image once, the most surprising first, with its boxes.

        These are the annotated boxes as they are, with a score of 1, and after them the listed missing ones, with
        theirs. Nothing is deleted or renamed: that is for a person to decide.
        """
        result = []
        for index in dict.fromkeys(row.index for row in self.rows):
            sample, found = self.dataset.samples[index], self.found[index]
            missing = [row.detection for row in self.rows if row.index == index and row.kind == "missing"]
            added = found[np.array(missing, np.int64)]
            boxes_xyxy = np.concatenate([sample.boxes_xyxy.astype(np.float32), added.boxes_xyxy])
            class_ids = np.concatenate([sample.class_ids, added.class_ids]).astype(np.int64)
            scores = np.concatenate([np.ones(len(sample.class_ids), np.float32), added.scores])
            names = self.dataset.label_map.names_of(class_ids)
            result.append((sample.image_path, Detections(boxes_xyxy, scores, class_ids, names, found.size_hw)))
        return result


def review(
    data: str | Path | Dataset,
    weights: str | Path | Detector | None = None,
    *,
    out: str | Path | None = None,
    folds: int | None = None,
    recipe: Recipe | None = None,
    split: str | None = None,
    splits: SplitFile | None = None,
    data_format: str | None = None,
    count: int | None = ROWS,
    on_bad: OnBad = "fail",
    device: str = "auto",
    workers: int = 0,
    overwrite: bool = False,
    on_start: Callable[[str], None] | None = None,
) -> Review:
    """Rank the disagreements between a detector and the annotations, and write them as a page and a list.

    Args:
        data: a folder, or a split that was read already. Nothing is written into the folder.
        weights: a run's folder, a weights file or a detector; not with `folds`, which trains its own.
        out: the folder of `review.html` and `review.csv`, and with `folds` of the runs. None writes nothing, which
            `folds` do not allow.
        folds: how many models to train, 2 or more: each judges images that it has not been trained on.
        recipe: of these; None for the default one. Weights of a run of one's own are not started from.
        split: of a folder; None for all its images.
        splits: take the split from here in place of the folder's own.
        data_format: the folder's layout; None to recognise it.
        count: how many rows at most; None for all.
        on_bad: refuse faulty data, or leave out what is faulty: `faults` lists it.
        device: where a weights file is opened, see `load`.
        workers: processes that read images.
        overwrite: replace `review.html`, `review.csv` and the runs of an earlier review in `out`.
        on_start: is called with a line for each fold.

    Raises:
        UsageError: neither weights nor folds, or both; folds without `out`, of fewer than 2, or of more than there
            are groups of images that look alike; `out` is in the data folder, or has such files.
        DataError: there is no image; the weights are of a segmenter, or know other classes than the annotations.
        FaultyDataError, InputMissingError, ConfigError: as readers and training say.
    """
    if (weights is None) == (folds is None):
        raise UsageError("give either weights or folds", remedy="Folds train models of their own")
    target = None if out is None else Path(out)
    if target is not None:
        _check_target(target, data.root if isinstance(data, Dataset) else Path(data), overwrite)
    model = None
    if weights is not None:
        model = weights if isinstance(weights, Detector) else load_detector(weights_of(weights), device=device)
    dataset, warnings = _read(data, weights, model, split, splits, data_format)
    faults = refuse_or_list([dataset], on_bad)
    if not len(dataset):
        raise DataError("no image to review", kind="no-picture", remedy="Name another split", file=dataset.root)
    if model is not None:
        dataset, found, unreadable = _judged(model, dataset, workers, on_bad)
    elif target is not None:
        options = {"recipe": recipe, "out": target, "overwrite": overwrite, "on_start": on_start}
        dataset, found, unreadable = _judged_in_folds(dataset, folds or 0, workers, on_bad, **options)
    else:
        raise UsageError("folds are trained in a folder", remedy="Name one as out")
    rows = disagreements(dataset.samples, found)[:count]
    result = Review(dataset, found, rows, (*faults, *unreadable), tuple(warnings))
    if target is not None:
        write_list(target / LIST, result)
        page.write(target / PAGE, review_page(result))
    return result


def weights_of(run: str | Path) -> str | Path:
    """Return the best weights in a run's folder; anything else as it is, for `load` to find."""
    best = Path(run) / "best.safetensors"
    return best if best.is_file() else run


def fold_of(dataset: Dataset, folds: int) -> list[int]:
    """Return the fold of each image, 0…folds−1; images that look alike are in one, and classes in proportion.

    Raises UsageError for fewer than 2 folds, or more than there are groups of images that look alike.
    """
    if folds < 2:
        raise UsageError(f"{folds} folds", remedy="Give 2 or more: each model is trained on all folds but one")
    counts = np.zeros((len(dataset), len(dataset.label_map)))
    for row, sample in zip(counts, dataset.samples, strict=True):
        np.add.at(row, sample.class_ids, 1)
    images = [sample.image_path for sample in dataset.samples]
    found = split_groups.groups(images, "group")
    if len(set(found.ids)) < folds:
        message = f"the images make {len(set(found.ids))} groups that look alike, too few for {folds} folds"
        raise UsageError(message, remedy="Give fewer folds, or more images")
    shares = {str(fold): 1 / folds for fold in range(folds)}
    return list(map(int, split_groups.assign(found.ids, [str(image) for image in images], counts, shares)))


def without_own_weights(recipe: Recipe | None, on_start: Callable[[str], None] | None = None) -> Recipe | None:
    """Return the recipe without weights that some run trained: they may know the images that a fold is to judge.

    Published weights, by their names, and backbones that were trained without labels stay.
    """
    if recipe is None or recipe.weights is None or not Path(recipe.weights).is_file():
        return recipe
    if isinstance(read_any(Path(recipe.weights)), BackboneFile):
        return recipe
    if on_start is not None:
        on_start(f"the folds do not start from {recipe.weights}, which may have been trained on these images")
    return replace(recipe, weights=None)


def _check_target(out: Path, data: Path, overwrite: bool) -> None:
    """Refuse a folder in the data folder, and one with files that would be replaced."""
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise UsageError("is in the data folder, which is never written to", remedy="Choose another --out", file=out)
    for name in (PAGE, LIST):
        if (out / name).exists() and not overwrite:
            raise UsageError("already exists", remedy="Choose another --out or pass --overwrite", file=out / name)


def _read(
    data: str | Path | Dataset,
    weights: str | Path | Detector | None,
    model: Detector | None,
    split: str | None,
    splits: SplitFile | None,
    layout: str | None,
) -> tuple[Dataset, list[str]]:
    """Return the images to review and a warning where the model was trained on them."""
    if isinstance(data, Dataset):
        return data, []
    root = Path(data)
    if split is None and splits is None:
        split = read.choose(root, (), layout=layout)
    options: dict[str, Any] = {"layout": layout, "label_map": None if model is None else model.label_map}
    file = Path(weights_of(weights)) if isinstance(weights, str | Path) else None
    dataset, warnings = divide.for_evaluation(root, split, weights=file, splits=splits, **options)
    hint = "errors that the model has learned by heart are not found: use folds"
    return dataset, [f"{warning.partition(':')[0]}: {hint}" for warning in warnings]


def _judged(
    model: Detector, dataset: Dataset, workers: int, on_bad: OnBad
) -> tuple[Dataset, list[Detections], list[Fault]]:
    """Return the images that could be read, what is detected in them, and the faults of the others."""
    check_classes(model, dataset)
    collected = CollectDetections(dataset)
    loader = eval_loader(model, dataset, workers=workers, on_bad=on_bad)
    for batch, _, results in predictions(model, loader):
        collected.update(batch, results)
    found, readable = collected.compute()
    return readable, found, list(loader.faults)


def _judged_in_folds(
    dataset: Dataset,
    folds: int,
    workers: int,
    on_bad: OnBad,
    *,
    recipe: Recipe | None,
    out: Path,
    overwrite: bool,
    on_start: Callable[[str], None] | None,
) -> tuple[Dataset, list[Detections], list[Fault]]:
    """Return the same as `_judged`, each image judged by the model that was trained on the other folds."""
    fold, recipe = fold_of(dataset, folds), without_own_weights(recipe, on_start)
    found: dict[Path, Detections] = {}
    faults: list[Fault] = []
    for number in range(folds):
        others = [sample for sample, of in zip(dataset.samples, fold, strict=True) if of != number]
        own = [sample for sample, of in zip(dataset.samples, fold, strict=True) if of == number]
        if on_start is not None:
            on_start(f"fold {number + 1} of {folds}: training on {len(others)} images, to judge {len(own)}")
        run = train(
            replace(dataset, samples=others, split=f"fold {number + 1}"),
            recipe,
            out=out / f"fold-{number + 1}",
            val_split=None,
            on_bad=on_bad,
            overwrite=overwrite,
        )
        part, results, unreadable = _judged(run.detector, replace(dataset, samples=own), workers, on_bad)
        found |= {sample.image_path: each for sample, each in zip(part.samples, results, strict=True)}
        faults += unreadable
    kept = [sample for sample in dataset.samples if sample.image_path in found]
    return replace(dataset, samples=kept), [found[sample.image_path] for sample in kept], faults


def write_list(file: Path, found: Review) -> None:
    """Write the rows as CSV, with a heading; boxes are four numbers with spaces between them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rank, row in enumerate(found.rows, start=1):
        values = found.facts(rank, row).values()
        writer.writerow(" ".join(map(str, each)) if isinstance(each, list) else each for each in values)
    atomic.write_text(file, text.getvalue())


def review_page(found: Review) -> str:
    """Return the page: counts, what the kinds mean, and each row with its part of the image."""
    facts = found.as_json()
    counts = found.counts()
    lead = [
        page.tiles([("images", facts["images"]), ("annotations", facts["annotations"]), *counts.items()]),
        *(page.paragraph(f"{warning[:1].upper()}{warning[1:]}.", "note") for warning in found.warnings),
        page.paragraph(
            "Where the model and the annotations disagree most, the most surprising first. Annotations are blue, what "
            "the model detects is orange. The model may be wrong: each row is a question."
        ),
    ]
    kinds = page.table(("kind", "rows", ""), [(kind, counts[kind], MEANINGS[kind]) for kind in KINDS], words=(0, 2))
    album = Album()
    shots = [_shot(found, rank, row, album) for rank, row in enumerate(found.rows, start=1)]
    ranked = Html(f"<div class='grid'>{''.join(shots)}</div>") if shots else page.paragraph("There is none.")
    sections = [page.section("Disagreements", ranked), page.section("What the kinds mean", kinds)]
    if found.faults:
        lines = [page.element("li", str(fault)) for fault in found.faults]
        sections.append(page.section("Left out", Html(f"<ul>{''.join(lines)}</ul>")))
    return page.document(f"Review of {found.dataset.root.resolve().name}", page.joined(lead), sections)


def _shot(found: Review, rank: int, row: Disagreement, album: Album) -> Html:
    """Return the part of an image around a row's boxes, with all annotations and the row's detection."""
    facts, sample, detected = found.facts(rank, row), found.dataset.samples[row.index], found.found[row.index]
    caption = f"{rank}. {row.kind}: {_what(facts)}, in {sample.image_id}"
    try:
        image: ndarray = read_image(sample.image_path)
    except SingleshotError:
        return page.paragraph(f"{caption} (the image could not be read)", "soft")
    boxes = [facts[name] for name in ("box_xyxy", "detected_xyxy") if facts[name] is not None]
    corners = np.array(boxes, np.float64)
    around = np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])
    part, (left, top) = crop(image, around)
    factor = max(1, round(240 / max(part.shape[:2])))
    part = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) if factor > 1 else part
    shift = np.array([left, top, left, top])
    own = range(len(sample.class_ids)) if row.annotation is None else [row.annotation]
    names = [found.dataset.label_map.names[int(sample.class_ids[each])] for each in own]
    truths = (sample.boxes_xyxy[list(own)].astype(np.float64).reshape(-1, 4) - shift) * factor
    other = [] if row.detection is None else [row.detection]
    results = (detected.boxes_xyxy[other].astype(np.float64).reshape(-1, 4) - shift) * factor
    labels = [f"{facts['detected']} {facts['score']:.2f}" for _ in other]
    return album.image(beside(part, truths, names, results, labels, width=240), caption, width=240)


def _what(facts: dict[str, Any]) -> str:
    """Return what is annotated and what is detected: `car, detected as bus 0.93`."""
    seen = "" if facts["detected"] is None else f"{facts['detected']} {facts['score']:.2f}"
    if facts["kind"] == "wrong class":
        return f"{facts['annotated']}, detected as {seen}"
    if facts["kind"] == "poor box":
        return f"{facts['annotated']}, detected with an overlap of {facts['iou']:.2f}"
    return seen or facts["annotated"]


def _rounded(box: ndarray) -> list[float]:
    return [round(float(edge), 2) for edge in box]
