"""YOLO's label files: `class x y width height` a line, or an outline."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from singleshot.data.boxes import yolo
from tests.fuzz.harness import Target, main
from tests.fuzz.laws import check_dataset

PIECES = b"0 1 7 -1 0.5 1.5 nan inf 1e9 1e-9 .5 5. +0.1 1_0 0x1 \xd9\xa3 \xff \x00 \xef\xbb\xbf \t # 0.0 1.0".split(
    b" "
)


def run(data: bytes, scratch: Path) -> str:
    """What comes out obeys the law of boxes."""
    if not (scratch / "data.yaml").exists():
        (scratch / "images" / "train").mkdir(parents=True)
        (scratch / "labels" / "train").mkdir(parents=True)
        Image.new("RGB", (60, 40)).save(scratch / "images" / "train" / "a.png")
        (scratch / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n", encoding="utf-8")
    (scratch / "labels" / "train" / "a.txt").write_bytes(data)
    return check_dataset(yolo.read(scratch, "train"))


SEEDS = [b"0 0.5 0.5 0.2 0.4\n1 0.25 0.75 0.1 0.1\n", b"0 0.1 0.1 0.9 0.1 0.9 0.9\r\n", b""]
TARGET = Target("yolo_labels", SEEDS, [*PIECES, b" ", b"\n", b"\r\n"], run)

if __name__ == "__main__":
    main(TARGET)
