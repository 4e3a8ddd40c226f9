"""How many wrong annotations `data review` finds: 40 of 600 exact boxes of drawn streets are spoilt, 100 rows are read.

    python -m benchmarks.review --out runs/review                             # trains by the demo's recipe first
    python -m benchmarks.review --weights runs/demo/train/best.safetensors

A third of these boxes is removed; a third is moved, by half to once its side along one axis and by up to once along the
other; a third is relabelled at random. An error counts as found if one of the first rows is about that annotation, or
has a detection on the true box (IoU of 0.5 or more). The model was not trained on these images, and the spoilt
annotations exist in memory alone. `--seeds 5` repeats it with other boxes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy import ndarray

from benchmarks.timing import machine
from singleshot import boxes
from singleshot.data.boxes import voc
from singleshot.prediction.load import load_detector
from singleshot.recipes.streets_demo import RECIPE
from singleshot.reporting.review import Review, review
from singleshot.streets import write
from singleshot.structures import Dataset, Sample
from singleshot.training.run import train

KINDS = ("removed", "moved", "relabelled")
IMAGES, BOXES, ERRORS, ROWS = 260, 600, 40, 100


@dataclass(frozen=True)
class Spoilt:
    """An annotation that was made wrong.

    Args:
        kind: of `KINDS`.
        index: of its image in the split.
        annotation: its row there; None where it was removed.
        true_xyxy: the exact box.
    """

    kind: str
    index: int
    annotation: int | None
    true_xyxy: ndarray


def chosen_images(dataset: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    """Return images drawn at random that have exactly so many boxes together."""
    samples: list[Sample] = []
    left = count
    for index in rng.permutation(len(dataset)).tolist():
        sample = dataset.samples[index]
        if len(sample.class_ids) <= left:
            samples.append(sample)
            left -= len(sample.class_ids)
    if left:
        raise ValueError(f"the images have {left} boxes too few")
    return replace(dataset, samples=samples)


def spoil(dataset: Dataset, count: int, rng: np.random.Generator) -> tuple[Dataset, list[Spoilt]]:
    """Return the images with so many wrong annotations, and these."""
    places = [(index, row) for index, each in enumerate(dataset.samples) for row in range(len(each.class_ids))]
    kinds = {places[place]: KINDS[turn % 3] for turn, place in enumerate(rng.permutation(len(places))[:count])}
    samples, errors = [], []
    for index, sample in enumerate(dataset.samples):
        boxes_xyxy, class_ids = sample.boxes_xyxy.copy(), sample.class_ids.copy()
        kept = np.array([kinds.get((index, row)) != "removed" for row in range(len(class_ids))], bool)
        for row in range(len(class_ids)):
            kind = kinds.get((index, row))
            if kind is None:
                continue
            if kind == "moved":
                boxes_xyxy[row] = moved(boxes_xyxy[row], sample.size_hw or write.SIZE_HW, rng)
            elif kind == "relabelled":
                others = np.delete(np.arange(len(dataset.label_map)), class_ids[row])
                class_ids[row] = rng.choice(others)
            place = int(kept[:row].sum()) if kept[row] else None
            errors.append(Spoilt(kind, index, place, sample.boxes_xyxy[row]))
        difficult = sample.difficult[kept]
        samples.append(replace(sample, boxes_xyxy=boxes_xyxy[kept], class_ids=class_ids[kept], difficult=difficult))
    return replace(dataset, samples=samples), errors


def moved(box_xyxy: ndarray, size_hw: tuple[int, int], rng: np.random.Generator) -> ndarray:
    """Return the box half to one side further in one direction and up to one side in the other, inside the image."""
    height, width = size_hw
    result = box_xyxy
    for _ in range(1000):
        shares = rng.permutation([rng.uniform(0.5, 1.0), rng.uniform(0.0, 1.0)]) * rng.choice([-1, 1], 2)
        result = box_xyxy + np.tile(shares * (box_xyxy[2:] - box_xyxy[:2]), 2)
        if (result[:2] >= 0).all() and (result[2:] <= (width, height)).all():
            break
    return result


def count_found(errors: list[Spoilt], found: Review) -> dict[str, int]:
    """Return by kind how many errors one of the rows is about."""
    counts: dict[str, int] = dict.fromkeys(KINDS, 0)
    for error in errors:
        for row in found.rows:
            about = row.index == error.index and row.annotation is not None and row.annotation == error.annotation
            if row.index == error.index and row.detection is not None:
                box = found.found[row.index].boxes_xyxy[row.detection].astype(np.float64)
                about = about or float(boxes.pairwise_iou(box[None], error.true_xyxy[None])[0, 0]) >= 0.5
            if about:
                counts[error.kind] += 1
                break
    return counts


def main() -> None:
    """Spoil, review and count, for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/review"))
    options = parser.parse_args()
    print(machine("torch"))
    weights = options.weights
    if weights is None:
        run = train(write.make(options.out / "train-data"), RECIPE, out=options.out / "train", val_split=None)
        weights = run.weights
    data = options.out / "data"
    if not write.matches(data, seed=28, train=0, val=0, test=IMAGES):
        write.make(data, seed=28, train=0, val=0, test=IMAGES, overwrite=True)
    model = load_detector(weights)
    exact = voc.read(data, "test", label_map=model.label_map)
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        dataset, errors = spoil(chosen_images(exact, BOXES, rng), ERRORS, rng)
        found = review(dataset, model, count=ROWS)
        counts = count_found(errors, found)
        total = {kind: sum(error.kind == kind for error in errors) for kind in KINDS}
        parts = ", ".join(f"{kind} {counts[kind]} of {total[kind]}" for kind in KINDS)
        print(f"seed {seed}: {sum(counts.values())} of {len(errors)} in the first {len(found.rows)} rows: {parts}")


if __name__ == "__main__":
    main()
