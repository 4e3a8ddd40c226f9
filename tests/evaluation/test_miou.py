from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singleshot.classes import CITYSCAPES
from singleshot.data.masks import cityscapes
from singleshot.data.masks import folders as mask_folders
from singleshot.errors import DataError
from singleshot.evaluation.miou import MiouJudge, absent_note, instances_note, miou_table
from singleshot.structures import VOID, LabelMap


def test_the_report_has_what_evaluate_promises(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    split = replace(split, label_map=LabelMap(("dark", "bright", "unseen")))
    judge = MiouJudge(split)
    truth = np.array([[0, 0, 1, VOID]], np.uint8)
    judge.count(0, truth, np.array([[0, 1, 1, 0]], np.uint8))
    judge.count(1, truth, truth)
    said = judge.report().as_json()
    assert said["iou"] == {"dark": pytest.approx(3 / 4), "bright": pytest.approx(2 / 3), "unseen": None}
    assert said["miou"] == pytest.approx((3 / 4 + 2 / 3) / 2) and said["absent"] == ["unseen"]
    assert said["pixel_accuracy"] == pytest.approx(5 / 6) and said["images"] == 2 and said["metric"] == "miou"
    assert "unseen" in (absent_note(judge.report()) or "")
    assert miou_table(judge.report()).row_count == 7


def test_g12_a_split_of_void_says_so(halves: Any) -> None:
    judge = MiouJudge(mask_folders.read(halves.root, "val"))
    judge.count(0, np.full((2, 2), VOID, np.uint8), np.zeros((2, 2), np.uint8))
    assert judge.report().as_json()["miou"] is None
    assert "nothing to judge" in (absent_note(judge.report()) or "")
    assert MiouJudge(mask_folders.read(halves.root, "val")).report().figures.miou is None


def test_g14_ranks_that_share_the_work_give_the_same_figures(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    rng = np.random.default_rng(0)
    pictures = [
        (rng.integers(0, 2, (9, 9)).astype(np.uint8), rng.integers(0, 2, (9, 9)).astype(np.uint8)) for _ in "ab"
    ]
    alone, first, second, whole = (MiouJudge(split) for _ in range(4))
    for index, (truth, found) in enumerate(pictures):
        alone.count(index, truth, found)
        (first, second)[index].count(index, truth, found)
    whole.merge([first, second])
    assert whole.report().as_json() == alone.report().as_json()


def test_cityscapes_has_categories_and_instances_too(tmp_path: Path) -> None:
    images, truths = tmp_path / "leftImg8bit/val/ulm", tmp_path / "gtFine/val/ulm"
    images.mkdir(parents=True)
    truths.mkdir(parents=True)
    name = "ulm_000000_000019"
    cv2.imwrite(str(images / f"{name}_leftImg8bit.png"), np.zeros((1, 6, 3), np.uint8))
    cv2.imwrite(str(truths / f"{name}_gtFine_labelIds.png"), np.array([[7, 8, 26, 26, 24, 0]], np.uint8))
    split = cityscapes.read(tmp_path, "val")
    truth = np.array([[0, 1, 13, 13, 11, VOID]], np.uint8)
    found = np.array([[1, 1, 13, 14, 11, 4]], np.uint8)
    judge = MiouJudge(split)
    judge.count(0, truth, found)
    said = judge.report().as_json()
    # Road taken for sidewalk is flat all the same; car for truck is a vehicle. Void is not judged.
    assert said["category_iou"]["flat"] == said["category_iou"]["vehicle"] == 1.0
    assert said["iou"]["sidewalk"] == 0.5 and said["iou"]["truck"] == 0.0 and "iiou" not in said
    assert CITYSCAPES[13] == "car" and said["iou"]["car"] == 0.5

    numbers = np.array([[7, 8, 26001, 26001, 24001, 0]], np.uint16)
    cv2.imwrite(str(truths / f"{name}_gtFine_instanceIds.png"), numbers)
    judge = MiouJudge(split)
    judge.count(0, truth, found)
    said = judge.report().as_json()
    assert said["iiou"]["person"] == 1.0 and said["iiou"]["car"] == pytest.approx(0.5)
    # Truck, which nobody is, has one false pixel and nothing right.
    assert said["mean_iiou"] == pytest.approx((1.0 + 0.5 + 0.0) / 3)
    cv2.imwrite(str(truths / f"{name}_gtFine_instanceIds.png"), numbers[:, :3])
    with pytest.raises(DataError, match="not of its picture's size"):
        MiouJudge(split).count(0, truth, found)


def test_a_missing_file_of_instances_is_named_and_training_asks_for_none(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    split = replace(split, layout="cityscapes", label_map=LabelMap(tuple(CITYSCAPES)))
    samples = [replace(each, mask_path=Path(f"a_{i}_gtFine_labelIds.png")) for i, each in enumerate(split.samples)]
    split, truth = replace(split, samples=samples), np.zeros((1, 2), np.uint8)
    judge, other, asks_none = MiouJudge(split), MiouJudge(split), MiouJudge(split, instances=False)
    judge.count(0, truth, truth)
    asks_none.count(0, truth, truth)
    assert "a_0_gtFine_instanceIds.png" in (instances_note(judge.report()) or "")
    assert instances_note(asks_none.report()) is None and asks_none.report().iiou is None
    other.merge([judge])
    assert instances_note(other.report()) == instances_note(judge.report())
