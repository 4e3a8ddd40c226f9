"""Does choosing the images to label next by a model beat drawing them at random? A curve of AP over labelled images.

    python -m benchmarks.select_images --data ../shared/data/cards --sizes 20 50 100 --steps 300 --seeds 1

The first images are drawn at random, the same for both ways. Then each way has a model trained on what it has labelled
so far and adds images of the training split until the next size: `random` draws them, `chosen` takes the most uncertain
that differ. Uncertainty of an image is the sum over its detections of 1 − |2p − 1| for the score p (Brust et al.,
"Active Learning for Deep Object Detection", 2018); among four times as many of the most uncertain as are wanted, each
next one is the farthest from all that are labelled, by the mean of the backbone's feature maps (Sener and Savarese,
"Active Learning for Convolutional Neural Networks: A Core-Set Approach", 2018). All train by the default recipe for the
same steps, and are judged on the test split.

Results stay in `--out/results.json`; what is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from benchmarks.accuracy import THRESHOLDS, read, score
from benchmarks.timing import machine
from singleshot import preprocess
from singleshot.images import read_image
from singleshot.metrics.bootstrap import interval
from singleshot.prediction.load import load_detector
from singleshot.prediction.predictor import Detector
from singleshot.structures import Dataset
from singleshot.training import run
from singleshot.training.recipe import default_recipe

WAYS = ("random", "chosen")
LEAST_SCORE = 0.05
CANDIDATES = 4
"""So many times the wanted number of images are candidates for being different."""


def uncertainty(scores: Float[ndarray, " D"]) -> float:
    """Return the uncertainty of an image by the scores of its detections, in 0…D; 0 for none.

    >>> uncertainty(np.array([0.5, 1.0, 0.25]))
    1.5
    """
    return float(np.sum(1 - np.abs(2 * np.asarray(scores, np.float64) - 1)))


def farthest_first(
    features: Float[ndarray, "N F"], labelled: list[int], candidates: list[int], count: int
) -> list[int]:
    """Return `count` candidates, or all if there are fewer, each the farthest from all labelled and chosen ones."""
    chosen: list[int] = []
    nearest = np.full(len(features), np.inf)
    for index in labelled:
        nearest = np.minimum(nearest, np.linalg.norm(features - features[index], axis=1))
    left = list(candidates)
    while left and len(chosen) < count:
        best = max(left, key=lambda index: (nearest[index], -index))
        left.remove(best)
        chosen.append(best)
        nearest = np.minimum(nearest, np.linalg.norm(features - features[best], axis=1))
    return chosen


@torch.inference_mode()
def described(detector: Detector, dataset: Dataset) -> tuple[list[float], Float[ndarray, "N F"]]:
    """Return the uncertainty of each image, and its features."""
    values, features = [], []
    for sample in dataset.samples:
        image = read_image(sample.image_path)
        values.append(uncertainty(detector.predict(image, threshold=LEAST_SCORE).scores))
        inputs = preprocess.normalise(detector.preprocess([image]).images, detector.network.config.preprocess)
        maps = detector.network.trunk(inputs)
        features.append(torch.cat([each.mean(dim=(2, 3)) for each in maps[:3]], dim=1)[0].float().numpy())
    return values, np.stack(features)


def next_images(way: str, detector: Detector, train: Dataset, labelled: list[int], count: int, seed: int) -> list[int]:
    """Return the indices of the images to label next."""
    rest = [index for index in range(len(train)) if index not in set(labelled)]
    if way == "random":
        return np.random.default_rng(seed).permutation(rest)[:count].tolist()
    values, features = described(detector, train)
    candidates = sorted(rest, key=lambda index: -values[index])[: CANDIDATES * count]
    return farthest_first(features, labelled, candidates, count)


def trained(
    train: Dataset, test: Dataset, labelled: list[int], name: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Train on some images, and return the scores and the run's folder."""
    part = replace(train, samples=tuple(train.samples[index] for index in sorted(labelled)))
    recipe = replace(
        default_recipe(), epochs=None, minutes=None, steps=options.steps, validate_every=1_000_000, train_subset=0
    )
    began = time.monotonic()
    seed = int(name.rpartition("-")[2])
    result = run.train(part, replace(recipe, seed=seed), out=options.out / name, on_bad="skip", overwrite=True)
    figures, drawn = score(result.detector, test)
    shown = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
    print(f"{name}: {len(part)} images, {shown} ({time.monotonic() - began:.0f} s)", flush=True)
    return {"weights": str(result.weights), "figures": figures, "drawn": drawn}


def curve(rows: list[dict[str, Any]], sizes: list[int]) -> list[str]:
    """Return the lines of the result as Markdown: both ways by the number of images, and the difference."""
    lines = ["| images | way | " + " | ".join(THRESHOLDS) + " | AP50:95 against random |", "|---|---|---|---|---|---|"]
    for size in sizes:
        of_way = {way: [row for row in rows if (row["size"], row["way"]) == (size, way)] for way in WAYS}
        for way, found in of_way.items():
            cells = []
            for figure in THRESHOLDS:
                values = [row["figures"][figure] for row in found]
                cells.append(f"{np.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})")
            pairs = zip(found, of_way["random"], strict=True)
            bounds = interval(
                np.mean([np.subtract(a["drawn"]["AP50:95"], b["drawn"]["AP50:95"]) for a, b in pairs], axis=0)
            )
            gain = np.mean([row["figures"]["AP50:95"] for row in found])
            gain -= np.mean([row["figures"]["AP50:95"] for row in of_way["random"]])
            text = "" if way == "random" or bounds is None else f"{gain:+.3f} ({bounds[0]:+.3f} to {bounds[1]:+.3f})"
            lines.append(f"| {size} | {way} | {' | '.join(cells)} | {text} |")
    return lines


def main() -> None:
    """Train what is missing, and print the curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a data folder with a test split")
    parser.add_argument("--sizes", nargs="+", type=int, default=[20, 50, 100])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/select"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine("torch"), f"threads {torch.get_num_threads()}", flush=True)
    train, test = read(options.data, options.out, "train", "test", None)
    store = options.out / "results.json"
    rows: list[dict[str, Any]] = json.loads(store.read_text(encoding="utf-8")) if store.is_file() else []
    for seed in range(options.seeds):
        first = np.random.default_rng(seed).permutation(len(train))[: options.sizes[0]].tolist()
        labelled = {way: list(first) for way in WAYS}
        for size, following in zip(options.sizes, [*options.sizes[1:], None], strict=True):
            for way in WAYS:
                row = next((row for row in rows if (row["seed"], row["size"], row["way"]) == (seed, size, way)), None)
                if row is None:
                    # Both begin with the same images: one training serves both.
                    twin = rows[-1] if size == options.sizes[0] and way != WAYS[0] else None
                    made = twin or trained(train, test, labelled[way], f"{way}-{size}-{seed}", options)
                    row = {**made, "seed": seed, "size": size, "way": way, "labelled": list(labelled[way])}
                    rows.append(row)
                    store.write_text(json.dumps(rows) + "\n", encoding="utf-8")
                if following is not None:
                    detector = load_detector(row["weights"], device="cpu")
                    labelled[way] += next_images(way, detector, train, labelled[way], following - size, seed)
    print("\n".join(curve(rows, options.sizes)))


if __name__ == "__main__":
    main()
