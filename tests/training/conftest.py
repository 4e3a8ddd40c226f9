"""A data set small enough to train on in a test: bright squares on grey, in VOC layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from singleshot.data.boxes.voc_xml import annotation_xml


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The networks here are tiny: a second thread gains nothing, and on a busy machine threads wait for each other."""
    torch.set_num_threads(1)


def draw_squares(root: Path, count: int = 8, *, empty: bool = False) -> Path:
    """`count` pictures of 96×128 with one red square (or none), split into train and val."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"{i:03d}" for i in range(count)]
    for name in names:
        image = rng.integers(90, 110, (96, 128, 3), dtype=np.uint8)
        x, y, side = (int(value) for value in (rng.integers(4, 80), rng.integers(4, 50), rng.integers(24, 40)))
        boxes = np.array([[x, y, x + side, y + side]], dtype=np.float64)
        if not empty:
            image[y : y + side, x : x + side] = (30, 30, 220)  # OpenCV writes BGR
        cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), image)
        kept, classes = (boxes[:0], []) if empty else (boxes, ["square"])
        (root / "Annotations" / f"{name}.xml").write_text(annotation_xml(f"{name}.jpg", (96, 128), kept, classes))
    half = max(1, count // 2)
    (root / "ImageSets/Main/train.txt").write_text("\n".join(names[:half]) + "\n")
    (root / "ImageSets/Main/val.txt").write_text("\n".join(names[half:] or names) + "\n")
    return root


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    return draw_squares(tmp_path / "squares")


@pytest.fixture(scope="session")
def standing_squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for tests that leave it as it is."""
    return draw_squares(tmp_path_factory.mktemp("data") / "squares")
