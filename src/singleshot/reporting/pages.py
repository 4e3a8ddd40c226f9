"""The two pages that a report can be: on boxes and on masks, each put together from the parts beside this file.

Figures come ready made from the judges in `evaluation`; nothing is judged here, so a page and `--json` cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from singleshot.evaluation.coco import CocoReport
from singleshot.evaluation.judge import THRESHOLDS
from singleshot.evaluation.maxf import MaxfReport
from singleshot.evaluation.miou import MiouReport
from singleshot.evaluation.report import Report, as_text
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.error_kinds import error_kinds
from singleshot.reporting import detection_part, examples_part, masks_part, page, training_part
from singleshot.reporting.album import Album
from singleshot.reporting.facts import machine
from singleshot.reporting.masks_part import MaskWatch
from singleshot.structures import Dataset, Detections

ERRORS_AT = 0.5
"""What `predict` shows where nobody names a threshold: errors are sorted as users meet them."""


@dataclass(frozen=True)
class Story:
    """What a page tells beside its figures.

    Args:
        title: of the page.
        command: that made what is shown.
        facts: names and values, for the table of speed and machine.
        log: rows of `log.csv`; none without a training.
        warning: what a reader must know before any figure.
    """

    title: str
    command: str
    facts: Sequence[tuple[str, object]] = ()
    log: Sequence[training_part.Row] = field(default_factory=tuple)
    warning: str | None = None


def write_detections(
    path: Path,
    story: Story,
    found: Sequence[Detections],
    dataset: Dataset,
    figures: Report,
    coco: CocoReport | None = None,
) -> Path:
    """Write a page on the detections of a split. Returns `path`.

    Args:
        path: the file; what is there is replaced (`page.check_target` asks first).
        story: what else the page tells.
        found: by picture, in the order of `dataset.samples`.
        dataset: the split.
        figures: what `judge` made of them.
        coco: what `judge_coco` made of them, if that was asked for.
    """
    names, album = dataset.label_map.names, Album()
    truths = GroundTruths.from_samples(dataset.samples)
    flat_at = {each: FlatDetections.from_images([result.above(each) for result in found]) for each in THRESHOLDS}
    by_threshold = {each: error_kinds(flat, truths, len(names)) for each, flat in flat_at.items()}
    judged = examples_part.Judged(dataset, flat_at[ERRORS_AT], truths, by_threshold[ERRORS_AT], ERRORS_AT)
    at = figures.at_thresholds
    tiles = [
        (f"mAP ({figures.metric})", figures.map),
        *([] if coco is None else [("AP (coco)", coco.map), ("AP50 (coco)", coco.figures.ap50)]),
        ("pictures", figures.images),
        ("objects", figures.ground_truths),
        ("found at 0.5", f"{by_threshold[ERRORS_AT].count_objects()['found'] / max(1, figures.ground_truths):.0%}"),
    ]
    low, high = at[0.01].map, at[0.5].map
    said = "The same picture at two thresholds: "
    said += f"mAP is {as_text(low)} with the lower one, {as_text(high)} with the other. "
    if low is not None and high is not None and low > high:
        said += "The lower one scores higher and looks worse: judge with the low one, show with the high one."
    else:
        said += "Usually the lower one scores higher; here it adds nothing that counts."
    colours = "Blue is what the annotation says, orange what was found."
    parts = [
        page.section("By class", detection_part.class_table(figures, coco), detection_part.size_table(figures)),
        page.section("Precision and recall", detection_part.curves(figures)),
        page.section("Choosing a threshold", detection_part.threshold_chart(figures)),
        page.section(
            "One scene, two thresholds",
            page.paragraph(said),
            examples_part.one_scene(dataset, found, album, THRESHOLDS[0], ERRORS_AT),
        ),
        page.section(
            "Kinds of errors",
            detection_part.kinds_table(by_threshold),
            page.paragraph(f"{colours} Detections that score at least {ERRORS_AT:g}.", "soft"),
            examples_part.errors_by_kind(judged, album),
        ),
        page.section(
            "Pictures with the most errors",
            page.paragraph(colours, "soft"),
            examples_part.worst_pictures(judged, album),
        ),
        page.section(
            "Confusion",
            page.paragraph(f"Rows are what is there, columns what is said, at {ERRORS_AT:g}.", "soft"),
            detection_part.confusion(by_threshold[ERRORS_AT], names),
        ),
    ]
    return page.write(path, _page(story, tiles, parts))


def write_masks(path: Path, story: Story, watch: MaskWatch, figures: MiouReport | MaxfReport) -> Path:
    """Write a page on the masks of a split. Returns `path`.

    Args:
        path: the file; what is there is replaced.
        story: what else the page tells.
        watch: was shown every picture.
        figures: what the judge made of them.
    """
    album = Album()
    names = watch.dataset.label_map.names
    if isinstance(figures, MiouReport):
        scores = figures.figures
        tiles = [("mean IoU", scores.miou), ("pixel accuracy", scores.pixel_accuracy)]
        tiles += [("mean accuracy", scores.mean_accuracy), ("pictures", figures.images)]
        table = masks_part.class_table(figures)
    else:
        tiles = [("MaxF", figures.maxf), ("pictures", figures.images)]
        table = masks_part.road_table(figures)
    note = "Thousands of pixels: rows are what is there, columns what is said."
    parts = [
        page.section("By class", table),
        page.section("Confusion", page.paragraph(note, "soft"), masks_part.pixel_confusion(watch.matrix, names)),
        page.section("Pictures", masks_part.overlays(watch, album)),
    ]
    return page.write(path, _page(story, tiles, parts))


def no_judgement(path: Path, story: Story) -> Path:
    """Write a page on a training alone. Returns `path`."""
    return page.write(path, _page(story, [], []))


def _page(story: Story, tiles: Sequence[tuple[str, object]], parts: Sequence[tuple[str, page.Html]]) -> str:
    lead = [page.paragraph(page.Html(f"Made by {page.element('code', story.command)}"), "soft")]
    if story.warning is not None:
        lead.append(page.paragraph(story.warning, "note"))
    if tiles:
        lead.append(page.tiles(tiles))
    sections = list(parts)
    if story.log:
        sections.insert(0, page.section("Training", training_part.curves(story.log)))
    sections.append(page.section("Speed and machine", page.table(("", ""), [*story.facts, *machine()], words=(0, 1))))
    return page.document(story.title, page.joined(lead), sections)
