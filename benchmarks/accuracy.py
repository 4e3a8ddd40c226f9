"""What each choice of training is worth: AP of variants at equal cost, with several seeds and a paired bootstrap.

    python -m benchmarks.accuracy --data streets --variants today giou mosaic --steps 500 --seeds 3 --out runs/accuracy
    python -m benchmarks.accuracy --data ../shared/data/cards --variants all --steps 500 --seeds 3 --out runs/cards
    python -m benchmarks.accuracy --data bccd --recipe bccd --train-split trainval --split test --steps 300 \
        --variants nothing start --equal-steps --out runs/bccd
    python -m benchmarks.accuracy --data ../shared/data/cards --split test --images 50 --steps 500 \
        --variants nothing start --equal-steps --out runs/cards-50

A variant is a set of recipe fields (`VARIANTS`) on the recipe of `--recipe`, or of `Recipe()`. Its cost is steps times
the time of a step, as a ratio to the first variant's, measured interleaved before anything is trained; a dearer step
gets fewer of them, so a noisy machine does not decide. Every variant is trained with every seed on the same train split
and scored on `--split` (val by default; test once, for what was chosen). AP50, AP75 and AP50:95 are areas under the
curve. The difference to the first variant is given with its 95 % interval: images are drawn again, the same for both,
and the seeds' values are averaged.

Results stay in `--out/results.json`, one row a run; a run that is there already is not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.timing import machine
from singleshot.cli.train import find_recipe
from singleshot.config import to_json_dict
from singleshot.data import divide
from singleshot.data.augment.sampling import WHOLE, CropSampler
from singleshot.evaluation.loop import eval_loader, evaluate_split
from singleshot.evaluation.voc import CollectDetections
from singleshot.metrics.bootstrap import interval, resampled_map
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.voc_ap import mean_ap, voc_ap
from singleshot.prediction.predictor import Detector
from singleshot.streets import write
from singleshot.structures import Dataset, Detections
from singleshot.training import run
from singleshot.training.devices import open_fabric
from singleshot.training.load_pretrained import new_network
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe, override
from singleshot.training.setup import set_up
from singleshot.training.step import TrainingStep

SIGMOID = ["scores=sigmoid", "loss.quality=2"]
BOXES = ["loss.box_iou=giou", "loss.box_iou_weight=5"]
START = ["model=lite320-fine2", "weights=residual-fine2"]
MOSAIC = ["augmentation.mosaic_probability=0.5"]
MILD = [
    "augmentation.expand_probability=0.2",
    "augmentation.max_expand=1.5",
    "augmentation.samplers="
    + json.dumps([to_json_dict(each) for each in (WHOLE, CropSampler(scale=(0.5, 1.0), aspect_ratio=(0.75, 1.34)))]),
]
VARIANTS: dict[str, list[str]] = {
    "today": [],
    "nothing": ["model=lite320-fine2", "weights=null"],
    "start": START,
    "start+anchors": [*START, "anchors=auto"],
    "start+proportions": [*START, "anchors=auto", "input_size_hw=auto"],
    "start+giou": [*START, "anchors=auto", *BOXES],
    "start+mosaic": [*START, "anchors=auto", *MOSAIC],
    "start+giou+mosaic": [*START, "anchors=auto", *BOXES, *MOSAIC],
    "start+aligned": [*START, "anchors=auto", "loss.matching=task-aligned", *BOXES, *SIGMOID],
    "start+atss": [*START, "anchors=auto", "loss.matching=atss"],
    "start+mild": [*START, "anchors=auto", *MILD],
    "start+mild+proportions": [*START, "anchors=auto", "input_size_hw=auto", *MILD],
    "start+mild+giou": [*START, "anchors=auto", *MILD, *BOXES],
    "start+mild+mosaic": [*START, "anchors=auto", *MILD, *MOSAIC],
    "start+mild+atss": [*START, "anchors=auto", *MILD, "loss.matching=atss"],
    "start+mild+slow-backbone": [*START, "anchors=auto", *MILD, "optimizer.trunk_lr=0.3"],
    "start+mild+aligned": [*START, "anchors=auto", *MILD, "loss.matching=task-aligned", *BOXES, *SIGMOID],
    "start+slow-backbone": [*START, "anchors=auto", "optimizer.trunk_lr=0.3"],
    "anchors": ["anchors=auto"],
    "proportions": ["input_size_hw=auto"],
    "atss": ["loss.matching=atss"],
    "aligned": ["loss.matching=task-aligned"],
    "giou": BOXES,
    "diou": ["loss.box_iou=diou", "loss.box_iou_weight=5"],
    "ciou": ["loss.box_iou=ciou", "loss.box_iou_weight=5"],
    "giou-16": ["loss.box_iou=giou", "loss.box_iou_weight=16"],
    "quality": SIGMOID,
    "mosaic": MOSAIC,
    "anchors+giou": ["anchors=auto", *BOXES],
    "anchors+giou+mosaic": ["anchors=auto", *BOXES, *MOSAIC],
    "atss+giou+quality": ["loss.matching=atss", *BOXES, *SIGMOID],
    "aligned+giou+quality": ["loss.matching=task-aligned", *BOXES, *SIGMOID],
}
THRESHOLDS = {"AP50": (0.5,), "AP75": (0.75,), "AP50:95": tuple(np.arange(10) * 0.05 + 0.5)}
TIMED_STEPS = 7


def read(data: str, out: Path, train_split: str, split: str, images: int | None) -> tuple[Dataset, Dataset]:
    """Return the training split, or some images of it, and the one to score on.

    `streets` are drawn (600 scenes at 240×320). Faulty images are left out. The validation split of a folder without
    one is divided off; where another is scored on, the images of both are trained on.
    """
    folder = Path(data)
    if data == "streets":
        folder = out / "streets"
        if not write.matches(folder, train=500, test=100):
            write.make(folder, train=500, test=100, overwrite=True)
    chosen = divide.for_training(
        folder, train_split, "val" if split == "val" else None, test_share=0.0, splits=None, seed=0
    )
    train, test = chosen.train, chosen.val
    if test is None:
        test, _ = divide.for_evaluation(folder, split, label_map=train.label_map)
    if images is not None:
        drawn = np.random.default_rng(0).permutation(len(train))[:images]
        train = replace(train, samples=tuple(train.samples[index] for index in sorted(drawn.tolist())))
    return train, test


def step_seconds(recipes: dict[str, Recipe], train: Dataset) -> dict[str, float]:
    """Return the median time of a training step of each recipe, interleaved; the loader is not in it."""
    steps, batches = {}, {}
    for name, recipe in recipes.items():
        network = new_network(recipe, train.label_map.names, train.colours, train.samples).network
        setup = set_up(network, recipe, train, None)
        with setup.loader as loader:
            batches[name] = next(iter(loader.epoch()))
        fabric = open_fabric(precision=recipe.precision)
        steps[name] = TrainingStep(setup.network, setup.criterion, recipe, fabric, Ranks(fabric), print)
        setup.network.train()
    times: dict[str, list[float]] = {name: [] for name in recipes}
    for _ in range(TIMED_STEPS + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step(batches[name])
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def score(detector: Detector, test: Dataset) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return AP50, AP75 and AP50:95 of a detector, and each of them for every drawing of the bootstrap."""
    return judged(*evaluate_split(detector, eval_loader(detector, test), CollectDetections(test)))


def judged(found: list[Detections], there: Dataset) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the same of the detections in each image of a split."""
    flat, truths = FlatDetections.from_images(found), GroundTruths.from_samples(there.samples)
    count, figures, drawn = len(there.label_map), {}, {}
    for name, thresholds in THRESHOLDS.items():
        means = [mean_ap(voc_ap(flat, truths, count, metric="voc12", iou_threshold=each)) for each in thresholds]
        figures[name] = float(np.mean([0.0 if mean is None else mean for mean in means]))
        values = resampled_map(flat, truths, count, images=len(there), metric="voc12", iou_thresholds=thresholds)
        drawn[name] = values.tolist()
    return figures, drawn


def table(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Return the lines of the result: each variant beside the first, as Markdown."""
    lines = ["| variant | steps | " + " | ".join(THRESHOLDS) + " | AP50:95 against the first |"]
    lines.append("|---|---|" + "---|" * (len(THRESHOLDS) + 1))
    by_name = {name: [row for row in rows if row["variant"] == name] for name in names}
    first = by_name[names[0]]
    for name, found in by_name.items():
        if not found:
            continue
        cells = []
        for figure in THRESHOLDS:
            values = [row["figures"][figure] for row in found]
            cells.append(f"{np.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})")
        pairs = [(row, other) for row in found for other in first if row["seed"] == other["seed"]]
        difference = np.mean([np.subtract(a["drawn"]["AP50:95"], b["drawn"]["AP50:95"]) for a, b in pairs], axis=0)
        bounds = interval(np.atleast_1d(difference))
        gain = np.mean([a["figures"]["AP50:95"] - b["figures"]["AP50:95"] for a, b in pairs])
        text = "" if name == names[0] or bounds is None else f"{gain:+.3f} ({bounds[0]:+.3f} to {bounds[1]:+.3f})"
        lines.append(f"| {name} | {found[0]['steps']} | {' | '.join(cells)} | {text} |")
    return lines


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="streets", help="a data folder, or streets")
    parser.add_argument("--variants", nargs="+", default=["today"], help=f"all, or of {', '.join(VARIANTS)}")
    parser.add_argument("--steps", type=int, default=500, help="of the first variant")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", help="whose fields the variants change; Recipe() where none is named")
    parser.add_argument("--train-split", default="train")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, help="train on so many images, drawn at random, the same for all")
    parser.add_argument("--weights", help="start every variant from these")
    parser.add_argument("--set", nargs="*", default=[], help="fields of every variant, such as input_size_hw=[240,320]")
    parser.add_argument("--equal-steps", action="store_true", help="the same steps for all, whatever they cost")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    options = parser.parse_args()
    names = list(VARIANTS) if options.variants == ["all"] else options.variants
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine("torch"), f"threads {torch.get_num_threads()}", flush=True)
    train, test = read(options.data, options.out, options.train_split, options.split, options.images)
    print(f"{len(train)} images to train on, {len(test)} of {test.split} to score on", flush=True)
    base = Recipe() if options.recipe is None else find_recipe(options.recipe)
    base = replace(base, epochs=None, minutes=None, steps=options.steps, validate_every=1_000_000, train_subset=0)
    if options.weights:
        base = replace(base, weights=options.weights)
    recipes = {name: override(base, [*options.set, *VARIANTS[name]]) for name in names}
    seconds = dict.fromkeys(names, 1.0) if options.equal_steps else step_seconds(recipes, train)
    store = options.out / "results.json"
    rows: list[dict[str, Any]] = json.loads(store.read_text(encoding="utf-8")) if store.is_file() else []
    for seed in range(options.seeds):
        for name in names:
            if any(row["variant"] == name and row["seed"] == seed for row in rows):
                continue
            steps = max(1, round(options.steps * seconds[names[0]] / seconds[name]))
            recipe = replace(recipes[name], steps=steps, seed=seed)
            began = time.monotonic()
            result = run.train(train, recipe, out=options.out / f"{name}-{seed}", on_bad="skip", overwrite=True)
            figures, drawn = score(result.detector, test)
            row = {"variant": name, "seed": seed, "steps": steps, "step_ratio": seconds[name] / seconds[names[0]]}
            row |= {"settings": [*options.set, *VARIANTS[name]], "seconds": time.monotonic() - began}
            rows.append({**row, "figures": figures, "drawn": drawn})
            store.write_text(json.dumps(rows) + "\n", encoding="utf-8")
            shown = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
            print(f"{name}, seed {seed}: {steps} steps, {shown} ({time.monotonic() - began:.0f} s)", flush=True)
    print("\n".join(table(rows, names)))


if __name__ == "__main__":
    main()
