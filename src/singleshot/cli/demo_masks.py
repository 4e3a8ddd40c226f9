"""The demo's second part: a segmenter on the masks of the same drawn scenes, within three minutes more on two cores."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from singleshot.structures import Dataset

PICTURES = 12


def segment_scenes(
    out: Path, data: Path, *, folder: Path, weights: Path, seed: int, minutes: float | None
) -> dict[str, Any]:
    """Train a segmenter on the demo's scenes, judge its file on unseen ones, draw some.

    Args:
        out: the demo's folder; overlays go to `pictures_masks` in it.
        data: the drawn scenes.
        folder: of the run.
        weights: of the demo's detector, whose trunk the segmenter starts from: it knows these streets already.
        seed: of training.
        minutes: of training; None for the recipe's own.

    Returns:
        The part `segmentation` of `summary.json`.
    """
    started = time.monotonic()
    from singleshot.cli import terminal
    from singleshot.data.masks import folders as mask_folders
    from singleshot.evaluation.loop import eval_loader, predictions
    from singleshot.evaluation.miou import MeanIoU, miou_table
    from singleshot.prediction.load import load_segmenter
    from singleshot.recipes.streets_demo_masks import RECIPE
    from singleshot.training import run

    minutes = RECIPE.minutes if minutes is None else minutes
    recipe = dataclasses.replace(RECIPE, weights=str(weights), seed=seed, minutes=minutes)
    with terminal.TrainingBar() as bar:
        trained = run.train(data, recipe, out=folder, data_format="masks", val_split=None, overwrite=True, observer=bar)
    # The file is judged, as `singleshot evaluate` would.
    segmenter = load_segmenter(trained.weights)
    judged = mask_folders.read(data, "test")
    metric = MeanIoU(judged)
    for batch, _, results in predictions(segmenter, eval_loader(segmenter, judged, workers=1)):
        metric.update(batch, results)
        for index, result in zip(batch.indices.tolist(), results, strict=True):
            if index < PICTURES:
                _draw(out / "pictures_masks", judged, index, result)
    report = metric.compute()
    terminal.show(miou_table(report))
    facts = report.as_json()
    kept = ("miou", "iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "images")
    return {name: facts[name] for name in kept} | {
        "train_seconds": round(trained.seconds, 1),
        "images_per_second": round(trained.images_per_second, 1),
        "weights": str(trained.weights),
        "pictures": str(out / "pictures_masks"),
        "total_seconds": round(time.monotonic() - started, 1),
    }


def _draw(folder: Path, dataset: Dataset, index: int, found: Any) -> None:
    from singleshot.drawing import draw
    from singleshot.images import read_image
    from singleshot.prediction import annotations

    sample = dataset.samples[index]
    annotations.write_image(folder / f"{sample.image_id}.jpg", draw(read_image(sample.image_path), found))
