"""A segmenter's figures on a page: IoU by class, the confusion of pixels, and the pictures it does best and worst.

The split passes by once and is too large to keep, so of each picture only its own mean IoU is kept, and the answers of
the few pictures that are best and worst so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.classes import colours
from singleshot.drawing import draw_masks
from singleshot.errors import SingleshotError
from singleshot.evaluation.maxf import MaxfReport
from singleshot.evaluation.miou import MiouReport
from singleshot.images import read_image
from singleshot.metrics.mean_iou import confusion, empty_matrix, figures
from singleshot.reporting import page
from singleshot.reporting.album import Album, reduced
from singleshot.reporting.page import Html
from singleshot.structures import VOID, Dataset, Segmentation

EACH = 4
MOST_IN_MATRIX = 24
PAIRS = 20


@dataclass(frozen=True)
class Answer:
    """One picture's answer and truth: its place, its mean IoU over the classes in it, and both masks."""

    index: int
    miou: float
    class_ids: UInt8[ndarray, "H W"]
    truth: UInt8[ndarray, "H W"]


@dataclass
class MaskWatch:
    """Watches a split pass by: counts pixels and keeps the answers of its best and worst pictures.

    Args:
        dataset: the split.
        each: how many of the best and of the worst are kept.
    """

    dataset: Dataset
    each: int = EACH
    best: list[Answer] = field(default_factory=list)
    worst: list[Answer] = field(default_factory=list)
    matrix: ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.matrix = empty_matrix(len(self.dataset.label_map))

    def count(self, index: int, truth: UInt8[ndarray, "H W"], class_ids: UInt8[ndarray, "h w"]) -> None:
        """One picture. An answer of another size (road seen from above) and a truth without a pixel are passed over."""
        if truth.shape != class_ids.shape:
            return
        counts = confusion(truth, class_ids, len(self.dataset.label_map))
        self.matrix = self.matrix + counts
        miou = figures(counts, self.dataset.label_map.names).miou
        if miou is None:
            return
        answer = Answer(index, miou, class_ids, truth)
        self.best = sorted([*self.best, answer], key=lambda each: (-each.miou, each.index))[: self.each]
        self.worst = sorted([*self.worst, answer], key=lambda each: (each.miou, each.index))[: self.each]


def class_table(report: MiouReport) -> Html:
    """IoU by class, worst first, with each class's share of the true pixels; classes that nothing has come last."""
    shares = report.matrix.sum(axis=1) / max(1, report.figures.pixels)
    rows = zip(report.figures.iou.items(), shares.tolist(), strict=True)
    ordered = sorted(rows, key=lambda row: (row[0][1] is None, row[0][1] or 0))
    return page.table(
        ("class", "IoU", "share of true pixels"),
        [*((name, iou, f"{share:.1%}") for (name, iou), share in ordered), ("mean", report.figures.miou, "")],
        sums=1,
    )


def road_table(report: MaxfReport) -> Html:
    """KITTI road's figures, a row a category."""
    columns = ("maxf", "ap", "pre", "rec", "fpr", "fnr")
    rows = [(name, *(getattr(row, column) for column in columns)) for name, row in report.shown.items()]
    return page.table(("category", "MaxF", "AP", "precision", "recall", "FPR", "FNR"), rows)


def pixel_confusion(matrix: ndarray, names: Sequence[str]) -> Html:
    """Thousands of pixels by true and by predicted class; for many classes the pairs mistaken most often."""
    if len(names) <= MOST_IN_MATRIX:
        thousands = np.rint(matrix / 1000).astype(np.int64)
        last = "no class" if matrix[:, -1].any() else None
        shown = thousands if last else thousands[:, :-1]
        return page.matrix(names, "", last or "", shown.tolist())
    wrong = matrix[:, : len(names)] * (1 - np.eye(len(names), dtype=np.int64))
    totals = np.maximum(1, matrix.sum(axis=1))
    pairs = [divmod(int(pair), len(names)) for pair in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]]
    rows = [
        (names[true], names[said], f"{wrong[true, said] / totals[true]:.1%}")
        for true, said in pairs
        if wrong[true, said]
    ]
    return page.table(("is", "is taken for", "share of its pixels"), rows, words=(0, 1))


def overlays(watch: MaskWatch, album: Album) -> Html:
    """The worst and the best pictures: the answer beside the truth."""
    parts = []
    for title, answers in (("Worst pictures", watch.worst), ("Best pictures", watch.best)):
        shots = "".join(_pair(watch.dataset, answer, album) for answer in answers)
        parts += [page.element("h3", title), Html(f"<div class='shots'>{shots}</div>")]
    return page.joined(parts)


def _pair(dataset: Dataset, answer: Answer, album: Album) -> Html:
    sample = dataset.samples[answer.index]
    caption = f"{sample.image_id}: mean IoU {answer.miou:.3f} (left the answer, right the truth)"
    try:
        image = read_image(sample.image_path)
    except SingleshotError:
        return page.paragraph(f"{caption} (the picture could not be read)", "soft")
    if image.shape[:2] != answer.truth.shape:
        return page.paragraph(f"{caption} (the picture has another size)", "soft")
    names = dataset.label_map.names
    palette = np.array(dataset.colours, np.uint8) if dataset.colours else colours(len(names))
    small = reduced(image, 480)
    sides = zip(image.shape[:2], small.shape[:2], strict=True)
    places = [np.linspace(0, side - 1, few).round().astype(int) for side, few in sides]
    halves = []
    for ids in (answer.class_ids, answer.truth):
        # Rows and columns are picked, not mixed: a mask has no values between two classes.
        few = ids[places[0]][:, places[1]]
        segmentation = Segmentation(few, names, palette)
        halves.append(draw_masks(small, segmentation, legend=not (few == VOID).any()))
    return album.shot(np.hstack(halves), caption, width=960)
