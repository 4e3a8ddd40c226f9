"""What fitted anchors are worth: AP by size of object, before and after `data anchors`, on drawn streets.

    python -m benchmarks.anchor_fit --minutes 4 --out runs/anchor_fit

The same network is trained twice by the demo's recipe and seed for the same minutes, once with its own anchors
and once with boxes fitted to the training split, and judged on unseen scenes. Traffic lights are small: half of them
are under 24 pixels. Equal minutes are equal steps only on a quiet machine, so steps are printed too; with `--steps`
they are equal by definition. `--seeds 3` repeats it: one pair of runs says little about a point of AP.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import machine
from singleshot.data import anchor_fit
from singleshot.data.boxes import voc
from singleshot.detection.ssd import config_for
from singleshot.evaluation.loop import eval_loader, evaluate_split
from singleshot.evaluation.voc import VocAP
from singleshot.recipes.streets_demo import RECIPE
from singleshot.streets import write
from singleshot.training import run
from singleshot.training.recipe import Recipe

SIZE_BANDS_PX = ((0.0, 16.0), (16.0, 24.0), (24.0, 48.0), (48.0, float("inf")))


def trained(recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """AP of a run on the test split: in all, by class, and by class and size."""
    result = run.train(data, recipe, out=out, val_split=None, overwrite=True)
    test = voc.read(data, "test", label_map=result.detector.label_map)
    metric = VocAP(test, metric="voc12", size_bands_px=SIZE_BANDS_PX)
    report = evaluate_split(result.detector, eval_loader(result.detector, test), metric)
    figures = {"steps": result.steps, "all sizes": {"mean": report.map, **report.ap}}
    for band in report.ap_by_size:
        name = f"{band.size_px[0]:g}–{band.size_px[1]:g} px ({band.ground_truths} objects)"
        figures[name] = {"mean": band.map, **band.ap}
    return figures


def main() -> None:
    """Train both for each seed and print a table of AP, own boxes beside fitted ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--model", default="lite320-fine")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--train", type=int, default=write.TRAIN)
    parser.add_argument("--test", type=int, default=write.TEST)
    parser.add_argument("--out", type=Path, default=Path("runs/anchor_fit"))
    options = parser.parse_args()
    print(machine("torch"))
    data = options.out / "data"
    if not write.matches(data, train=options.train, test=options.test):
        write.make(data, train=options.train, test=options.test, overwrite=True)
    split = voc.read(data, "train")
    limit = {"epochs": None} | ({"steps": options.steps} if options.steps else {"minutes": options.minutes})
    base = replace(RECIPE, model=options.model, **limit)
    found = anchor_fit.report(split.samples, config_for(base.model, split.label_map.names, base.input_size_hw))
    print(f"unreached at IoU 0.5: {found.unreached:.1%} with own boxes, {found.unreached_fitted:.1%} with fitted ones")
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for name, anchors in (("own", None), ("fitted", found.suggested)):
            figures = trained(replace(base, seed=seed, anchors=anchors), data, options.out / f"{name}-{seed}")
            rows.append({"seed": seed, "boxes": name, **figures})
            print(f"seed {seed}, {name} boxes: {figures['steps']} steps, AP {_shown(figures['all sizes']['mean'])}")
    (options.out / "figures.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(f"\n{'AP (voc12), mean of seeds':34} {'':14} {'own':>7} {'fitted':>7}")
    for group in [key for key in rows[0] if key not in ("seed", "boxes", "steps")]:
        for label in rows[0][group]:
            means = [_mean([row[group][label] for row in rows if row["boxes"] == boxes]) for boxes in ("own", "fitted")]
            print(f"{group:34} {label:14} {_shown(means[0]):>7} {_shown(means[1]):>7}")


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _shown(fraction: float | None) -> str:
    return "n/a" if fraction is None else f"{fraction:.3f}"


if __name__ == "__main__":
    main()
