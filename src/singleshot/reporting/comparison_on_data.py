"""What a comparison of runs shows of data: their best weights on the same images, class by class and image by image.

Of detectors AP, of segmenters IoU, with intervals and whether a difference is more than chance (`evaluation.paired`),
and the images on which a run differs most from the first one, side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Real, UInt8
from numpy import ndarray

from singleshot.errors import DataError, UsageError
from singleshot.evaluation.evaluate import check_masks
from singleshot.evaluation.loop import eval_loader, predictions
from singleshot.evaluation.paired import Bounds, Paired, compare_detectors, compare_segmenters
from singleshot.evaluation.voc import CollectDetections, as_text
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.error_kinds import FOUND, PASSED_OVER, RIGHT, UNCOUNTED, error_kinds
from singleshot.metrics.mean_iou import class_iou, confusion, mean_over_classes, pixels_by_class
from singleshot.metrics.voc_ap import Metric as VocMetric
from singleshot.prediction.predictor import Predictor
from singleshot.reporting import page
from singleshot.reporting.detections import whole_image
from singleshot.reporting.masks import side_by_side
from singleshot.reporting.page import Album, Html
from singleshot.reporting.pages import ERRORS_AT
from singleshot.reporting.report import SplitChoice, left_out
from singleshot.structures import Dataset, Segmentation

IMAGES = 4
"""Images in each direction on which two runs differ most."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class NamedModel:
    """A model and where it comes from.

    Args:
        name: by which the page calls it; no two have the same.
        weights: its file, in the folder of its run.
        model: a detector or a segmenter.
    """

    name: str
    weights: Path
    model: Predictor[Any, Any]


@dataclass(frozen=True)
class OnData:
    """What models give on the same images.

    Args:
        dataset: the split, without images that could not be read.
        score: what was computed: `mAP (voc12)`, or `mean IoU`.
        paired: the mean, then each class.
        most_different: the images on which a model differs most from the first one.
        notes: sentences on images that were trained on, and on images and boxes that are left out.
    """

    dataset: Dataset
    score: str
    paired: Sequence[Paired]
    most_different: Html
    notes: Sequence[str]


def compare_on_data(models: Sequence[NamedModel], choice: SplitChoice) -> OnData:
    """Evaluate models on the same images and compare each with the first.

    Args:
        models: two or more, either detectors or segmenters.
        choice: the images.

    Raises:
        UsageError: there are detectors and segmenters among them.
        DataError: they have other classes, or their runs divided the folder in other ways; or images have no masks.
    """
    if len({each.model.task for each in models}) > 1:
        raise UsageError("detectors and segmenters are not compared on the same images", remedy="Omit --data")
    dataset, notes = _read(models, choice)
    compare = {"detection": _compare_detectors, "segmentation": _compare_segmenters}[models[0].model.task]
    score, paired, readable, most_different = compare(models, dataset, choice.workers)
    notes += [f"Annotations that are {name}: {what}." for name, what in left_out(dataset, ())]
    if len(readable) < len(dataset):
        notes.append(f"{len(dataset) - len(readable)} images could not be read and are left out.")
    return OnData(readable, score, paired, most_different, notes)


def _read(models: Sequence[NamedModel], choice: SplitChoice) -> tuple[Dataset, list[str]]:
    """Return the split that all models are evaluated on, and notes on it."""
    first, notes = None, []
    for each in models:
        dataset, warnings = choice.read(each.model, each.weights)
        first = first or dataset
        folder = each.weights.parent
        if dataset.label_map != first.label_map:
            message = f"{each.name} has other classes than {models[0].name}"
            raise DataError(message, kind="other-classes", remedy="Compare runs of the same classes", file=folder)
        if [sample.image_path for sample in dataset.samples] != [sample.image_path for sample in first.samples]:
            message = f"{each.name} has other images in {choice.split} than {models[0].name}"
            remedy = f"Pass --splits {models[0].weights.parent / 'split.json'}, whose images are then evaluated for all"
            raise DataError(message, kind="other-images", remedy=f"{remedy} runs", file=folder)
        notes += [f"{each.name}: {warning}." for warning in warnings]
    if first is None:
        raise ValueError("no models to compare")
    return first, notes


def _common(results: Sequence[Mapping[int, Result]], dataset: Dataset) -> tuple[list[list[Result]], Dataset]:
    """Return results by model and image, and the split, of the images that have a result of every model."""
    readable = sorted(set.intersection(*(set(each) for each in results)))
    samples = [dataset.samples[index] for index in readable]
    return [[each[index] for index in readable] for each in results], replace(dataset, samples=samples)


def _compare_detectors(
    models: Sequence[NamedModel], dataset: Dataset, workers: int
) -> tuple[str, list[Paired], Dataset, Html]:
    results = []
    for each in models:
        collected = CollectDetections(dataset)
        loader = eval_loader(each.model, dataset, workers=workers, on_bad="skip")
        for batch, _, detections in predictions(each.model, loader):
            collected.update(batch, detections)
        results.append(collected.state())
    found, readable = _common(results, dataset)
    metric: VocMetric = "voc07" if models[0].model.provenance.get("metric") == "voc07" else "voc12"
    paired = compare_detectors(found, readable, metric=metric)
    names, album = [each.name for each in models], Album()
    truths, classes = GroundTruths.from_samples(readable.samples), len(readable.label_map)
    flat = [FlatDetections.from_images([each.above(ERRORS_AT) for each in images]) for images in found]
    counts = [image_counts(each, truths, classes, len(readable)) for each in flat]
    gains = [right - false for right, false, _ in counts]

    def shown(index: int, other: int) -> Html:
        shots = []
        for run in (0, other):
            right, false, objects = (int(each[index]) for each in counts[run])
            caption = f"{names[run]} on {readable.samples[index].image_id}: {right} of {objects} found, {false} false"
            shots.append(whole_image(readable, index, flat[run], truths, caption, album))
        return page.joined(shots)

    note = f"By objects found less false detections, at a score of {ERRORS_AT:g}. "
    note += "Annotated boxes are blue, detected ones orange."
    changes = [gain - gains[0] for gain in gains[1:]]
    return f"mAP ({metric})", paired, readable, most_different(names, changes, shown, note)


def _compare_segmenters(
    models: Sequence[NamedModel], dataset: Dataset, workers: int
) -> tuple[str, list[Paired], Dataset, Html]:
    check_masks(dataset)
    classes = len(dataset.label_map)
    results = []
    for each in models:
        masks = _masks(each.model, dataset, workers, lambda ids, truth: pixels_by_class(confusion(truth, ids, classes)))
        results.append(masks)
    by_image, readable = _common(results, dataset)
    pixels = [np.array(images, np.int64).reshape(-1, 3, classes) for images in by_image]
    paired = compare_segmenters(pixels, readable.label_map.names)
    names, album = [each.name for each in models], Album()
    scores = [mean_over_classes(class_iou(each)) for each in pixels]
    changes = [np.nan_to_num(each - scores[0]) for each in scores[1:]]
    # The masks of a whole split are too large to keep: those of the few images on the page are predicted once more.
    wanted = sorted({index for change in changes for few in most_changed(change) for index in few})
    few = replace(readable, samples=[readable.samples[index] for index in wanted])
    masks = [_masks(each.model, few, 0, lambda ids, truth: (ids, truth)) for each in models]

    def shown(index: int, other: int) -> Html:
        first, second = (f"{scores[run][index]:.3f} of {names[run]}" for run in (0, other))
        caption = f"{readable.samples[index].image_id}: mean IoU {first} (left) and {second} (middle); right the truth"
        place = wanted.index(index)
        pair = [masks[run].get(place) for run in (0, other)]
        if pair[0] is None or pair[1] is None:
            return page.paragraph(f"{caption} (the image could not be read)", "soft")
        return side_by_side(readable, index, (pair[0][0], pair[1][0], pair[0][1]), caption, album)

    note = "By the mean IoU over the classes of the image, in its mask or predicted."
    return "mean IoU", paired, readable, most_different(names, changes, shown, note)


def _masks(
    model: Predictor[Any, Any],
    dataset: Dataset,
    workers: int,
    keep: Callable[[UInt8[ndarray, "H W"], UInt8[ndarray, "H W"]], Result],
) -> dict[int, Result]:
    """Return, by index, what `keep` makes of the predicted and the true class ids; images without a mask left out."""
    kept: dict[int, Result] = {}
    results: Sequence[Segmentation]
    for batch, _, results in predictions(model, eval_loader(model, dataset, workers=workers, on_bad="skip")):
        for index, mask, result in zip(batch.indices.tolist(), batch.targets.masks, results, strict=True):
            if mask is not None:
                kept[index] = keep(result.class_ids, mask.numpy())
    return kept


def verdict(mean: Paired, names: Sequence[str]) -> str:
    """Return one sentence for each run but the first: whether its score differs by more than chance."""
    nothing = {"objects": "no object to find", "pixels": "no pixel to evaluate"}[mean.unit]
    sentences = []
    for index, name in list(enumerate(names))[1:]:
        difference, bounds = mean.differences[index], mean.difference_intervals[index]
        if difference is None or bounds is None:
            sentences.append(f"{name} cannot be compared with {names[0]}: there is {nothing}.")
            continue
        interval = f"{difference:+.3f}, 95 % interval {bounds[0]:+.3f} to {bounds[1]:+.3f}"
        if mean.differs(index):
            better, worse = (name, names[0]) if difference > 0 else (names[0], name)
            sentences.append(f"{better} is better than {worse} by more than chance ({name}: {interval}).")
        else:
            sentences.append(f"{name} and {names[0]} differ by no more than chance ({interval}).")
    return " ".join(sentences)


def class_table(paired: Sequence[Paired], names: Sequence[str]) -> Html:
    """Return AP or IoU of every class and the mean, with intervals, and each difference from the first run."""
    pixels = paired[0].unit == "pixels"
    score, truths = ("IoU", "share of true pixels") if pixels else ("AP", "objects")
    columns = ["class", truths, *(f"{score} of {name}" for name in names)]
    for name in names[1:]:
        columns += [f"{name} less {names[0]}", "more than chance?"]
    rows = []
    for row in (*paired[1:], paired[0]):
        share = f"{row.truths / max(1, paired[0].truths):.1%}"
        cells: list[object] = [row.name or "mean", share if pixels else row.truths]
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


def most_different(
    names: Sequence[str], changes: Sequence[Real[ndarray, " N"]], shown: Callable[[int, int], Html], note: str
) -> Html:
    """Return, for each run but the first, the images on which it is most above and most below the first.

    Args:
        names: of the runs.
        changes: for each run but the first, how much better than the first it is on each image.
        shown: makes the copies of an image, from its index and that of the other run.
        note: how the difference is measured.
    """
    parts = [page.paragraph(note, "soft")]
    for other, change in enumerate(changes, 1):
        better, worse = most_changed(change)
        for name, indices in ((names[other], better), (names[0], worse)):
            parts.append(page.element("h3", f"{name} is better"))
            if not indices:
                parts.append(page.paragraph("On no image.", "soft"))
            parts += [Html(f"<div class='shots'>{shown(index, other)}</div>") for index in indices]
    return page.joined(parts)


def most_changed(change: Real[ndarray, " N"]) -> tuple[list[int], list[int]]:
    """Return the indices of the highest changes above 0 and of the lowest below it, up to `IMAGES` of each.

    >>> most_changed(np.array([0.0, 0.5, -0.25, 1.0]))
    ([3, 1], [2])
    """
    order = np.argsort(-change, kind="stable")
    better = [index for index in order[:IMAGES].tolist() if change[index] > 0]
    return better, [index for index in order[::-1][:IMAGES].tolist() if change[index] < 0]


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
