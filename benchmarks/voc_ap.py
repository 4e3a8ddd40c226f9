"""VOC's average precision over a split of 4,952 images with 200 detections each, 20 classes.

The peer is lufficc/SSD's and ChainerCV's algorithm in plain NumPy (`plain_voc`), in this process; the AP of every
class is asserted to be the same. pycocotools judges by COCO's protocol, which is more work; it is timed in
`coco_ap` on the very same arrays, and `--peers` here runs it once to print that ratio.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.coco_ap import save
from benchmarks.peers import Peer, peer_argument
from benchmarks.plain_voc import pictures, voc07_ap
from benchmarks.scenes import split
from benchmarks.timing import interleaved, machine, one_thread, ratio, table
from singleshot.metrics.coco_ap import CocoTruths
from singleshot.metrics.voc_ap import voc_ap

CLASSES, TARGET_S, TARGET_PLAIN, TARGET_PYCOCOTOOLS = 20, 0.4, 4.0, 50.0


def main() -> None:
    """Measure, and print the ratios beside their targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=4952)
    peer_argument(parser)
    arguments = parser.parse_args()
    one_thread()
    print(machine("numpy", "numba"))
    found, there = split(arguments.images)
    print(f"{arguments.images} images, {len(found)} detections, {len(there)} objects")
    plain_found = pictures(found.boxes_xyxy, found.class_ids, found.scores, found.image_indices, arguments.images)
    plain_there = pictures(there.boxes_xyxy, there.class_ids, there.difficult, there.image_indices, arguments.images)
    mine = [result.ap for result in voc_ap(found, there, CLASSES, metric="voc07")]
    np.testing.assert_allclose(mine, voc07_ap(plain_found, plain_there, CLASSES), rtol=0, atol=1e-12)
    times = interleaved(
        {
            "ours": lambda: voc_ap(found, there, CLASSES, metric="voc07"),
            "plain NumPy": lambda: voc07_ap(plain_found, plain_there, CLASSES),
        },
        repeats=arguments.repeats,
    )
    print(table(times, per="split"))
    print(f"ours: {times['ours'].median_s:.3f} s (target {TARGET_S} s)")
    print(f"{ratio(times, 'plain NumPy', 'ours'):.1f}x lufficc's and ChainerCV's algorithm (target {TARGET_PLAIN:g}x)")
    if arguments.peers is None:
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        Peer("benchmarks/peer_coco.py", environment=arguments.peers) as peer,
    ):
        truths = CocoTruths(there.boxes_xyxy, there.class_ids, there.image_indices)
        file = save(Path(folder) / "split.npz", found, truths, CLASSES)
        seconds = peer.ask(way="pycocotools", file=str(file))["seconds"]
        times_ours = seconds / times["ours"].median_s
        print(f"pycocotools, once: {seconds:.1f} s, {times_ours:.0f}x ours (target {TARGET_PYCOCOTOOLS:g}x)")


if __name__ == "__main__":
    main()
