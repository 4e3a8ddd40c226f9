"""Questions that the posts of 2017 left open, asked on drawn streets: pairs of runs that differ in one thing.

    python -m benchmarks.claims_2017                       all of it
    python -m benchmarks.claims_2017 --pair clip adam      the two that train the light detector: 15 minutes

    anchors    the posts' anchors against Caffe's: vgg300-2017 and vgg300, from the same trunk
    clip       ground truth left as it reaches out of a crop, against cut off there
    adam       TensorFlow's default epsilon of 1e-8 against the posts' 0.1, each at the posts' rate of 1e-3
    scale      no pair: where the L2-norm's scales, 20 at the start, are after the run of vgg300

Runs of a pair take the same steps with the same seeds, so a busy machine changes no figure. One seed says little about
a point of AP; `--seeds 3` says more. The scenes are drawn and the runs short: what comes out is a hint for VOC.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.timing import machine
from singleshot.data import anchor_fit
from singleshot.data.boxes import voc
from singleshot.detection.ssd import config_for
from singleshot.evaluation.loop import eval_loader, evaluate_split
from singleshot.evaluation.voc import VocAP
from singleshot.prediction.predictor import Detector
from singleshot.recipes.streets_demo import RECIPE
from singleshot.streets import write
from singleshot.training import run
from singleshot.training.recipe import Recipe

LIGHT_STEPS, VGG_STEPS = 700, 250
LIGHT = replace(RECIPE, anchors=None, epochs=None, steps=LIGHT_STEPS)
VGG = replace(
    RECIPE,
    model="vgg300",
    anchors=None,
    weights="vgg16-hed",
    freeze=2,
    input_size_hw=None,
    epochs=None,
    steps=VGG_STEPS,
    batch_size=8,
)
VGG = replace(VGG, optimizer=replace(RECIPE.optimizer, lr=5e-4, trunk_lr=0.1))
UNCLIPPED = replace(RECIPE.augmentation, clip_boxes=False)


def adam(epsilon: float) -> Recipe:
    """The light recipe with the posts' optimizer: TensorFlow 1's Adam, no warm-up, no clipped gradient."""
    optimizer = replace(RECIPE.optimizer, kind="adam-tf1", lr=1e-3, epsilon=epsilon, weight_decay=5e-4, clip_norm=None)
    return replace(LIGHT, optimizer=optimizer, schedule=replace(RECIPE.schedule, warmup_steps=0))


PAIRS: dict[str, dict[str, Recipe]] = {
    "anchors": {"Caffe's anchors": VGG, "the posts' anchors": replace(VGG, model="vgg300-2017")},
    "clip": {"boxes cut off at the crop": LIGHT, "boxes left as they are": replace(LIGHT, augmentation=UNCLIPPED)},
    "adam": {"Adam, epsilon 1e-8": adam(1e-8), "Adam, epsilon 0.1": adam(0.1)},
}


def main() -> None:
    """Train each side of each pair, and print AP beside what else the pair is about."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of every run, for a quick try")
    parser.add_argument("--out", type=Path, default=Path("runs/claims_2017"))
    options = parser.parse_args()
    print(machine("torch"))
    data = options.out / "data"
    if not write.matches(data, train=write.TRAIN, test=write.TEST):
        write.make(data, train=write.TRAIN, test=write.TEST, overwrite=True)
    for pair in options.pair:
        print(f"\n{pair}")
        for name, recipe in PAIRS[pair].items():
            chosen = recipe if options.steps is None else replace(recipe, steps=options.steps)
            scores: list[float] = []
            for seed in range(options.seeds):
                out = options.out / f"{pair}-{name.replace(' ', '_')}-{seed}"
                result = run.train(data, replace(chosen, seed=seed), out=out, val_split=None, overwrite=True)
                scores.append(score(result.detector, data))
                more = facts(pair, out, result.detector, data)
                print(f"  {name}, seed {seed}: {result.steps} steps, mAP {scores[-1]:.3f}; {more}")
            print(f"{name}: mAP {np.mean(scores):.3f}")


def score(detector: Detector, data: Path) -> float:
    """Its mAP (voc12) on the unseen scenes."""
    test = voc.read(data, "test", label_map=detector.label_map)
    return evaluate_split(detector, eval_loader(detector, test), VocAP(test, metric="voc12")).map or 0.0


def facts(pair: str, out: Path, detector: Detector, data: Path) -> str:
    """What else the pair is about, in words."""
    if pair == "anchors":
        split = voc.read(data, "train")
        own = detector.network.config
        config = config_for(own.flavour, split.label_map.names, own.input_size_hw)
        reach = anchor_fit.report(split.samples, config)
        return f"objects out of reach {reach.unreached:.1%}; {scales(detector)}"
    rows = list(csv.DictReader((out / "log.csv").open(encoding="utf-8")))
    losses = [float(row["train_class"]) + float(row["train_box"]) for row in rows]
    return f"loss by epoch from {losses[0]:.2f} to {losses[-1]:.2f}, at most {max(losses):.2f}"


def scales(detector: Detector) -> str:
    """Where the L2-norm's scales are."""
    values = dict(detector.network.named_parameters())["trunk.conv4_3_norm.scale"].detach()
    low, high = values.min().item(), values.max().item()
    return f"scales of conv4_3 {values.mean().item():.2f} on average, {low:.2f} to {high:.2f}"


if __name__ == "__main__":
    main()
