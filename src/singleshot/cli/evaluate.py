"""`singleshot evaluate`: the figures of VOC's devkit or COCO's for weights, or for another program's result files.

Segmenters and masks have figures of their own, in `evaluate_masks`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from singleshot.cli.evaluate_masks import MaskJudgement, evaluate_masks
from singleshot.errors import UsageError


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder in VOC, COCO or YOLO layout, or a COCO JSON.")],
    weights: Annotated[Path | None, typer.Argument(help="A weights file.")] = None,
    detections: Annotated[
        Path | None, typer.Option(help="Judge comp3/comp4 files, a COCO result JSON, or a folder of masks.")
    ] = None,
    split: Annotated[str, typer.Option(help="The list to judge by.")] = "test",
    data_format: Annotated[
        str | None, typer.Option(help="The layout, if it is not recognised: voc, coco, yolo.")
    ] = None,
    metric: Annotated[
        Literal["voc07", "voc12", "coco", "miou", "maxf"],
        typer.Option(help="11 points, area under the curve, or COCO's mean; of masks mean IoU, or KITTI road's MaxF."),
    ] = "voc07",
    threshold: Annotated[float | None, typer.Option(help="Drop detections that score less.", min=0, max=1)] = None,
    on_bad: Annotated[Literal["fail", "skip"], typer.Option(help="At faulty data: refuse, or go on without.")] = "fail",
    write_detections: Annotated[
        Path | None, typer.Option(help="Write comp4 files or masks into this folder, or a .json.")
    ] = None,
    annotated: Annotated[
        bool,
        typer.Option("--annotated/--not-annotated", help="Whether the split has annotations (a server's has not)."),
    ] = True,
    curves: Annotated[
        Path | None, typer.Option(help="Draw precision-recall curves into this .png, .svg or .pdf.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    report_file: Annotated[
        Path | None,
        typer.Option("--report", help="Write a page with curves and errors; weights of a run get one beside them."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that read pictures.", min=0)] = 0,
    partial: Annotated[bool, typer.Option("--partial", help="Judge masks though some are missing.")] = False,
    backend: Annotated[str | None, typer.Option(help="What runs the file: torch, pt2, onnx or openvino.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Open a .pt2 even if it could run code.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Judge detections by Pascal VOC's protocol or COCO's, masks by mean IoU or KITTI road's MaxF."""
    if (weights is None) == (detections is None):
        raise UsageError("give either WEIGHTS or --detections", remedy="See singleshot evaluate --help")
    if detections is not None and (backend is not None or trust):
        raise UsageError("--backend and --trust are for WEIGHTS", remedy="Leave them out")
    if not annotated:
        _refuse_without_annotations(detections, write_detections, curves, json_file, report_file)
    if metric in ("miou", "maxf"):
        if threshold is not None or curves is not None:
            raise UsageError("--threshold and --curves are for detections", remedy="Leave them out")
        evaluate_masks(
            MaskJudgement(data, weights, detections, split, data_format, metric, partial, on_bad, backend, trust),
            write_masks=write_detections,
            annotated=annotated,
            json_file=json_file,
            report_file=report_file,
            workers=workers,
            overwrite=overwrite,
        )
        return
    if partial:
        raise UsageError("--partial is for masks", remedy="Leave it out")
    from singleshot.cli import outputs, terminal
    from singleshot.cli import report as report_page
    from singleshot.data import read
    from singleshot.data.boxes import results
    from singleshot.data.faults import refuse_or_list
    from singleshot.evaluation.coco import CocoReport, coco_report, coco_table, cut_warning
    from singleshot.evaluation.loop import eval_loader, predictions
    from singleshot.evaluation.voc import (
        SIZE_BANDS_PX,
        CollectDetections,
        map_line,
        threshold_warning,
        voc_report,
        voc_table,
    )
    from singleshot.metrics.curves import draw_precision_recall, image_format
    from singleshot.prediction.load import load_detector

    if curves is not None:
        if metric == "coco":
            raise UsageError("--curves draws VOC's curves", remedy="Use --metric voc12 with it")
        image_format(curves)
    writes_json = write_detections is not None and write_detections.suffix.lower() == ".json"
    inputs = (data, weights, detections)
    outputs.check(
        curves,
        write_detections if writes_json else None,
        json_file=json_file,
        json_keys=("metric", "images"),
        inputs=inputs,
        overwrite=overwrite,
    )
    if write_detections is not None and not writes_json:
        outputs.check_folder(write_detections)
    page = report_page.target(report_file, weights, split, inputs=inputs, overwrite=overwrite)
    seconds: float | None = None
    detector = None if weights is None else load_detector(weights, backend=backend, trust=trust)
    label_map = None if detector is None else detector.label_map
    dataset = read.read(
        data, split, layout=data_format, label_map=label_map, annotated=annotated, with_images=weights is not None
    )
    terminal.note(read.describe(dataset))
    faults = refuse_or_list([dataset], on_bad)
    if write_detections is not None and not writes_json:
        outputs.check(*results.paths_in(write_detections, dataset), inputs=inputs, overwrite=overwrite)
    if detector is not None:
        started = time.monotonic()
        with terminal.bar("detecting", len(dataset)) as advance:
            collected, done = CollectDetections(dataset), 0
            loader = eval_loader(detector, dataset, workers=workers, on_bad=on_bad)
            for batch, _, detected in predictions(detector, loader):
                collected.update(batch, detected)
                done += len(batch)
                advance(done)
        found, dataset = collected.compute()
        seconds = time.monotonic() - started
        for fault in loader.faults:
            terminal.warn(str(fault))
        faults += loader.faults
    elif detections is not None and detections.suffix.lower() == ".json":
        found = results.read_coco(detections, dataset)
        _warn(results.coverage_warning(found, dataset))
    else:
        found = results.read_voc(detections or Path(), dataset)
    if threshold is not None:
        found = [result.above(threshold) for result in found]
        _warn(threshold_warning(threshold))
    if write_detections is not None:
        write = results.write_coco if writes_json else results.write_voc
        write(found, dataset, write_detections, overwrite=overwrite)
        terminal.show(f"result files: {write_detections}")
    if faults:
        terminal.warn(f"{len(faults)} faulty boxes or pictures were left out")
    if not annotated:
        return
    if metric == "coco":
        report = coco_report(found, dataset)
        _warn(cut_warning(report))
        terminal.show(coco_table(report))
    else:
        report = voc_report(found, dataset, metric=metric, size_bands_px=SIZE_BANDS_PX)
        terminal.show(voc_table(report))
    terminal.show(map_line(metric, report.map, report.images))
    if curves is not None and not isinstance(report, CocoReport):
        draw_precision_recall(report.curves, curves)
    outputs.write_json(json_file, report.as_json() | {"left_out": len(faults)})
    report_page.of_detections(page, report_file, f"{weights or detections} on {split}", found, dataset, report, seconds)


def _refuse_without_annotations(
    detections: Path | None,
    write_detections: Path | None,
    curves: Path | None,
    json_file: Path | None,
    report_file: Path | None,
) -> None:
    """Refuse what makes no sense on a split whose annotations a server keeps: there are no figures, only files."""
    remedy = "Without annotations there is only --write-detections, for WEIGHTS"
    outputs = (("--json", json_file), ("--curves", curves), ("--report", report_file))
    for option, given in (("--detections", detections), *outputs):
        if given is not None:
            raise UsageError(f"--not-annotated does not go with {option}", remedy=remedy)
    if write_detections is None:
        raise UsageError("--not-annotated without --write-detections gives nothing", remedy=remedy)


def _warn(line: str | None) -> None:
    from singleshot.cli import terminal

    if line is not None:
        terminal.warn(line)
