from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from singleshot.data.boxes import voc_writer
from singleshot.data.convert_plan import Conversion
from singleshot.structures import Dataset, LabelMap, Sample


def test_the_files_by_hand(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    rows = np.array([[10.0, 3.0, 20.0, 9.0]])
    sample = Sample("7", tmp_path / "a.png", (30, 40), rows, np.array([0]), np.array([True]))
    data = Dataset(tmp_path, "coco", "val", LabelMap(("cat",)), (sample,))
    out = tmp_path / "out"
    out.mkdir()
    conversion = Conversion()
    voc_writer.write([data], out, conversion)
    xml = (out / "Annotations/a.xml").read_text()
    assert "<xmin>11</xmin><ymin>4</ymin><xmax>20</xmax><ymax>9</ymax>" in xml and "<difficult>1</difficult>" in xml
    assert (out / "ImageSets/Main/val.txt").read_text() == "a\n"
    assert (out / "JPEGImages/a.png").is_file() and conversion.notes == []
