"""Does choosing the images to label next by a model beat drawing them at random? A curve of AP over labelled images.

    python -m benchmarks.select_images --data ../shared/data/cards --sizes 20 50 100 --steps 300 --seeds 1

The first images are drawn at random, the same for both ways. Then each way has a model trained on what it has labelled
so far and adds images of the training split until the next size: `random` draws them, `chosen` takes those of
`singleshot data select` (`prediction/select.py`). All train by the default recipe for the same steps, and are judged on
the test split.

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

from benchmarks.accuracy import THRESHOLDS, read, score
from benchmarks.timing import machine
from singleshot.metrics.bootstrap import interval
from singleshot.prediction.load import load_detector
from singleshot.prediction.predictor import Detector
from singleshot.prediction.select import select
from singleshot.structures import Dataset
from singleshot.training import run
from singleshot.training.recipe import default_recipe

WAYS = ("random", "chosen")


def next_images(way: str, detector: Detector, train: Dataset, labelled: list[int], count: int, seed: int) -> list[int]:
    """Return the indices of the images to label next."""
    rest = [index for index in range(len(train)) if index not in set(labelled)]
    if way == "random":
        return np.random.default_rng(seed).permutation(rest)[:count].tolist()
    index_of = {sample.image_path: index for index, sample in enumerate(train.samples)}
    pool, known = ([train.samples[index].image_path for index in part] for part in (rest, labelled))
    return [index_of[image] for image in select(pool, detector, count, labelled=known).images]


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
