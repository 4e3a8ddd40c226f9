from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np

from singleshot.data.load.packing import pack
from singleshot.structures import Sample


def sample(name: str, count: int) -> Sample:
    boxes_xyxy = np.arange(count * 4, dtype=float).reshape(count, 4)
    return Sample(name, Path(f"pictures/{name}"), None, boxes_xyxy, np.arange(count), np.arange(count) % 2 == 1)


def test_every_picture_comes_back_with_its_own_boxes() -> None:
    samples = [sample("a.jpg", 2), sample("größe 猫.png", 0), sample("c.jpg", 3)]
    packed = pickle.loads(pickle.dumps(pack(samples)))
    assert len(packed) == 3
    for index, expected in enumerate(samples):
        assert packed.path(index) == expected.image_path
        boxes_xyxy, class_ids = packed.annotation(index)
        np.testing.assert_array_equal(boxes_xyxy, expected.boxes_xyxy)
        np.testing.assert_array_equal(class_ids, expected.class_ids)


def test_difficult_boxes_are_kept_or_not_as_asked() -> None:
    boxes_xyxy, class_ids = pack([sample("a.jpg", 3)], keep_difficult=False).annotation(0)
    assert class_ids.tolist() == [0, 2]
    assert boxes_xyxy[1].tolist() == [8.0, 9.0, 10.0, 11.0]


def test_a_file_name_need_not_be_text() -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert pack([sample(name, 0)]).path(0) == Path("pictures") / name


def test_nothing_packs_to_nothing() -> None:
    packed = pack([])
    assert len(packed) == 0
    assert packed.boxes_xyxy.shape == (0, 4)
