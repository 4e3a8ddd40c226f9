from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import singleshot
from singleshot.errors import InputMissingError, UsageError
from singleshot.prediction.select import farthest_first, uncertainty
from tests.exporting import made


def pool(folder: Path, count: int = 4) -> Path:
    """Draw different images: the tests' pictures, each turned by another angle."""
    folder.mkdir(parents=True)
    for index in range(count):
        image = np.rot90(made.pictures(1)[0], index)
        cv2.imwrite(str(folder / f"{index}.png"), cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR))
    return folder


def test_unsure_scores_count_and_an_image_without_detections_is_certain() -> None:
    assert uncertainty(np.array([])) == 0.0 and uncertainty(np.array([1.0, 0.0])) == 0.0
    assert uncertainty(np.array([0.5])) == 1.0 > uncertainty(np.array([0.9]))


def test_each_next_image_is_the_farthest_from_all_before() -> None:
    features = np.array([[0.0], [0.1], [1.0], [5.0], [5.1]])
    assert farthest_first(features, [0], [1, 2, 3, 4], 2) == [4, 2]
    assert farthest_first(features, [], [2, 0, 4], 2) == [2, 4]  # the most uncertain one first
    assert farthest_first(features, [0], [1], 5) == [1] and farthest_first(features, [0], [], 3) == []


def test_images_are_chosen_once_without_those_that_have_labels(tmp_path: Path) -> None:
    folder = pool(tmp_path / "pool")
    chosen = singleshot.select(folder, made.detector(), 2, labelled=[folder / "1.png"])
    assert chosen.pool == 3 and len(set(chosen.images)) == 2 and folder / "1.png" not in chosen.images
    assert all(value >= 0 for value in chosen.uncertainties) and not chosen.faults
    every = singleshot.select(folder, made.detector(), 9)
    assert sorted(every.images) == sorted(folder.iterdir())
    again = singleshot.select(folder, made.detector(), 9)
    assert again == every and [row["image"] for row in every.as_json()["images"]] == list(map(str, every.images))


def test_copies_of_one_image_are_not_chosen_together(tmp_path: Path) -> None:
    folder = pool(tmp_path / "pool", 2)
    for index in range(2, 6):
        (folder / f"{index}.png").write_bytes((folder / "0.png").read_bytes())
    chosen = singleshot.select(folder, made.detector(), 2)
    assert folder / "1.png" in chosen.images


def test_files_that_cannot_be_read_are_named_and_left_out(tmp_path: Path) -> None:
    folder = pool(tmp_path / "pool")
    (folder / "9.png").write_bytes(b"no image")
    chosen = singleshot.select(folder, made.detector(), 9)
    assert len(chosen.images) == 4 and [fault.file for fault in chosen.faults] == [folder / "9.png"]


def test_what_cannot_be_chosen_from_is_refused(tmp_path: Path) -> None:
    folder = pool(tmp_path / "pool", 1)
    with pytest.raises(UsageError, match="Choose 1 or more"):
        singleshot.select(folder, made.detector(), 0)
    with pytest.raises(InputMissingError, match="no image to choose from"):
        singleshot.select(folder, made.detector(), 1, labelled=folder)
    with pytest.raises(InputMissingError):
        singleshot.select(tmp_path / "none", made.detector(), 1)
    with pytest.raises(UsageError, match="no feature maps"):
        singleshot.select(folder, made.write_pt2(tmp_path), 1)
