from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml

from singleshot.data.boxes import yolo_writer, yolo_yaml
from singleshot.data.convert_plan import Conversion
from singleshot.structures import Dataset, LabelMap, Sample


def test_the_files_by_hand(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    rows = np.array([[10.0, 3.0, 20.0, 9.0]])
    sample = Sample("a", tmp_path / "a.png", (30, 40), rows, np.array([1]), np.array([False]))
    data = Dataset(tmp_path, "voc", "val", LabelMap(("1: no", 'a"b', "bus 🚌")), (sample,))
    out = tmp_path / "out"
    out.mkdir()
    yolo_writer.write([data], out, Conversion())
    # Centre (15, 6) of 40×30, 10 wide and 6 high.
    assert (out / "labels/val/a.txt").read_text() == "1 0.375 0.2 0.25 0.2\n"
    assert (out / "images/val/a.png").is_file()
    names = {0: "1: no", 1: 'a"b', 2: "bus 🚌"}
    assert yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8")) == {"val": "images/val", "names": names}
    assert yolo_yaml.read(out / "data.yaml").names == tuple(names.values())
