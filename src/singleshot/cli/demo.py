"""`singleshot demo`: the main job from end to end on drawn data, with no download, in five minutes on two cores."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from singleshot import durable
from singleshot.errors import CannotCreateError

if TYPE_CHECKING:
    from singleshot.evaluation import Report
    from singleshot.structures import Dataset, Detections
    from singleshot.training.run import Run

PICTURES = 12


def demo(
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo"),
    minutes: Annotated[float | None, typer.Option(help="Minutes of training.")] = None,
    seed: Annotated[int, typer.Option(help="Of the drawn scenes and of training.", min=0)] = 0,
    train: Annotated[int | None, typer.Option(help="Scenes to learn from.", min=1)] = None,
    test: Annotated[int | None, typer.Option(help="Scenes to judge by.", min=1)] = None,
) -> None:
    """Draw street scenes, train a detector on them, judge it on unseen ones, and show what it sees."""
    started = time.monotonic()
    from singleshot import evaluation
    from singleshot.cli import progress
    from singleshot.data import voc
    from singleshot.recipes.streets_demo import RECIPE
    from singleshot.training import run

    data = out / "data"
    _draw(data, seed, train, test)
    recipe = dataclasses.replace(RECIPE, seed=seed, minutes=minutes or RECIPE.minutes)
    with progress.TrainingBar() as bar:
        trained = run.train(data, recipe, out=_fresh(out / "train"), val_split=None, overwrite=True, observer=bar)
    judged = voc.read(data, "test", label_map=trained.detector.label_map)
    found = evaluation.detect(trained.detector, judged, workers=1)
    report = evaluation.judge(found, judged, metric=recipe.metric, size_bands_px=evaluation.SIZE_BANDS_PX)
    pictures = _draw_pictures(out / "pictures", judged, found)
    summary = _summary(out, data, trained, report, pictures)
    summary["total_seconds"] = round(time.monotonic() - started, 1)
    _write(out, report, summary)
    progress.out.print(evaluation.table(report))
    progress.out.print((out / "report.txt").read_text(encoding="utf-8"), soft_wrap=True, markup=False)


def _draw(data: Path, seed: int, train: int | None, test: int | None) -> None:
    """Draw the scenes, unless the same ones are there already."""
    from singleshot.cli import progress
    from singleshot.data import streets

    train, test = train or streets.TRAIN, test or streets.TEST
    if streets.matches(data, seed=seed, train=train, test=test):
        return
    with progress.bar("drawing scenes", train + streets.VAL + test) as advance:
        streets.make(
            data,
            seed=seed,
            train=train,
            test=test,
            overwrite=True,
            on_progress=lambda done, _total: advance(done),
        )


def _fresh(folder: Path) -> Path:
    """The demo's own run folder, which every demo replaces; anything else there is left alone."""
    if folder.exists() and not (folder / "recipe.json").is_file() and any(folder.iterdir()):
        raise CannotCreateError("holds something else than a run", remedy="Choose another --out", file=folder)
    return folder


def _draw_pictures(folder: Path, dataset: Dataset, found: list[Detections]) -> Path:
    """Annotated copies of the scenes with the most objects, and of their curves' folder."""
    from singleshot import pictures
    from singleshot.drawing import draw
    from singleshot.prediction import sinks

    busiest = sorted(range(len(dataset)), key=lambda place: -len(dataset.samples[place].boxes_xyxy))[:PICTURES]
    for place in busiest:
        sample = dataset.samples[place]
        drawn = draw(pictures.read(sample.image_path), found[place], threshold=0.4)
        sinks.write_picture(folder / f"{sample.image_id}.jpg", drawn)
    return folder


def _summary(out: Path, data: Path, trained: Run, report: Report, pictures: Path) -> dict[str, Any]:
    return {
        "map": report.map,
        "ap": dict(report.ap),
        "ap_by_size": [
            {"size_px": [figures.size_px[0], None if figures.size_px[1] == float("inf") else figures.size_px[1]]}
            | {"ground_truths": figures.ground_truths, "map": figures.map, "ap": dict(figures.ap)}
            for figures in report.ap_by_size
        ],
        "metric": report.metric,
        "train_seconds": round(trained.seconds, 1),
        "images_per_second": round(trained.images_per_second, 1),
        "data": str(data),
        "weights": str(trained.weights),
        "pictures": str(pictures),
        "curves": str(out / "curves.png"),
    }


def _write(out: Path, report: Report, summary: dict[str, Any]) -> None:
    """`summary.json`, `curves.png` and the short report in words."""
    from singleshot.metrics.curves import draw_precision_recall

    draw_precision_recall(report.curves, out / "curves.png")
    lines = ["AP by size of object (√area in pixels of the scene):"]
    for band in summary["ap_by_size"]:
        low, high = band["size_px"]
        shown = "n/a" if band["map"] is None else f"{band['map']:.3f}"
        lines.append(f"  {low:g}–{'…' if high is None else f'{high:g}'} px: {shown} ({band['ground_truths']} objects)")
    lines += [
        f"mAP ({report.metric}) {report.map:.3f} on {report.images} unseen scenes with {report.ground_truths} objects",
        f"trained in {summary['train_seconds']:.0f} s at {summary['images_per_second']:.0f} pictures/s, "
        f"{summary['total_seconds']:.0f} s in all",
        *(f"{name}: {summary[name]}" for name in ("data", "weights", "pictures", "curves")),
        f"again: singleshot evaluate {summary['weights']} --data {summary['data']} --split test "
        f"--metric {report.metric}",
    ]
    durable.write_text(out / "report.txt", "\n".join(lines) + "\n")
    durable.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
