"""`data check` in every layout, beside Pascal VOC: seconds of the processor for the same images and boxes.

    python benchmarks/layouts.py --images 10000

Each folder has so many images of 60×40 pixels (one file with another number behind its end, so that no two are equal)
with two boxes each, as the tool writes them; those are the examples of `tests/data/exports.py`, enlarged. Reading and
checking run in this process, without a cache, VOC and the other layout in turns; the better of two turns counts.
Seconds of the processor depend less on what else the machine does than those of the clock.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from singleshot.data.check import audit

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.data import exports

LAYOUTS = (
    *("labelImg", "images and annotations", "Roboflow YOLOv8", "CVAT YOLO 1.1", "labelImg YOLO", "COCO"),
    *("FiftyOne", "labelme", "CVAT for images 1.1", "Label Studio JSON", "VIA", "VIA CSV", "imagefolder"),
    *("TensorFlow CSV", "Open Images", "KITTI"),
)


def make(tool: str, folder: Path, images: int) -> None:
    """Write an export of a tool with so many images."""
    stream = io.BytesIO()
    stems = [f"{number:06d}" for number in range(images)]
    boxes: Mapping[str, tuple[exports.Box, ...]] = dict.fromkeys(stems, exports.BOXES["a"])

    def image(path: Path, _size: object = None) -> Path:
        kind = "PNG" if path.suffix == ".png" else "JPEG"
        if kind not in files:
            stream.seek(0)
            stream.truncate()
            Image.linear_gradient("L").resize((60, 40)).convert("RGB").save(stream, kind)
            files[kind] = stream.getvalue()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[kind] + path.stem.encode())
        return path

    def images_of(parent: Path, _stems: str = "", suffix: str = ".jpg") -> None:
        for stem in stems:
            image(parent / f"{stem}{suffix}")

    files: dict[str, bytes] = {}
    kept = exports.BOXES, exports.image, exports.images
    exports.BOXES, exports.image, exports.images = boxes, image, images_of
    try:
        exports.EXPORTS[tool][1](folder)
        for name in ("ImageSets/Main/train.txt", "train.txt"):  # lists of three images in the examples
            file = folder / name
            if file.is_file() and "data/" not in file.read_text():
                file.write_text("".join(f"{stem}\n" for stem in stems))
    finally:
        exports.BOXES, exports.image, exports.images = kept


def seconds(folder: Path, images: int) -> float:
    """Return the processor's seconds of one check, which must find all images and boxes."""
    start = time.process_time()
    found = audit.audit(folder)
    spent = time.process_time() - start
    assert (found.images, found.objects) == (images, 2 * images), (folder, found.images, found.objects)
    assert not found.is_fatal, found.faults[:3]
    return spent


def main() -> None:
    """Print a row for each layout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--layout", action="append", choices=LAYOUTS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        voc = Path(scratch) / "voc"
        make("Pascal VOC", voc, chosen.images)
        print(f"{chosen.images} images      seconds   VOC's   ratio", flush=True)
        for tool in chosen.layout or LAYOUTS:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                make(tool, Path(folder), chosen.images)
                own, other = [], []
                for _ in range(chosen.turns):
                    other.append(seconds(voc, chosen.images))
                    own.append(seconds(Path(folder), chosen.images))
                print(f"{tool:<24}{min(own):>7.2f} {min(other):>7.2f} {min(own) / min(other):>7.2f}", flush=True)


if __name__ == "__main__":
    main()
