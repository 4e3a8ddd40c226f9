"""A detector's results on a page: AP by class, curves with their operating points, confusion, errors with examples.

AP scores a ranking; a user has to pick a threshold on it. So every class's curve carries the points of four
thresholds, and a chart shows how AP falls as the threshold rises: high thresholds look better and score worse.

Of each kind of error the detections with the highest scores are shown, cut out with their surroundings: a detector
that is confident and wrong has either found an object that is not annotated, or learned something that it should not
have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from singleshot import boxes
from singleshot.drawing import draw, draw_boxes
from singleshot.errors import SingleshotError
from singleshot.evaluation.coco import CocoReport
from singleshot.evaluation.voc import THRESHOLDS, MeanAP, VocReport
from singleshot.images import read_image
from singleshot.metrics.curves import operating_point
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.error_kinds import (
    BACKGROUND,
    DUPLICATE,
    FATES,
    KINDS,
    MISSED,
    PASSED_OVER,
    POOR_BOX,
    RIGHT,
    WRONG_CLASS,
    Errors,
)
from singleshot.metrics.voc_ap import NO_OBJECT, ClassResult, above
from singleshot.reporting import page
from singleshot.reporting.charts import Frame, Line, Mark, chart, mark_legend, thinned
from singleshot.reporting.page import Album, Html, reduced
from singleshot.structures import Dataset, Detections

TRUTH_RGB, DETECTION_RGB = (86, 180, 233), (255, 150, 60)
"""Blue and orange, told apart by all eyes; both are bright enough for dark images."""
EACH = 6
WORST = 4
TITLES = {
    WRONG_CLASS: "Wrong class",
    POOR_BOX: "Poor box",
    DUPLICATE: "Duplicate",
    BACKGROUND: "Background taken for an object",
}
MAX_CURVES = 40
MAX_MATRIX_CLASSES = 24
PAIRS = 20
CURVES_NOTE = (
    "Recall is the share of objects that are found, precision the share of detections that are right. The marks are "
    "score thresholds: pick the one whose point suits you."
)
MEANINGS = {
    "right": "overlaps an object of its class by at least 0.5, and is the first to",
    "duplicate": "on an object that was found already: a stricter NMS would drop it",
    "wrong class": "a good box with another class: check the labels, and classes that look alike",
    "poor box": "the right class, overlap 0.1 to 0.5: default boxes that fit (singleshot data anchors), larger input",
    "background": "on no object: images without objects teach the difference",
    "ignored": "on a difficult object, which does not count",
}


def class_table(report: VocReport, coco: CocoReport | None = None) -> Html:
    """Return AP of every class, worst first, with precision and recall at a threshold of 0.5.

    Classes without objects come last.

    Args:
        report: by VOC's protocol.
        coco: by COCO's, whose AP is then the first column.
    """
    columns = ["class", "objects", *([] if coco is None else ["AP (coco)"]), f"AP ({report.metric})"]
    columns += ["precision at 0.5", "recall at 0.5"]
    own: MeanAP = report if coco is None else coco
    rows = []
    for name, result in sorted(report.curves.items(), key=lambda row: (own.ap[row[0]] is None, own.ap[row[0]] or 0)):
        recall, precision = operating_point(result, 0.5) or (None, None)
        if result.num_ground_truths and recall is None:
            recall = 0.0
        row: list[object] = [name, result.num_ground_truths, *([] if coco is None else [coco.ap[name]])]
        rows.append([*row, result.ap, precision, recall])
    mean: list[object] = ["mean", report.ground_truths, *([] if coco is None else [coco.map]), report.map, "", ""]
    return page.table(columns, [*rows, mean], sums=1)


def size_table(report: VocReport) -> Html:
    """Return the mAP by the size of objects; nothing where it was not asked for."""
    rows = [
        (f"{low:g}–{'…' if high == float('inf') else f'{high:g}'} px", band.ground_truths, band.map)
        for band in report.ap_by_size
        for low, high in [band.size_px]
    ]
    return page.table(("√area of object", "objects", "mAP"), rows) if rows else Html("")


def curves(report: VocReport) -> Html:
    """Return a small chart for each class, most objects first, with the points of the thresholds."""
    scored = [(name, result) for name, result in report.curves.items() if result.ap is not None]
    scored.sort(key=lambda row: -row[1].num_ground_truths)
    charts = [page.figure(_curve(name, result)) for name, result in scored[:MAX_CURVES]]
    left = len(scored) - len(charts)
    note = page.paragraph(f"{left} classes with fewer objects are not drawn; their AP is in the table.", "soft")
    return page.joined(
        [
            page.paragraph(CURVES_NOTE, "soft"),
            mark_legend([f"{threshold:g}" for threshold in THRESHOLDS]),
            Html(f"<div class='charts'>{''.join(charts)}</div>"),
            note if left > 0 else Html(""),
        ]
    )


def corners(recall: Float[ndarray, " N"]) -> Int[ndarray, " K"]:
    """Return the points of a precision-recall curve at which recall rises, the last before each, and the last of all.

    The others lie on vertical lines between these: false detections lower precision and leave recall. A detector has
    thousands of them at low scores, among which evenly spaced points would miss the few that matter.

    >>> corners(np.array([0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0])).tolist(), corners(np.zeros(0)).tolist()
    ([0, 3, 4, 6], [])
    """
    rises = np.flatnonzero(np.diff(recall, prepend=0.0) > 0)
    return np.unique(np.concatenate([rises, rises[rises > 0] - 1, np.arange(len(recall))[-1:]]))


def _curve(name: str, result: ClassResult) -> Html:
    marks = []
    for shape, threshold in enumerate(THRESHOLDS):
        point = operating_point(result, threshold)
        if point is not None:
            label = f"score ≥ {threshold:g}: recall {point[0]:.2f}, precision {point[1]:.2f}"
            marks.append(Mark(*point, shape, label))
    start = result.precision[:1] if len(result.precision) else np.zeros(1)
    keep = corners(result.recall)
    x, y = np.append(0.0, result.recall[keep]), np.append(start, result.precision[keep])
    line = thinned(Line(name, x, y, tuple(marks)))
    title = f"{name}  AP {result.ap:.3f}"
    return chart([line], Frame(title, "recall (precision upwards)", (0.0, 1.0), (0.0, 1.0), width=340, height=250))


def threshold_chart(report: VocReport) -> Html:
    """Return AP, and mean precision and recall, against the score threshold."""
    results = [result for result in report.curves.values() if result.ap is not None]
    steps = np.linspace(0.0, 0.95, 20)
    steps[0] = 0.01
    rows = np.array([_at(results, float(step), report) for step in steps]).reshape(-1, 3)
    names = (f"mAP ({report.metric})", "mean precision", "mean recall")
    lines = [Line(name, steps, rows[:, column]) for column, name in enumerate(names)]
    maps = [(f"{threshold:g}", scores.map) for threshold, scores in report.at_thresholds.items()]
    return page.joined(
        [
            page.figure(chart(lines, Frame("Against the score threshold", "score threshold", (0.0, 1.0), (0.0, 1.0)))),
            page.table(("threshold", *(name for name, _ in maps)), [("mAP", *(value for _, value in maps))]),
        ]
    )


def _at(results: Sequence[ClassResult], threshold: float, report: VocReport) -> tuple[float, float, float]:
    """Return mAP, mean precision and mean recall of the classes; precision of those with detections, else NaN."""
    points = [operating_point(result, threshold) for result in results]
    precisions = [point[1] for point in points if point is not None]
    return (
        _mean([above(result, threshold, metric=report.metric).ap or 0.0 for result in results]),
        _mean(precisions),
        _mean([0.0 if point is None else point[0] for point in points]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def confusion(errors: Errors, names: Sequence[str]) -> Html:
    """Return the whole matrix for a few classes; for many, the pairs that are confused most often."""
    if len(names) <= MAX_MATRIX_CLASSES:
        return page.matrix(names, "no object", "missed", errors.confusion.tolist())
    wrong = errors.confusion[:-1, :-1] * (1 - np.eye(len(names), dtype=np.int64))
    pairs = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    rows = [
        (names[true], names[found], int(wrong[true, found]), int(errors.confusion[true].sum()))
        for true, found in (divmod(int(pair), len(names)) for pair in pairs)
        if wrong[true, found]
    ]
    return page.table(("class", "detected as", "times", "objects of that class"), rows, words=(0, 1))


def kinds_table(by_threshold: Mapping[float, Errors]) -> Html:
    """Return the number of detections of each kind at each threshold, and how many objects were found or missed."""
    columns = [f"at {threshold:g}" for threshold in by_threshold]
    found = [errors.count() for errors in by_threshold.values()]
    fates = [errors.count_objects() for errors in by_threshold.values()]
    kinds = [(kind, *(count[kind] for count in found), MEANINGS[kind]) for kind in KINDS]
    return page.joined(
        [
            page.table(("detections", *columns, ""), kinds, words=(0, len(columns) + 1)),
            page.table(("objects", *columns), [(fate, *(count[fate] for count in fates)) for fate in FATES]),
        ]
    )


@dataclass(frozen=True)
class Examples:
    """A split with the errors of its detections above one threshold.

    Args:
        dataset: the split.
        flat: the detections above the threshold.
        truths: the objects.
        errors: of which kind each detection is, and whether each object was found.
    """

    dataset: Dataset
    flat: FlatDetections
    truths: GroundTruths
    errors: Errors


def errors_by_kind(examples: Examples, album: Album) -> Html:
    """Return the largest missed objects and the false detections of each kind with the highest scores, cut out."""
    sides = examples.truths.boxes_xyxy[:, 2:] - examples.truths.boxes_xyxy[:, :2]
    missed = np.flatnonzero(examples.errors.fates == MISSED)
    missed = missed[np.argsort(-sides[missed].prod(axis=1), kind="stable")]
    shots = []
    for row in missed[:EACH].tolist():
        index, box = int(examples.truths.image_indices[row]), examples.truths.boxes_xyxy[row]
        name = examples.dataset.label_map.names[int(examples.truths.class_ids[row])]
        caption = f"{name} in {examples.dataset.samples[index].image_id}"
        shots.append(_cut(examples, index, box, (box[None], [name]), (np.zeros((0, 4)), []), caption, album))
    parts = [_titled("Missed", _counted(len(missed), "object", "the largest first"), shots)]
    for kind, title in TITLES.items():
        rows = np.flatnonzero(examples.errors.kinds == kind)
        rows = rows[np.argsort(-examples.flat.scores[rows], kind="stable")]
        shots = [_false(examples, int(row), album) for row in rows[:EACH]]
        parts.append(_titled(title, _counted(len(rows), "detection", "the highest score first"), shots))
    return page.joined(parts)


def worst_images(examples: Examples, album: Album) -> Html:
    """Return the images with the most missed objects and false detections, each with all truths and all detections."""
    images = len(examples.dataset)
    wrong = ~np.isin(examples.errors.kinds, (RIGHT, PASSED_OVER))
    missed = examples.errors.fates == MISSED
    errors = np.bincount(examples.flat.image_indices[wrong], minlength=images)
    errors = errors + np.bincount(examples.truths.image_indices[missed], minlength=images)
    shots = []
    for index in np.argsort(-errors, kind="stable")[:WORST].tolist():
        if errors[index]:
            found = examples.flat.image_indices == index
            objects = examples.truths.image_indices == index
            caption = f"{examples.dataset.samples[index].image_id}: {int(wrong[found].sum())} false, "
            caption += f"{int(missed[objects].sum())} of {int(objects.sum())} objects missed"
            shots.append(whole_image(examples.dataset, index, examples.flat, examples.truths, caption, album))
    return _row_of(shots) if shots else page.paragraph("No image has an error at this threshold.")


def one_scene(dataset: Dataset, found: Sequence[Detections], album: Album, low: float, high: float) -> Html:
    """Return one image at two thresholds side by side: the lower one scores the higher AP and looks worse."""
    counts = np.array([len(result.above(high)) for result in found])
    if not len(counts) or not counts.max():
        return page.paragraph(f"No image has a detection that scores at least {high:g}.")
    # An image with several objects, but not the one with the most, in which nothing could be recognised.
    busy = np.flatnonzero(counts >= max(1, int(np.quantile(counts[counts > 0], 0.6))))
    index = int(busy[np.argsort(counts[busy], kind="stable")[0]])
    image = _read(dataset, index)
    if image is None:
        return page.paragraph("The image could not be read.")
    shots = []
    for threshold in (high, low):
        kept = found[index].above(threshold)
        caption = f"{dataset.samples[index].image_id} at {threshold:g}: {len(kept)} boxes"
        shots.append(album.image(draw(image, kept), caption, width=520))
    return _row_of(shots)


def _false(examples: Examples, row: int, album: Album) -> Html:
    index, box = int(examples.flat.image_indices[row]), examples.flat.boxes_xyxy[row]
    names = examples.dataset.label_map.names
    score, kind = float(examples.flat.scores[row]), int(examples.errors.kinds[row])
    label = f"{names[int(examples.flat.class_ids[row])]} {score:.2f}"
    truth, around = int(examples.errors.objects[row]), box
    objects = (np.zeros((0, 4)), list[str]())
    caption = f"{label} in {examples.dataset.samples[index].image_id}"
    if truth != NO_OBJECT:
        other = examples.truths.boxes_xyxy[truth]
        objects = (other[None], [names[int(examples.truths.class_ids[truth])]])
        around = np.concatenate([np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])])
        overlap = float(examples.errors.ious[row])
        caption += f", overlap {overlap:.2f}" + (f" with a {objects[1][0]}" if kind == WRONG_CLASS else "")
    return _cut(examples, index, around, objects, (box[None], [label]), caption, album)


def _cut(
    examples: Examples,
    index: int,
    around: ndarray,
    objects: tuple[ndarray, list[str]],
    found: tuple[ndarray, list[str]],
    caption: str,
    album: Album,
) -> Html:
    image = _read(examples.dataset, index)
    if image is None:
        return page.paragraph(f"{caption} (the image could not be read)", "soft")
    part, (left, top) = crop(image, np.asarray(around, np.float64))
    factor = max(1, round(200 / max(part.shape[:2])))  # a thumbnail's worth of pixels, so that labels can be read
    part = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) if factor > 1 else part
    shift = np.array([left, top] * 2)
    moved = [((rows - shift) * factor, names) for rows, names in (objects, found)]
    return album.image(beside(part, *moved[0], *moved[1], width=240), caption, width=240)


def whole_image(
    dataset: Dataset, index: int, flat: FlatDetections, truths: GroundTruths, caption: str, album: Album
) -> Html:
    """Return an image of a split with all its annotated boxes and all detections; a line where it cannot be read."""
    image = _read(dataset, index)
    if image is None:
        return page.paragraph(f"{caption} (the image could not be read)", "soft")
    found, objects = flat.image_indices == index, truths.image_indices == index
    names = dataset.label_map.names
    scores, ids = flat.scores[found].tolist(), flat.class_ids[found].tolist()
    labels = [f"{names[class_id]} {score:.2f}" for class_id, score in zip(ids, scores, strict=True)]
    classes = [names[class_id] for class_id in truths.class_ids[objects].tolist()]
    drawn = beside(image, truths.boxes_xyxy[objects], classes, flat.boxes_xyxy[found], labels, width=520)
    return album.image(drawn, caption, width=520)


def _read(dataset: Dataset, index: int) -> ndarray | None:
    """Return the image, or None where it cannot be read any more: a missing example must not cost the report."""
    try:
        return read_image(dataset.samples[index].image_path)
    except SingleshotError:
        return None


def _counted(count: int, noun: str, order: str) -> str:
    """Return `7 objects, the largest first`; `none` for 0."""
    return f"{count} {noun}{'' if count == 1 else 's'}, {order}" if count else "none"


def _titled(title: str, note: str, shots: Sequence[Html]) -> Html:
    return page.joined([page.element("h3", title), page.paragraph(note, "soft"), _row_of(shots)])


def _row_of(shots: Sequence[Html]) -> Html:
    return Html(f"<div class='shots'>{''.join(shots)}</div>")


def beside(
    image_rgb: UInt8[ndarray, "H W 3"],
    truths_xyxy: Float[ndarray, "G 4"],
    truth_names: list[str],
    found_xyxy: Float[ndarray, "D 4"],
    found_names: list[str],
    *,
    width: int = 480,
) -> UInt8[ndarray, "h w 3"]:
    """Return an image, reduced, with annotated boxes in blue and detected ones in orange, each with its label."""
    small = reduced(image_rgb, width)
    every = np.concatenate([found_xyxy.astype(np.float64), truths_xyxy.astype(np.float64)])
    share_hw = (small.shape[0] / image_rgb.shape[0], small.shape[1] / image_rgb.shape[1])
    moved = boxes.scale(every, share_hw)
    colours = np.array([DETECTION_RGB] * len(found_xyxy) + [TRUTH_RGB] * len(truths_xyxy), np.uint8).reshape(-1, 3)
    return draw_boxes(small, moved, [*found_names, *truth_names], colours, line_width=2)


def crop(
    image_rgb: UInt8[ndarray, "H W 3"], around_xyxy: Float[ndarray, " 4"], *, least_px: float = 64.0
) -> tuple[UInt8[ndarray, "h w 3"], tuple[int, int]]:
    """Cut a square around a box out of an image, clipped at the image's edges and not resized.

    Args:
        image_rgb: the image.
        around_xyxy: the box in its pixels. The square reaches beyond the longer of its sides by 0.4 of it each way.
        least_px: the least side of the square, for the smallest boxes.

    Returns:
        The part, and the x and y of its upper left pixel.
    """
    x1, y1, x2, y2 = (float(edge) for edge in around_xyxy)
    half = max(x2 - x1, y2 - y1, least_px / 1.8) * 0.9
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
    height, width = image_rgb.shape[:2]
    left, top = (int(np.clip(v - half, 0, side - 1)) for v, side in ((middle_x, width), (middle_y, height)))
    right, bottom = (
        int(np.clip(np.ceil(v + half), low + 1, side))
        for v, low, side in ((middle_x, left, width), (middle_y, top, height))
    )
    return image_rgb[top:bottom, left:right], (left, top)
