"""`singleshot evaluate`: the VOC devkit's figures for weights, or for another program's result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from singleshot import durable
from singleshot.errors import UsageError


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder in Pascal VOC layout.")],
    weights: Annotated[Path | None, typer.Argument(help="A weights file.")] = None,
    detections: Annotated[Path | None, typer.Option(help="Judge these comp3/comp4 files instead of weights.")] = None,
    split: Annotated[str, typer.Option(help="The list to judge by.")] = "test",
    metric: Annotated[Literal["voc07", "voc12"], typer.Option(help="11 points, or area under the curve.")] = "voc07",
    threshold: Annotated[float | None, typer.Option(help="Drop detections that score less.", min=0, max=1)] = None,
    on_bad: Annotated[Literal["fail", "skip"], typer.Option(help="At faulty data: refuse, or go on without.")] = "fail",
    write_detections: Annotated[Path | None, typer.Option(help="Write comp4 files into this folder.")] = None,
    annotated: Annotated[
        bool,
        typer.Option("--annotated/--not-annotated", help="Whether the split has annotations (a server's has not)."),
    ] = True,
    curves: Annotated[Path | None, typer.Option(help="Draw precision-recall curves into this PNG.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that read pictures.", min=0)] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace result files that are there.")] = False,
) -> None:
    """Judge detections by Pascal VOC's protocol."""
    from singleshot import evaluation
    from singleshot.cli import progress
    from singleshot.data import voc, voc_results
    from singleshot.prediction.predictor import load
    from singleshot.training.run import refuse_or_list

    if (weights is None) == (detections is None):
        raise UsageError("give either WEIGHTS or --detections", remedy="See singleshot evaluate --help")
    detector = None if weights is None else load(weights)
    label_map = None if detector is None else detector.label_map
    dataset = voc.read(data, split, label_map=label_map, annotated=annotated)
    faults = refuse_or_list([dataset], on_bad)
    if detector is not None:
        with progress.bar("detecting", len(dataset)) as advance:
            seen = [0]

            def count(batch: object, _raw: object) -> None:
                seen[0] += len(batch)  # pyright: ignore[reportArgumentType]
                advance(seen[0])

            found = evaluation.detect(detector, dataset, workers=workers, on_batch=count)
    else:
        found = voc_results.read(detections or Path(), dataset)
    if threshold is not None:
        found = [result.above(threshold) for result in found]
        warning = evaluation.threshold_warning(threshold)
        if warning is not None:
            progress.warn(warning)
    if write_detections is not None:
        voc_results.write(found, dataset, write_detections, overwrite=overwrite)
        progress.out.print(f"result files: {write_detections}", soft_wrap=True)
    if not annotated:
        return
    report = evaluation.judge(found, dataset, metric=metric, size_bands_px=evaluation.SIZE_BANDS_PX)
    progress.out.print(evaluation.table(report))
    if faults:
        progress.warn(f"{len(faults)} faulty boxes or pictures were left out of the judgement")
    if curves is not None:
        from singleshot.metrics.curves import draw_precision_recall

        durable.write(curves, lambda temporary: draw_precision_recall(report.curves, temporary))
    if json_file is not None:
        durable.write_text(json_file, json.dumps(report.as_json(), indent=2) + "\n")
