"""How each stage's time grows when its work does: 1x, 4x and 16x of boxes, anchors, classes, detections, images.

The exponent of the last step says it: from 4x to 16x, 1.0 is linear, 2.0 quadratic; at the first step what is paid
once still counts. Linear is the aim for everything; sorts add a little. Ours alone, no peer.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from benchmarks import match_loss, postprocess, scenes
from benchmarks.timing import interleaved, machine, one_thread
from singleshot.detection.matching import match_compiled
from singleshot.metrics.coco_ap import CocoTruths, coco_ap
from singleshot.metrics.voc_ap import voc_ap

STEPS = (1, 4, 16)
TOO_STEEP = 1.3
Make = Callable[[int], Callable[[], object]]


def loss(factor: int, *, what: str) -> Callable[[], object]:
    """Match, losses and gradients of four images."""
    sizes = {"boxes": 3, "anchors": 8732 // 4, "classes": 20, "batch": 4}
    sizes[what] *= factor
    batch = scenes.training_batch(
        sizes["boxes"] if what != "boxes" else max(10, sizes["boxes"] * 4),
        batch=sizes["batch"],
        count=sizes["anchors"],
        classes=sizes["classes"],
    )
    return match_loss.ours(batch, match_loss.CAFFE)


def same_place(factor: int) -> Callable[[], object]:
    """The worst case of joining pairs: every box of an image is the same one."""
    count = 12 * factor
    anchors = scenes.anchors(8732)
    corners = np.concatenate([anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2], axis=1)
    truths = np.tile(np.array([0.3, 0.3, 0.6, 0.6], np.float32), (4, count, 1))
    return lambda: match_compiled(corners, truths, np.ones((4, count), np.bool_), "bipartite")


def found(factor: int, *, what: str, regime: str) -> Callable[[], object]:
    """Postprocessing of one image."""
    sizes = {"anchors": 8732 // 4, "classes": 20}
    sizes[what] *= factor
    anchors = scenes.anchors(sizes["anchors"])
    return postprocess.ours(anchors, *scenes.answer(anchors, regime, sizes["classes"]))


def voc(factor: int, *, what: str) -> Callable[[], object]:
    """VOC's AP."""
    sizes = {"images": 250, "per_image": 50, "classes": 20, "objects": 2.5}
    sizes[what] *= factor
    table = scenes.split(**sizes)  # pyright: ignore[reportArgumentType]
    return lambda: voc_ap(*table, int(sizes["classes"]), metric="voc07")


def coco(factor: int, *, what: str) -> Callable[[], object]:
    """COCO's figures."""
    sizes = {"images": 250, "per_image": 50, "classes": 20, "objects": 2.5}
    sizes[what] *= factor
    detections, truths = scenes.split(**sizes)  # pyright: ignore[reportArgumentType]
    there = CocoTruths(truths.boxes_xyxy, truths.class_ids, truths.image_indices)
    return lambda: coco_ap(detections, there, int(sizes["classes"]))


STAGES: dict[str, Make] = {
    **{
        f"match + loss, {what}": functools.partial(loss, what=what) for what in ("batch", "boxes", "anchors", "classes")
    },
    "matching, boxes in one place": same_place,
    **{
        f"postprocess, {what} ({regime})": functools.partial(found, what=what, regime=regime)
        for regime in ("sparse", "dense")
        for what in ("anchors", "classes")
    },
    **{f"VOC AP, {what}": functools.partial(voc, what=what) for what in ("images", "per_image", "classes", "objects")},
    **{
        f"COCO AP, {what}": functools.partial(coco, what=what) for what in ("images", "per_image", "classes", "objects")
    },
}


def main() -> None:
    """Measure every stage at its three sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    one_thread()
    print(machine("numpy", "numba", "torch", "hotcoco"))
    print(f"{'':34}" + "".join(f"{f'{step}x':>10}" for step in STEPS) + " ms   exponent 1–4x, 4–16x")
    steep = []
    for name, make in STAGES.items():
        times = interleaved({str(step): make(step) for step in STEPS}, repeats=arguments.repeats)
        seconds = [times[str(step)].median_s for step in STEPS]
        exponents = [math.log(more / less, 4) for less, more in pairwise(seconds)]
        steep += [name] * (exponents[-1] > TOO_STEEP)
        print(
            f"{name:34}"
            + "".join(f"{1e3 * each:10.2f}" for each in seconds)
            + f"      {exponents[0]:.2f}, {exponents[1]:.2f}"
        )
    print(f"steeper than {TOO_STEEP}: {', '.join(steep) or 'none'}")


if __name__ == "__main__":
    main()
