"""JPEG files → batches of augmented 300 × 300 images with their boxes, on one core.

Ours ends with uint8 images, as the loader hands them over; where a figure is marked "float", the conversion to the
network's normalised floats is in it, which in training the device does. torchvision's ends with floats, since its
own model takes them; albumentations' with uint8. All read and decode the same files in the same rounds.

There is no equal answer to assert, since each way draws at random: that our distribution is the reference's is a test
(tests/data/augment/test_reference_distribution.py), and so is that images do not depend on how fast they are made.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

from benchmarks import photos
from benchmarks.peers import Peer, peer_argument
from benchmarks.timing import Seconds, interleaved, machine, one_thread, ratio, table
from singleshot.data.augment.augment import CAFFE, Augmentation
from singleshot.data.load.loader import Loader, LoaderOptions, TrainDetection
from singleshot.preprocess import Preprocess, normalise
from singleshot.structures import Dataset

LINEAR = replace(CAFFE, interpolations=("linear",))
TARGETS = (
    ("torchvision", "ours, all of it", 8.0),
    ("torchvision", "ours, linear only", 10.0),
    ("albumentations", "ours, linear only", 2.0),
)


def ours(
    dataset: Dataset, augmentation: Augmentation, *, fast: bool = True, floats: bool = False
) -> Callable[[], None]:
    """A call that makes all batches of one more epoch."""
    options = LoaderOptions(32, shuffle=True, fast_decode=fast)
    loader = Loader(dataset, TrainDetection(Preprocess(), augmentation), options)
    epochs = count()

    def epoch() -> None:
        for batch in loader.epoch(next(epochs)):
            if floats:
                normalise(batch.images, Preprocess())

    return epoch


def theirs(peer: Peer, way: str, dataset: Dataset) -> Callable[[], Seconds]:
    """A call for the same files by the peer's way."""
    files = [str(sample.image_path) for sample in dataset.samples]
    boxes = [sample.boxes_xyxy.tolist() for sample in dataset.samples]
    return lambda: Seconds(peer.ask(way=way, files=files, boxes=boxes)["seconds"])


def main() -> None:
    """Measure, and print the ratios beside their targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    peer_argument(parser)
    arguments = parser.parse_args()
    one_thread()
    with ExitStack() as stack:
        dataset = photos.make(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        print(machine("numpy", "opencv-python-headless", "simplejpeg", "numba", "torch"))
        print(photos.described(dataset))
        calls: dict[str, Callable[[], object]] = {
            "ours, all of it": ours(dataset, CAFFE),
            "ours, exact decode": ours(dataset, CAFFE, fast=False),
            "ours, float": ours(dataset, CAFFE, floats=True),
            "ours, linear only": ours(dataset, LINEAR),
        }
        if arguments.peers is not None:
            peer = stack.enter_context(Peer("benchmarks/peer_augment.py", environment=arguments.peers))
            calls |= {way: theirs(peer, way, dataset) for way in ("torchvision", "albumentations")}
        times = interleaved(calls, repeats=arguments.repeats)
    print(table(times, per="image", count=len(dataset)))
    for slower, faster, target in TARGETS:
        if slower in times:
            print(f"{faster}: {ratio(times, slower, faster):.1f} times {slower} (target {target:g})")


if __name__ == "__main__":
    main()
