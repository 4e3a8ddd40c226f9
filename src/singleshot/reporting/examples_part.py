"""Pictures of what went wrong, and of one scene at two thresholds: what no figure tells.

Of each kind of error the surest ones are shown, cut out with what is around them: a detector that is sure and wrong
either has seen something that the annotation has not, or has learned something that it should not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy import ndarray

from singleshot.drawing import draw
from singleshot.errors import SingleshotError
from singleshot.images import read_image
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.error_kinds import (
    BACKGROUND,
    DUPLICATE,
    MISSED,
    PASSED_OVER,
    POOR_BOX,
    RIGHT,
    WRONG_CLASS,
    Errors,
)
from singleshot.metrics.voc_ap import NO_OBJECT
from singleshot.reporting import page
from singleshot.reporting.album import Album, beside, crop
from singleshot.reporting.page import Html
from singleshot.structures import Dataset, Detections

EACH = 6
WORST = 4
TITLES = {
    WRONG_CLASS: "Wrong class",
    POOR_BOX: "Poor box",
    DUPLICATE: "Duplicate",
    BACKGROUND: "Background taken for an object",
}


@dataclass(frozen=True)
class Judged:
    """A split with all that is known of its detections above one threshold.

    Args:
        dataset: the split.
        flat: the detections above the threshold.
        truths: the objects.
        errors: what became of both.
        threshold: the score from which on detections count.
    """

    dataset: Dataset
    flat: FlatDetections
    truths: GroundTruths
    errors: Errors
    threshold: float


def errors_by_kind(judged: Judged, album: Album) -> Html:
    """The largest missed objects and the surest false detections of each kind, cut out of their pictures."""
    sides = judged.truths.boxes_xyxy[:, 2:] - judged.truths.boxes_xyxy[:, :2]
    missed = np.flatnonzero(judged.errors.fates == MISSED)
    missed = missed[np.argsort(-sides[missed].prod(axis=1), kind="stable")]
    shots = [_missed(judged, int(row), album) for row in missed[:EACH]]
    parts = [_row("Missed", _counted(len(missed), "object", "the largest first"), shots)]
    for kind, title in TITLES.items():
        rows = np.flatnonzero(judged.errors.kinds == kind)
        rows = rows[np.argsort(-judged.flat.scores[rows], kind="stable")]
        shots = [_false(judged, int(row), album) for row in rows[:EACH]]
        parts.append(_row(title, _counted(len(rows), "detection", "the surest first"), shots))
    return page.joined(parts)


def worst_pictures(judged: Judged, album: Album) -> Html:
    """The pictures with the most missed objects and false detections, each with all truths and all detections."""
    images = len(judged.dataset)
    wrong = ~np.isin(judged.errors.kinds, (RIGHT, PASSED_OVER))
    missed = judged.errors.fates == MISSED
    faults = np.bincount(judged.flat.image_indices[wrong], minlength=images)
    faults = faults + np.bincount(judged.truths.image_indices[missed], minlength=images)
    shots = []
    for place in np.argsort(-faults, kind="stable")[:WORST].tolist():
        if faults[place]:
            mine = judged.flat.image_indices == place
            theirs = judged.truths.image_indices == place
            said = f"{judged.dataset.samples[place].image_id}: {int(wrong[mine].sum())} false, "
            said += f"{int(missed[theirs].sum())} of {int(theirs.sum())} objects missed"
            shots.append(_whole(judged, place, mine, theirs, said, album))
    return _shots(shots) if shots else page.paragraph("Not one picture has an error at this threshold.")


def one_scene(dataset: Dataset, found: Sequence[Detections], album: Album, low: float, high: float) -> Html:
    """One picture at two thresholds side by side: the lower one scores the higher AP and looks worse."""
    counts = np.array([len(result.above(high)) for result in found])
    if not len(counts) or not counts.max():
        return page.paragraph(f"No picture has a detection that scores at least {high:g}.")
    # A scene with several objects, yet not the fullest one, of which nobody could make out a thing.
    busy = np.flatnonzero(counts >= max(1, int(np.quantile(counts[counts > 0], 0.6))))
    place = int(busy[np.argsort(counts[busy], kind="stable")[0]])
    image = _read(dataset, place)
    if image is None:
        return page.paragraph("The picture could not be read.")
    shots = []
    for threshold in (high, low):
        shown = found[place].above(threshold)
        said = f"{dataset.samples[place].image_id} at {threshold:g}: {len(shown)} boxes"
        shots.append(album.shot(draw(image, shown), said, width=520))
    return _shots(shots)


def _missed(judged: Judged, row: int, album: Album) -> Html:
    place = int(judged.truths.image_indices[row])
    box = judged.truths.boxes_xyxy[row]
    name = judged.dataset.label_map.names[int(judged.truths.class_ids[row])]
    caption = f"{name} in {judged.dataset.samples[place].image_id}"
    return _cut(judged, place, box, (box[None], [name]), (box[:0].reshape(0, 4), []), caption, album)


def _false(judged: Judged, row: int, album: Album) -> Html:
    place, box = int(judged.flat.image_indices[row]), judged.flat.boxes_xyxy[row]
    names = judged.dataset.label_map.names
    score, kind = float(judged.flat.scores[row]), int(judged.errors.kinds[row])
    label = f"{names[int(judged.flat.class_ids[row])]} {score:.2f}"
    truth, around = int(judged.errors.objects[row]), box
    there = (np.zeros((0, 4)), list[str]())
    caption = f"{label} in {judged.dataset.samples[place].image_id}"
    if truth != NO_OBJECT:
        other = judged.truths.boxes_xyxy[truth]
        there = (other[None], [names[int(judged.truths.class_ids[truth])]])
        around = np.concatenate([np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])])
        overlap = float(judged.errors.ious[row])
        caption += f", overlap {overlap:.2f}" + (f" with a {there[1][0]}" if kind == WRONG_CLASS else "")
    return _cut(judged, place, around, there, (box[None], [label]), caption, album)


def _cut(
    judged: Judged,
    place: int,
    around: ndarray,
    there: tuple[ndarray, list[str]],
    found: tuple[ndarray, list[str]],
    caption: str,
    album: Album,
) -> Html:
    image = _read(judged.dataset, place)
    if image is None:
        return page.paragraph(f"{caption} (the picture could not be read)", "soft")
    part, (left, top) = crop(image, np.asarray(around, np.float64))
    factor = max(1, round(200 / max(part.shape[:2])))  # a thumbnail's worth of pixels, so that labels can be read
    part = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) if factor > 1 else part
    shift = np.array([left, top] * 2)
    moved = [((rows - shift) * factor, names) for rows, names in (there, found)]
    return album.shot(beside(part, *moved[0], *moved[1], width=240), caption, width=240)


def _whole(judged: Judged, place: int, mine: ndarray, theirs: ndarray, said: str, album: Album) -> Html:
    image = _read(judged.dataset, place)
    if image is None:
        return page.paragraph(f"{said} (the picture could not be read)", "soft")
    names = judged.dataset.label_map.names
    scores, ids = judged.flat.scores[mine].tolist(), judged.flat.class_ids[mine].tolist()
    labels = [f"{names[class_id]} {score:.2f}" for class_id, score in zip(ids, scores, strict=True)]
    there = [names[class_id] for class_id in judged.truths.class_ids[theirs].tolist()]
    found = judged.flat.boxes_xyxy[mine]
    return album.shot(beside(image, judged.truths.boxes_xyxy[theirs], there, found, labels, width=520), said, width=520)


def _read(dataset: Dataset, place: int) -> ndarray | None:
    """The picture, or None where it cannot be read any more: an example is no reason to lose a report."""
    try:
        return read_image(dataset.samples[place].image_path)
    except SingleshotError:
        return None


def _counted(count: int, noun: str, order: str) -> str:
    """`7 objects, the largest first`; `none` for 0."""
    return f"{count} {noun}{'' if count == 1 else 's'}, {order}" if count else "none"


def _row(title: str, said: str, shots: Sequence[Html]) -> Html:
    return page.joined([page.element("h3", title), page.paragraph(said, "soft"), _shots(shots)])


def _shots(shots: Sequence[Html]) -> Html:
    return Html(f"<div class='shots'>{''.join(shots)}</div>")
