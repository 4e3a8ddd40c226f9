"""COCO's twelve figures: equal to pycocotools' to 1e-9, and how long they take beside it and faster-coco-eval.

On a split of VOC2007's size. All times are from arrays to figures, with what each package needs them turned into;
CPU seconds, and wall seconds for those that use several threads (RAYON_NUM_THREADS=1 keeps ours to one).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.peers import Peer, peer_argument
from benchmarks.scenes import split
from benchmarks.timing import machine, one_thread
from singleshot import boxes
from singleshot.metrics.coco_ap import CocoFigures, CocoTruths, coco_ap
from singleshot.metrics.detections import FlatDetections

CLASSES = 20
NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


def save(file: Path, found: FlatDetections, there: CocoTruths, classes: int) -> Path:
    """The tables that the peers read: image, class, x, y, width, height, then crowd and area, or the score."""

    def rows(table: FlatDetections | CocoTruths, *more: np.ndarray) -> np.ndarray:
        corner, size = table.boxes_xyxy[:, :2], table.boxes_xyxy[:, 2:] - table.boxes_xyxy[:, :2]
        return np.column_stack([table.image_indices, table.class_ids, corner, size, *more]).astype(np.float64)

    areas = boxes.area(there.boxes_xyxy) if there.areas is None else there.areas
    crowd = np.zeros(len(there)) if there.is_crowd is None else there.is_crowd
    images = 1 + max(found.image_indices.max(), there.image_indices.max())
    np.savez(file, truths=rows(there, crowd, areas), found=rows(found, found.scores), images=images, classes=classes)
    return file


def figures(ours: CocoFigures) -> list[float]:
    """The twelve, in pycocotools' order and with its −1 for nothing to measure."""
    values = [getattr(ours, name) for name in NAMES]
    return [-1.0 if value is None else value for value in values]


def main() -> None:
    """Measure each way `--repeats` times in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1, help="pycocotools takes most of a minute each time")
    parser.add_argument("--images", type=int, default=4952)
    parser.add_argument("--per-image", type=int, default=200)
    peer_argument(parser)
    arguments = parser.parse_args()
    one_thread()
    print(machine("numpy", "hotcoco"))
    found, truths = split(arguments.images, arguments.per_image)
    there = CocoTruths(truths.boxes_xyxy, truths.class_ids, truths.image_indices, truths.difficult)
    print(f"{arguments.images} images, {len(found)} detections, {len(there)} objects, {truths.difficult.sum()} crowds")
    seconds: dict[str, list[tuple[float, float]]] = {"ours": []}

    def measure() -> list[float]:
        start, wall = time.process_time(), time.perf_counter()
        answer = figures(coco_ap(found, there, CLASSES))
        seconds["ours"].append((time.process_time() - start, time.perf_counter() - wall))
        return answer

    mine = measure()
    seconds["ours"].clear()
    if arguments.peers is None:
        for _ in range(max(3, arguments.repeats)):
            measure()
    else:
        with (
            tempfile.TemporaryDirectory() as folder,
            Peer("benchmarks/peer_coco.py", environment=arguments.peers) as peer,
        ):
            file = save(Path(folder) / "split.npz", found, there, CLASSES)
            for _ in range(arguments.repeats):
                measure()
                for way in ("faster-coco-eval", "pycocotools"):
                    answer = peer.ask(way=way, file=str(file))
                    seconds.setdefault(way, []).append((answer["seconds"], answer["wall_s"]))
                    if way == "pycocotools":
                        np.testing.assert_allclose(mine, answer["figures"], rtol=0, atol=1e-9)
                    else:
                        apart = np.abs(np.subtract(mine, answer["figures"])).max()
                        print(f"{way} differs from ours by {apart:.1e} at most")
                measure()
    ours_cpu, ours_wall = np.median(seconds["ours"], axis=0)
    for way, each in seconds.items():
        cpu, wall = np.median(each, axis=0)
        print(f"{way:17} {cpu:7.2f} s CPU, {wall:7.2f} s wall: {cpu / ours_cpu:5.1f}x, {wall / ours_wall:5.1f}x ours")


if __name__ == "__main__":
    main()
