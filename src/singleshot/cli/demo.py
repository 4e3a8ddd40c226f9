"""`singleshot demo`: the main job from end to end on drawn data, with no download, in five minutes on two cores."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from singleshot.errors import CannotCreateError
from singleshot.storage import atomic

if TYPE_CHECKING:
    from singleshot.evaluation.voc import VocReport
    from singleshot.structures import Dataset, Detections
    from singleshot.training.run import Run

PICTURES = 12


def demo(
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo"),
    minutes: Annotated[float | None, typer.Option(help="Minutes of training.", min=0.001)] = None,
    seed: Annotated[int, typer.Option(help="Of the drawn scenes and of training.", min=0)] = 0,
    train: Annotated[int | None, typer.Option(help="Scenes to learn from.", min=1)] = None,
    test: Annotated[int | None, typer.Option(help="Scenes to judge by.", min=1)] = None,
    masks: Annotated[bool, typer.Option(help="Train a segmenter on the scenes' masks too.")] = True,
) -> None:
    """Draw street scenes, train a detector and a segmenter on them, judge both on unseen ones, show what they see."""
    started = time.monotonic()
    from singleshot.cli import terminal
    from singleshot.cli.demo_masks import segment_scenes
    from singleshot.data.boxes import voc
    from singleshot.evaluation.loop import eval_loader, evaluate_split
    from singleshot.evaluation.voc import SIZE_BANDS_PX, CollectDetections, as_text, voc_report, voc_table
    from singleshot.prediction.load import load_detector
    from singleshot.recipes.streets_demo import RECIPE
    from singleshot.training import run

    recipe = dataclasses.replace(RECIPE, seed=seed, minutes=RECIPE.minutes if minutes is None else minutes)
    data = out / "data"
    _refuse_foreign(out, data)
    folder, mask_folder = _fresh(out / "train"), _fresh(out / "train_masks")
    _draw(data, seed, train, test)
    with terminal.TrainingBar() as bar:
        trained = run.train(data, recipe, out=folder, val_split=None, overwrite=True, observer=bar)
    # The file is judged, as `singleshot evaluate` would: the network in memory computes in the training's precision.
    detector = load_detector(trained.weights)
    judged = voc.read(data, "test", label_map=detector.label_map)
    found, _ = evaluate_split(detector, eval_loader(detector, judged, workers=1), CollectDetections(judged))
    report = voc_report(found, judged, metric=recipe.metric, size_bands_px=SIZE_BANDS_PX)
    pictures = _draw_pictures(out / "pictures", judged, found)
    summary = _summary(out, data, trained, report, pictures)
    summary["total_seconds"] = round(time.monotonic() - started, 1)
    _write(out, report, summary)
    terminal.show(voc_table(report))
    terminal.show((out / "report.txt").read_text(encoding="utf-8"))
    if masks:
        summary["segmentation"] = segment_scenes(
            out, data, folder=mask_folder, weights=trained.weights, seed=seed, minutes=minutes
        )
        atomic.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
        said = summary["segmentation"]
        line = f"mIoU {as_text(said['miou'])} on {said['images']} unseen scenes, {said['total_seconds']:.0f} s more"
        terminal.show(f"{line}\npictures: {said['pictures']}")


def _refuse_foreign(out: Path, data: Path) -> None:
    """Refuse a folder that is not a demo's own: what lies there under the names of the demo's files would be lost."""
    from singleshot.cli import outputs
    from singleshot.streets import write

    outputs.check_folder(out)
    if not out.is_dir() or all(path.name.startswith(".") for path in out.iterdir()):
        return
    begun = (data / write.MANIFEST).is_file()
    # The summary is written before the other two, so that they can be known by it.
    written = any((out / name).exists() for name in ("report.txt", "curves.png"))
    if not begun or (written and not (out / "summary.json").is_file()):
        raise CannotCreateError("holds something else than a demo", remedy="Choose another --out", file=out)


def _draw(data: Path, seed: int, train: int | None, test: int | None) -> None:
    """Draw the scenes, unless the same ones are there already."""
    from singleshot.cli import terminal
    from singleshot.streets import write

    train, test = train or write.TRAIN, test or write.TEST
    if write.matches(data, seed=seed, train=train, test=test):
        return
    with terminal.bar("drawing scenes", train + write.VAL + test) as advance:
        write.make(
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
    """Write annotated copies of the scenes with the most objects into a folder. Returns the folder."""
    from singleshot.drawing import draw
    from singleshot.images import read_image
    from singleshot.prediction import annotations

    busiest = sorted(range(len(dataset)), key=lambda place: -len(dataset.samples[place].boxes_xyxy))[:PICTURES]
    for place in busiest:
        sample = dataset.samples[place]
        drawn = draw(read_image(sample.image_path), found[place], threshold=0.4)
        annotations.write_image(folder / f"{sample.image_id}.jpg", drawn)
    return folder


def _summary(out: Path, data: Path, trained: Run, report: VocReport, pictures: Path) -> dict[str, Any]:
    return report.as_json() | {
        "train_seconds": round(trained.seconds, 1),
        "images_per_second": round(trained.images_per_second, 1),
        "data": str(data),
        "weights": str(trained.weights),
        "pictures": str(pictures),
        "curves": str(out / "curves.png"),
    }


def _write(out: Path, report: VocReport, summary: dict[str, Any]) -> None:
    """`summary.json`, `curves.png` and the short report in words."""
    from singleshot.evaluation.voc import map_line
    from singleshot.metrics.curves import draw_precision_recall

    atomic.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    draw_precision_recall(report.curves, out / "curves.png")
    lines = ["AP by size of object (√area in pixels of the scene):"]
    for band in summary["ap_by_size"]:
        low, high = band["size_px"]
        shown = "n/a" if band["map"] is None else f"{band['map']:.3f}"
        lines.append(f"  {low:g}–{'…' if high is None else f'{high:g}'} px: {shown} ({band['ground_truths']} objects)")
    lines += [
        f"{map_line(report.metric, report.map, report.images)} that it never saw, with {report.ground_truths} objects",
        f"trained in {summary['train_seconds']:.0f} s at {summary['images_per_second']:.0f} pictures/s, "
        f"{summary['total_seconds']:.0f} s in all",
        *(f"{name}: {summary[name]}" for name in ("data", "weights", "pictures", "curves")),
        f"again: singleshot evaluate {summary['weights']} --data {summary['data']} --split test "
        f"--metric {report.metric}",
    ]
    atomic.write_text(out / "report.txt", "\n".join(lines) + "\n")
