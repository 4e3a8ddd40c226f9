"""The two pages that a report can be: on boxes and on masks, each put together from the modules beside this one.

Scores come from `evaluation`; nothing is evaluated here, so a page and `--json` cannot differ.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

import singleshot
from singleshot.evaluation.coco import CocoReport
from singleshot.evaluation.maxf import MaxfReport
from singleshot.evaluation.miou import MiouReport
from singleshot.evaluation.voc import THRESHOLDS, VocReport, as_text
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.error_kinds import error_kinds
from singleshot.prediction.backends.host import cores, memory_bytes, processor
from singleshot.reporting import detections, masks, page, training
from singleshot.reporting.masks import MaskExamples
from singleshot.reporting.page import Album
from singleshot.structures import Dataset, Detections

ERRORS_AT = 0.5
"""The default threshold of `predict`: errors are sorted as users meet them."""


@dataclass(frozen=True)
class PageInfo:
    """What a page shows beside scores.

    Args:
        title: of the page.
        command: the command that made the results.
        facts: names and values, for the table of speed and machine.
        log: rows of `log.csv`; none without a training.
        warning: what a reader must know before any score.
    """

    title: str
    command: str
    facts: Sequence[tuple[str, object]] = ()
    log: Sequence[training.Row] = field(default_factory=tuple)
    warning: str | None = None


def write_detections(
    path: Path,
    info: PageInfo,
    found: Sequence[Detections],
    dataset: Dataset,
    report: VocReport,
    coco: CocoReport | None = None,
) -> Path:
    """Write a page on the detections of a split, and return `path`.

    Args:
        path: the file; an existing one is replaced (see `page.check_target`).
        info: what else the page shows.
        found: by image, in the order of `dataset.samples`.
        dataset: the split.
        report: their scores by VOC's protocol.
        coco: their scores by COCO's protocol, if asked for.
    """
    names, album = dataset.label_map.names, Album()
    truths = GroundTruths.from_samples(dataset.samples)
    flat_at = {each: FlatDetections.from_images([result.above(each) for result in found]) for each in THRESHOLDS}
    by_threshold = {each: error_kinds(flat, truths, len(names)) for each, flat in flat_at.items()}
    errors = by_threshold[ERRORS_AT]
    examples = detections.Examples(dataset, flat_at[ERRORS_AT], truths, errors)
    tiles = [
        (f"mAP ({report.metric})", report.map),
        *([] if report.map_interval is None else [("its 95 % interval", "–".join(map(as_text, report.map_interval)))]),
        *([] if coco is None else [("AP (coco)", coco.map), ("AP50 (coco)", coco.figures.ap50)]),
        ("images", report.images),
        ("objects", report.ground_truths),
        ("found at 0.5", f"{errors.count_objects()['found'] / max(1, report.ground_truths):.0%}"),
    ]
    low, high = report.at_thresholds[0.01].map, report.at_thresholds[0.5].map
    thresholds = "The same image at two thresholds: "
    thresholds += f"mAP is {as_text(low)} with the lower one, {as_text(high)} with the higher one. "
    if low is not None and high is not None and low > high:
        thresholds += "The lower one scores higher and looks worse: evaluate with the low one, show with the high one."
    else:
        thresholds += "Usually the lower one scores higher; here it adds nothing that counts."
    colours = "Annotated boxes are blue, detected ones orange."
    parts = [
        page.section("By class", detections.class_table(report, coco), detections.size_table(report)),
        page.section("Precision and recall", detections.curves(report)),
        page.section("Choosing a threshold", detections.threshold_chart(report)),
        page.section(
            "One scene, two thresholds",
            page.paragraph(thresholds),
            detections.one_scene(dataset, found, album, THRESHOLDS[0], ERRORS_AT),
        ),
        page.section(
            "Kinds of errors",
            detections.kinds_table(by_threshold),
            page.paragraph(f"{colours} Detections that score at least {ERRORS_AT:g}.", "soft"),
            detections.errors_by_kind(examples, album),
        ),
        page.section(
            "Images with the most errors",
            page.paragraph(colours, "soft"),
            detections.worst_images(examples, album),
        ),
        page.section(
            "Confusion",
            page.paragraph(f"Rows are annotated classes, columns detected ones, at {ERRORS_AT:g}.", "soft"),
            detections.confusion(errors, names),
        ),
    ]
    return page.write(path, _page(info, tiles, parts))


def write_masks(path: Path, info: PageInfo, examples: MaskExamples, report: MiouReport | MaxfReport) -> Path:
    """Write a page on the masks of a split, and return `path`.

    Args:
        path: the file; an existing one is replaced.
        info: what else the page shows.
        examples: to which every image was added.
        report: their scores.
    """
    album = Album()
    names = examples.dataset.label_map.names
    if isinstance(report, MiouReport):
        scores = report.figures
        tiles = [("mean IoU", scores.miou), ("pixel accuracy", scores.pixel_accuracy)]
        tiles += [("mean accuracy", scores.mean_accuracy), ("images", report.images)]
        table = masks.class_table(report)
    else:
        tiles = [("MaxF", report.maxf), ("images", report.images)]
        table = masks.road_table(report)
    note = "Thousands of pixels: rows are true classes, columns predicted ones."
    parts = [
        page.section("By class", table),
        page.section("Confusion", page.paragraph(note, "soft"), masks.pixel_confusion(examples.matrix, names)),
        page.section("Images", masks.overlays(examples, album)),
    ]
    return page.write(path, _page(info, tiles, parts))


def write_training(path: Path, info: PageInfo) -> Path:
    """Write a page on a training alone, and return `path`."""
    return page.write(path, _page(info, [], []))


def _page(info: PageInfo, tiles: Sequence[tuple[str, object]], parts: Sequence[tuple[str, page.Html]]) -> str:
    lead = [page.paragraph(page.Html(f"Made by {page.element('code', info.command)}"), "soft")]
    if info.warning is not None:
        lead.append(page.paragraph(info.warning, "note"))
    if tiles:
        lead.append(page.tiles(tiles))
    sections = list(parts)
    if info.log:
        sections.insert(0, page.section("Training", training.curves(info.log)))
    sections.append(page.section("Speed and machine", page.table(("", ""), [*info.facts, *machine()], words=(0, 1))))
    return page.document(info.title, page.joined(lead), sections)


def machine() -> list[tuple[str, str]]:
    """Return processor, memory, GPU, system and versions as names and values; unknown ones are left out.

    Without them a speed means nothing.
    """
    memory = memory_bytes()
    rows = [
        ("processor", processor()),
        ("cores for this process", str(cores())),
        ("threads of torch", str(torch.get_num_threads())),
        ("memory", "" if memory is None else f"{memory / 2**30:.0f} GiB"),
        ("GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("singleshot", singleshot.__version__),
        ("Python", platform.python_version()),
        ("torch", torch.__version__),
        ("NumPy", np.__version__),
        ("OpenCV", cv2.__version__),
    ]
    return [(name, value) for name, value in rows if value]
