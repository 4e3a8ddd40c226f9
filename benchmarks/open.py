"""How long a VOC-size data set takes to open, the first time and the second.

17,125 drawn XML files with their (tiny) images, as many as VOC2012 has. The first time every annotation is parsed;
the second time the index cache answers, after it has looked at every file's state.

    .venv/bin/python -m benchmarks.open
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.timing import interleaved, machine
from singleshot.classes import VOC
from singleshot.data import cache, read
from singleshot.data.boxes.voc_xml import annotation_xml


def draw(root: Path, pictures: int) -> None:
    """A VOC folder with 2.4 objects an image, as VOC has."""
    rng = np.random.default_rng(0)
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / name).mkdir(parents=True)
    jpeg = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    names = [f"2008_{number:06}" for number in range(pictures)]
    for name in names:
        count = 1 + int(rng.poisson(1.4))
        low = rng.uniform(0, 300, (count, 2)).round()
        boxes_xyxy = np.hstack([low, low + rng.uniform(20, 75, (count, 2)).round()])
        classes = [VOC[index] for index in rng.integers(0, len(VOC), count)]
        text = annotation_xml(f"{name}.jpg", (375, 500), boxes_xyxy, classes)
        (root / "Annotations" / f"{name}.xml").write_text(text)
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg)
    (root / "ImageSets/Main/trainval.txt").write_text("\n".join(names))


def main() -> None:
    """Draw, open, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=17_125)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        root = Path(folder) / "VOC2012"
        draw(root, given.pictures)
        time.sleep(cache.SETTLED_NS / 1e9 + 0.1)  # what changed a moment ago is not kept
        started = time.perf_counter()
        first = read.read(root, "trainval")
        parsed = time.perf_counter() - started
        second = read.read(root, "trainval")
        same = zip(first.samples, second.samples, strict=True)
        if not all(np.array_equal(one.boxes_xyxy, other.boxes_xyxy) for one, other in same):
            raise SystemExit("the two answers differ")
        calls = {"second": lambda: read.read(root, "trainval")}
        spread = interleaved(calls, repeats=given.repeats, clock=time.perf_counter)["second"]
    print(machine("numpy", "safetensors"))
    print(f"{len(first)} images, {int(first.samples.box_ends[-1])} objects")  # pyright: ignore[reportAttributeAccessIssue]
    print(f"first time {parsed:.2f} s, second time {spread.median_s:.2f} s ({spread.least_s:.2f}–{spread.most_s:.2f})")


if __name__ == "__main__":
    main()
