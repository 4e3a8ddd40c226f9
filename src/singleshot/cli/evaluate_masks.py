"""`singleshot evaluate --metric miou|maxf`: a segmenter's figures, or those of another program's masks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from singleshot.storage import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singleshot.evaluation.segment import Seen
    from singleshot.structures import Dataset


@dataclass(frozen=True)
class MaskJudgement:
    """What is judged by what: the options of `evaluate` of the same names."""

    data: Path
    weights: Path | None
    detections: Path | None
    split: str
    data_format: str | None
    metric: Literal["miou", "maxf"]
    partial: bool
    on_bad: Literal["fail", "skip"]
    backend: str | None = None
    trust: bool = False


def evaluate_masks(
    wanted: MaskJudgement,
    *,
    write_masks: Path | None,
    annotated: bool,
    json_file: Path | None,
    report_file: Path | None,
    workers: int,
    overwrite: bool,
) -> None:
    """Judge, show, and write what was asked for. Raises what reading, judging and writing raise."""
    from singleshot.cli import outputs, terminal
    from singleshot.cli import report as report_page
    from singleshot.data import read
    from singleshot.data.faults import refuse_or_list
    from singleshot.data.masks import results as mask_results
    from singleshot.evaluation.judge_masks import counted, judge_of
    from singleshot.evaluation.maxf import MaxfReport, maxf_table, plane_note
    from singleshot.evaluation.miou import absent_note, instances_note, miou_table
    from singleshot.reporting.masks_part import MaskWatch

    inputs = (wanted.data, wanted.weights, wanted.detections)
    outputs.check(json_file=json_file, json_keys=("metric", "images"), inputs=inputs, overwrite=overwrite)
    if write_masks is not None:
        mask_results.check_target(write_masks, overwrite=overwrite)
    page = report_page.target(report_file, wanted.weights, wanted.split, inputs=inputs, overwrite=overwrite)
    dataset = read.read(wanted.data, wanted.split, layout=wanted.data_format, annotated=annotated, with_masks=True)
    terminal.note(read.describe(dataset))
    faults: list[Any] = refuse_or_list([dataset], wanted.on_bad)
    judge = judge_of(wanted.metric, dataset) if annotated else None
    watch = MaskWatch(dataset)
    started = time.monotonic()
    with terminal.bar("judging", len(dataset)) as advance:
        answers = _seen(wanted, dataset, workers, faults)
        for done, seen in enumerate(answers if judge is None else counted(judge, answers), start=1):
            if seen.truth is not None and page is not None and (wanted.metric == "miou" or seen.chances is not None):
                watch.count(seen.index, seen.truth, seen.class_ids)
            if write_masks is not None:
                _write(write_masks, dataset, seen)
            advance(done)
    if write_masks is not None:
        terminal.show(f"result files: {write_masks}")
    for fault in faults:
        terminal.warn(f"left out: {fault}")
    if judge is None:
        return
    report = judge.report()
    if isinstance(report, MaxfReport):
        shown, notes = maxf_table(report), [plane_note(report)]
    else:
        shown, notes = miou_table(report), [absent_note(report), instances_note(report)]
    terminal.show(shown)
    for note in notes:
        if note is not None:
            terminal.warn(note)
    outputs.write_json(json_file, report.as_json() | {"left_out": len(faults)})
    title = f"{wanted.weights or wanted.detections} on {wanted.split}"
    report_page.of_masks(page, report_file, title, watch, report, time.monotonic() - started)


def _seen(wanted: MaskJudgement, dataset: Dataset, workers: int, faults: list[Any]) -> Iterator[Seen]:
    """The answers of the segmenter, or those in the files; pairs that are left out go to `faults`."""
    if wanted.weights is not None:
        from singleshot.evaluation.judge_masks import same_classes
        from singleshot.evaluation.segment import segment
        from singleshot.metrics.road_maxf import ROAD
        from singleshot.prediction.load import load_segmenter

        segmenter = load_segmenter(wanted.weights, backend=wanted.backend, trust=wanted.trust)
        same_classes(segmenter, dataset)
        road = wanted.metric == "maxf" or dataset.layout == "kitti_road"
        yield from segment(
            segmenter,
            dataset,
            workers=workers,
            chances_of=ROAD if road else None,
            on_bad=wanted.on_bad,
            on_skipped=faults.append,
        )
        return
    from singleshot.cli import terminal
    from singleshot.data.masks import results as mask_results
    from singleshot.evaluation.given_masks import given

    files = mask_results.find(wanted.detections or Path(), dataset, partial=wanted.partial)
    note = mask_results.coverage(files)
    if note is not None:
        terminal.warn(note)
    yield from given(files, dataset, metric=wanted.metric, on_bad=wanted.on_bad, on_skipped=faults.append)


def _write(folder: Path, dataset: Dataset, seen: Seen) -> None:
    """One picture's result for its server; of KITTI road the map from above where it is to be had."""
    from singleshot.data.masks import files as mask_files
    from singleshot.data.masks import results as mask_results
    from singleshot.evaluation.maxf import for_server

    sample = dataset.samples[seen.index]
    if dataset.layout != "kitti_road" or seen.chances is None:
        mask_results.write(folder, dataset, sample, seen.class_ids)
        return
    name = mask_results.result_name(dataset, sample)
    in_picture, from_above = for_server(seen.chances, sample.image_path)
    inner = folder if from_above is None else folder / mask_results.IN_PICTURE
    atomic.write_bytes(inner / name, mask_files.encode(in_picture))
    if from_above is not None:
        atomic.write_bytes(folder / name, mask_files.encode(from_above))
