"""`singleshot evaluate --metric miou|maxf`: a segmenter's figures, or those of another program's masks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from singleshot.errors import Fault
from singleshot.storage import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy import ndarray

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
    from singleshot.evaluation.evaluate import pixel_metric
    from singleshot.evaluation.maxf import MaxfReport, maxf_table, plane_note
    from singleshot.evaluation.miou import absent_note, instances_note, miou_table
    from singleshot.reporting.masks import MaskExamples

    inputs = (wanted.data, wanted.weights, wanted.detections)
    outputs.check(json_file=json_file, json_keys=("metric", "images"), inputs=inputs, overwrite=overwrite)
    if write_masks is not None:
        mask_results.check_target(write_masks, overwrite=overwrite)
    page = report_page.target(report_file, wanted.weights, wanted.split, inputs=inputs, overwrite=overwrite)
    dataset = read.read(wanted.data, wanted.split, layout=wanted.data_format, annotated=annotated, with_masks=True)
    terminal.note(read.describe(dataset))
    faults = refuse_or_list([dataset], wanted.on_bad)
    metric = pixel_metric(wanted.metric, dataset) if annotated else None
    examples = MaskExamples(dataset)
    started, done = time.monotonic(), 0
    with terminal.bar("evaluating", len(dataset)) as advance:
        for result in _results(wanted, dataset, workers):
            if isinstance(result, Fault):
                faults.append(result)
                continue
            if result.truth is not None and metric is not None:
                values = result.class_ids if wanted.metric == "miou" else result.road
                if values is not None:
                    metric.add(result.index, result.truth, values)
                if page is not None and result.class_ids is not None:
                    examples.add(result.index, result.truth, result.class_ids)
            if write_masks is not None:
                _write(write_masks, dataset, result)
            done += 1
            advance(done)
    if write_masks is not None:
        terminal.show(f"result files: {write_masks}")
    for fault in faults:
        terminal.warn(f"left out: {fault}")
    if metric is None:
        return
    report = metric.compute()
    if isinstance(report, MaxfReport):
        table, notes = maxf_table(report), [plane_note(report)]
    else:
        table, notes = miou_table(report), [absent_note(report), instances_note(report)]
    terminal.show(table)
    for note in notes:
        if note is not None:
            terminal.warn(note)
    outputs.write_json(json_file, report.as_json() | {"left_out": len(faults)})
    title = f"{wanted.weights or wanted.detections} on {wanted.split}"
    report_page.of_masks(page, report_file, title, examples, report, time.monotonic() - started)


@dataclass(frozen=True)
class _Result:
    """The masks of an image, as far as there are any.

    Args:
        index: of the image in the split.
        truth: class ids of the annotation, or `VOID`.
        class_ids: the predicted ones.
        road: the predicted probability of road as 0…255, at the image's size or seen from above.
    """

    index: int
    truth: ndarray | None
    class_ids: ndarray | None
    road: ndarray | None


def _results(wanted: MaskJudgement, dataset: Dataset, workers: int) -> Iterator[_Result | Fault]:
    """Yield the results of the segmenter, or those in the files, and the faults of images that are left out."""
    if wanted.weights is not None:
        from singleshot.evaluation.loop import check_classes, eval_loader, predictions
        from singleshot.metrics.road_maxf import ROAD, as_values
        from singleshot.prediction.load import load_segmenter

        segmenter = load_segmenter(wanted.weights, backend=wanted.backend, trust=wanted.trust)
        check_classes(segmenter, dataset)
        road = wanted.metric == "maxf" or dataset.layout == "kitti_road"
        loader = eval_loader(segmenter, dataset, workers=workers, on_bad=wanted.on_bad)
        for batch, _, results in predictions(segmenter, loader, probabilities=road):
            for index, mask, result in zip(batch.indices.tolist(), batch.targets.masks, results, strict=True):
                values = None if result.probabilities is None else as_values(result.probabilities[ROAD])
                yield _Result(index, None if mask is None else mask.numpy(), result.class_ids, values)
        yield from loader.faults
        return
    from singleshot.cli import terminal
    from singleshot.data.masks import results as mask_results
    from singleshot.evaluation.evaluate import masks_from_files

    files = mask_results.find(wanted.detections or Path(), dataset, partial=wanted.partial)
    note = mask_results.coverage(files)
    if note is not None:
        terminal.warn(note)
    for each in masks_from_files(files, dataset, metric=wanted.metric, on_bad=wanted.on_bad):
        if isinstance(each, Fault):
            yield each
        elif wanted.metric == "miou":
            yield _Result(each.index, each.truth, each.values, None)
        else:
            yield _Result(each.index, each.truth, None, each.values)


def _write(folder: Path, dataset: Dataset, result: _Result) -> None:
    """Write one image's result for its server; of KITTI road the map from above where the image has a calibration."""
    from singleshot.data.masks import files as mask_files
    from singleshot.data.masks import results as mask_results
    from singleshot.evaluation.maxf import for_server

    sample = dataset.samples[result.index]
    if dataset.layout == "kitti_road" and result.road is not None:
        name = mask_results.result_name(dataset, sample)
        in_image, from_above = for_server(result.road, sample.image_path)
        inner = folder if from_above is None else folder / mask_results.IN_PICTURE
        atomic.write_bytes(inner / name, mask_files.encode(in_image))
        if from_above is not None:
            atomic.write_bytes(folder / name, mask_files.encode(from_above))
    elif result.class_ids is not None:
        mask_results.write(folder, dataset, sample, result.class_ids)
