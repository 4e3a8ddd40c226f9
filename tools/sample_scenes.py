"""Draws the few street scenes that the package contains, for `singleshot.data.sample_scenes`.

`python -m tools.sample_scenes` writes JPEG files, their masks and `scenes.json` into `src/singleshot/data/scenes/`:
six scenes of different sizes, below 200 KB together.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2

from singleshot.data.masks.files import encode
from singleshot.streets.objects import CLASS_NAMES, MASK_NAMES
from singleshot.streets.scene import scene

FOLDER = Path("src/singleshot/data/scenes")
SIZES_HW = ((300, 400), (240, 427), (480, 360), (360, 640), (375, 500), (375, 500))
JPEG_QUALITY = 80


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    rows = []
    for index, size_hw in enumerate(SIZES_HW):
        drawn = scene(0, "test", index, size_hw=size_hw)
        bgr = cv2.cvtColor(drawn.image, cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1]
        (FOLDER / f"{index}.jpg").write_bytes(jpeg.tobytes())
        (FOLDER / f"{index}.png").write_bytes(encode(drawn.mask))
        labels = [CLASS_NAMES[class_id] for class_id in drawn.class_ids]
        rows.append(
            {"image": f"{index}.jpg", "mask": f"{index}.png", "boxes_xyxy": drawn.boxes_xyxy.tolist(), "labels": labels}
        )
    text = json.dumps({"mask": list(MASK_NAMES), "scenes": rows}, indent=2)
    (FOLDER / "scenes.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
