"""`singleshot demo`: the whole workflow on generated street scenes, without a download: minutes on two cores.

A detector is trained on the boxes of the scenes, then a segmenter on their masks, which starts from the detector's
backbone. Each is trained until its score on scenes that were held back stops rising, or its recipe's epochs are done:
the clock does not end it. How long it will take here is said after the first steps. Both
are evaluated on unseen scenes, and some of these are drawn. In the end the detector that comes with the package looks
at a real photograph and at a frame of a real video.
"""

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
    from singleshot.training.recipe import Recipe

MAX_IMAGES = 12
"""Number of scenes to draw: those with the most objects."""
DRAW_THRESHOLD = 0.4
HOLD_BACK_FROM = 200
"""Scenes to train on from which some are held back; the score of fewer would be noise."""
MASK_SCORES = ("miou", "iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "images")


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("runs/demo"),
    minutes: Annotated[
        float | None, typer.Option(help="Minutes of training at most, for each model.", min=0.001)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the scenes and of training.", min=0)] = 0,
    train: Annotated[int | None, typer.Option(help="Number of scenes to train on.", min=1)] = None,
    test: Annotated[int | None, typer.Option(help="Number of scenes to evaluate on.", min=1)] = None,
    masks: Annotated[bool, typer.Option(help="Also train a segmenter on the masks of the scenes.")] = True,
    weights: Annotated[
        str | None, typer.Option(help="Weights for the detector to start from, as `train --weights` takes them.")
    ] = None,
) -> None:
    """Draw street scenes, train a detector and a segmenter, evaluate both on unseen scenes, and draw some results."""
    started = time.monotonic()
    from singleshot.cli import terminal
    from singleshot.evaluation.miou import miou_table
    from singleshot.evaluation.voc import as_text, voc_table
    from singleshot.recipes import streets_demo, streets_demo_masks
    from singleshot.training.run import recipe_for

    data = out / "data"
    _check_folder(out, data)
    run_folder, masks_folder = _run_folder(out / "train"), _run_folder(out / "train_masks")
    _draw_scenes(data, seed, train, test)
    limits: dict[str, Any] = {"seed": seed} | ({} if minutes is None else {"epochs": None, "minutes": minutes})
    recipe = dataclasses.replace(streets_demo.RECIPE, **limits)
    recipe = recipe_for(recipe, weights)
    report, facts = _train_and_evaluate(recipe, data, "voc", run_folder, out / "pictures")
    summary = report.as_json() | facts | {"data": str(data), "curves": str(out / "curves.png")}
    summary["total_seconds"] = round(time.monotonic() - started, 1)
    _write_report(out, report, summary)
    terminal.show(voc_table(report))
    terminal.show((out / "report.txt").read_text(encoding="utf-8"))
    if not masks:
        _show_real_images(out / "pictures_everyday")
        terminal.show(f"images: {out / 'pictures'}, {out / 'pictures_everyday'}")
        return
    started = time.monotonic()
    recipe = dataclasses.replace(streets_demo_masks.RECIPE, weights=summary["weights"], **limits)
    report, facts = _train_and_evaluate(recipe, data, "masks", masks_folder, out / "pictures_masks")
    terminal.show(miou_table(report))
    scores = report.as_json()
    part = {name: scores[name] for name in MASK_SCORES} | facts
    part["total_seconds"] = round(time.monotonic() - started, 1)
    atomic.write_text(out / "summary.json", json.dumps(summary | {"segmentation": part}, indent=2) + "\n")
    line = f"mIoU {as_text(part['miou'])} on {part['images']} unseen scenes, {part['total_seconds']:.0f} s more"
    terminal.show(line)
    _show_real_images(out / "pictures_everyday")
    terminal.show(f"images: {out / 'pictures'}, {out / 'pictures_masks'}, {out / 'pictures_everyday'}")


def _train_and_evaluate(
    recipe: Recipe, data: Path, data_format: str, folder: Path, images: Path
) -> tuple[Any, dict[str, Any]]:
    """Train on the scenes, evaluate the best weights on the test split and draw some of its scenes.

    Args:
        recipe: of a detector or a segmenter.
        data: the scenes.
        data_format: `voc` for their boxes, `masks` for their masks.
        folder: of the run, which is replaced.
        images: the folder for drawn scenes.

    Returns:
        The report, and what the summary says about the run.
    """
    from singleshot.cli import terminal
    from singleshot.cli.demo_bar import DemoBar, in_words
    from singleshot.data import read
    from singleshot.drawing import draw
    from singleshot.evaluation.evaluate import metric_for
    from singleshot.evaluation.loop import eval_loader, predictions
    from singleshot.evaluation.voc import SIZE_BANDS_PX
    from singleshot.images import read_image
    from singleshot.prediction.annotations import write_image
    from singleshot.prediction.load import load
    from singleshot.training import run

    masks = data_format == "masks"
    many = len(read.read(data, "train", layout=data_format, with_masks=masks)) >= HOLD_BACK_FROM
    held_back = len(read.read(data, "val", layout=data_format, with_masks=masks)) if many else 0
    val_split = "val" if held_back else None
    options = {"out": folder, "data_format": data_format, "val_split": val_split, "overwrite": True}
    if masks:
        terminal.note(f"starting from the backbone of {recipe.weights}")
    with DemoBar("segmenter" if masks else "detector", recipe, held_back) as bar:
        trained = run.train(data, recipe, observer=bar, on_start=terminal.note, **options)
    terminal.note(f"trained for {in_words(trained.seconds)}, {trained.steps} steps")
    # The stored weights are evaluated, as by `singleshot evaluate`: training computes in another number format.
    model: Any = load(trained.weights)
    label_map = None if masks else model.label_map
    dataset = read.read(data, "test", layout=data_format, label_map=label_map, with_masks=masks)
    metric: Any = metric_for("miou" if masks else recipe.metric, dataset, size_bands_px=SIZE_BANDS_PX)
    busiest = sorted(range(len(dataset)), key=lambda index: -len(dataset.samples[index].boxes_xyxy))[:MAX_IMAGES]
    for batch, _, results in predictions(model, eval_loader(model, dataset, workers=1)):
        metric.update(batch, results)
        for index, result in zip(batch.indices.tolist(), results, strict=True):
            if index in busiest:
                sample = dataset.samples[index]
                drawn = draw(read_image(sample.image_path), result, threshold=DRAW_THRESHOLD)
                write_image(images / f"{sample.image_id}.jpg", drawn)
    return metric.compute(), {
        "train_seconds": round(trained.seconds, 1),
        "images_per_second": round(trained.images_per_second, 1),
        "weights": str(trained.weights),
        "pictures": str(images),
    }


def _show_real_images(folder: Path) -> None:
    """Draw what the detector that comes with the package finds in a photograph and in a frame of a real video."""
    from singleshot.cli import terminal
    from singleshot.drawing import draw
    from singleshot.images import read_image
    from singleshot.prediction.annotations import write_image
    from singleshot.prediction.load import load
    from singleshot.starts import shipped

    detector = load(shipped.EVERYDAY)
    terminal.show(f"real images, by {shipped.EVERYDAY}, the detector that comes with the package:")
    for source in shipped.real_images():
        image = read_image(source)
        result = detector.predict(image).detections
        found = [f"{name} {score:.2f}" for name, score in zip(result.class_names, result.scores, strict=True)]
        write_image(folder / source.name, draw(image, result))
        terminal.show(f"  {folder / source.name}: {', '.join(found) or 'nothing'}")


def _check_folder(out: Path, data: Path) -> None:
    """Refuse a folder with files other than a demo's: those with the same names would be lost."""
    from singleshot.cli import outputs
    from singleshot.streets import write

    outputs.check_folder(out)
    if not out.is_dir() or all(path.name.startswith(".") for path in out.iterdir()):
        return
    begun = (data / write.MANIFEST).is_file()
    # The summary is written before the other two, so it identifies them.
    written = any((out / name).exists() for name in ("report.txt", "curves.png"))
    if not begun or (written and not (out / "summary.json").is_file()):
        raise CannotCreateError("contains something other than a demo", remedy="Choose another --out", file=out)


def _run_folder(folder: Path) -> Path:
    """Return the folder of a run, which each demo replaces. Raises CannotCreateError if it contains anything else."""
    if folder.exists() and not (folder / "recipe.json").is_file() and any(folder.iterdir()):
        raise CannotCreateError("contains something other than a run", remedy="Choose another --out", file=folder)
    return folder


def _draw_scenes(data: Path, seed: int, train: int | None, test: int | None) -> None:
    """Draw the scenes, unless the same ones exist already."""
    from singleshot.cli import terminal
    from singleshot.streets import write

    train, test = train or write.TRAIN, test or write.TEST
    if write.matches(data, seed=seed, train=train, test=test):
        return
    with terminal.bar("drawing scenes", train + write.VAL + test) as advance:
        write.make(data, seed=seed, train=train, test=test, overwrite=True, on_progress=advance)


def _write_report(out: Path, report: VocReport, summary: dict[str, Any]) -> None:
    """Write `summary.json`, `curves.png` and `report.txt`, a report in words."""
    from singleshot.evaluation.voc import as_text, map_line
    from singleshot.metrics.curves import draw_precision_recall

    atomic.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    draw_precision_recall(report.curves, out / "curves.png")
    lines = ["AP by size of object (√area in pixels of the scene):"]
    for band in summary["ap_by_size"]:
        low, high = band["size_px"]
        size = f"{low:g}–{'…' if high is None else f'{high:g}'} px"
        lines.append(f"  {size}: {as_text(band['map'])} ({band['ground_truths']} objects)")
    lines += [
        f"{map_line(report.metric, report.map, report.images)} not trained on, with {report.ground_truths} objects",
        f"trained in {summary['train_seconds']:.0f} s at {summary['images_per_second']:.0f} images/s, "
        f"{summary['total_seconds']:.0f} s in total",
        *(f"{label}: {summary[name]}" for label, name in (("data", "data"), ("weights", "weights"))),
        *(f"{label}: {summary[name]}" for label, name in (("images", "pictures"), ("curves", "curves"))),
        f"repeat: singleshot evaluate {summary['weights']} --data {summary['data']} --split test "
        f"--metric {report.metric}",
    ]
    atomic.write_text(out / "report.txt", "\n".join(lines) + "\n")
