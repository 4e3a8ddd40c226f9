from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singleshot.data.masks import masks
from singleshot.errors import DataError, InputMissingError
from singleshot.streets import write


def test_folders_by_split(halves: Any) -> None:
    assert masks.looks_like(halves.root)
    split = masks.read(halves.root, "train")
    assert [sample.image_id for sample in split.samples] == ["00", "01", "02", "03"]
    assert split.label_map.names == ("dark", "bright") and not split.faults
    assert split.samples[1].mask_path == halves.mask("train", 1)
    assert masks.splits(halves.root) == ["train", "val"]
    with pytest.raises(InputMissingError, match="There are: train, val"):
        masks.read(halves.root, "test")


def test_split_folders_and_folders_without_splits(halves: Any, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    for kind in ("images", "masks"):
        shutil.copytree(halves.root / kind / "val", turned / "val" / kind)
    shutil.copy(halves.root / "classes.txt", turned)
    assert len(masks.read(turned, "val")) == 2
    plain = tmp_path / "plain"
    for kind in ("images", "masks"):
        shutil.copytree(halves.root / kind / "train", plain / kind)
    shutil.copy(halves.root / "classes.txt", plain)
    assert len(masks.read(plain, "train")) == 4
    with pytest.raises(InputMissingError):
        masks.read(plain, "val")


def test_a19_a_missing_mask_and_a_missing_picture_are_faults(halves: Any) -> None:
    halves.mask("train", 0).rename(halves.root / "masks" / "train" / "stray.png")
    split = masks.read(halves.root, "train")
    assert len(split) == 3
    assert {fault.kind for fault in split.faults} == {"missing-mask", "missing-picture"}
    assert any(fault.file.name == "stray.png" for fault in split.faults)


def test_b33_a_resized_mask_is_a_fault(halves: Any) -> None:
    cv2.imwrite(str(halves.mask("train", 2)), np.zeros((24, 32), np.uint8))
    split = masks.read(halves.root, "train")
    assert len(split) == 3 and split.faults[0].kind == "other-size-mask"


@pytest.mark.parametrize("strange", [os.mkfifo, os.mkdir])
def test_a_mask_that_is_no_file_is_a_fault_and_hangs_nothing(halves: Any, strange: Any) -> None:
    halves.mask("train", 2).unlink()
    strange(halves.mask("train", 2))
    split = masks.read(halves.root, "train")
    assert len(split) == 3 and [fault.kind for fault in split.faults] == ["not-a-file"]


@pytest.mark.parametrize("strange", [os.mkfifo, os.mkdir, Path.touch])
def test_a_text_file_that_is_no_list_is_no_split(halves: Any, strange: Any) -> None:
    strange(halves.root / "notes.txt")
    assert masks.splits(halves.root) == ["train", "val"]


def test_a_second_picture_of_one_name_is_named_and_not_used(halves: Any) -> None:
    folder = halves.root / "images/train"
    shutil.copy(folder / "01.png", folder / "01.jpg")
    split = masks.read(halves.root, "train")
    (fault,) = split.faults
    assert len(split) == 4 and (fault.kind, fault.file.name, fault.severity) == ("duplicate-id", "01.png", "warning")
    assert "01.jpg has the same id" in fault.message


def test_lists_of_pairs(halves: Any) -> None:
    lines = [f"images/train/{i:02d}.png masks/train/{i:02d}.png\r\n" for i in (3, 1)]
    (halves.root / "some.txt").write_text("".join(lines))
    split = masks.read(halves.root, "some")
    assert [sample.image_id for sample in split.samples] == ["03", "01"] and not split.faults
    assert "some" in masks.splits(halves.root)


def test_the_drawn_streets_name_their_own_classes(tmp_path: Path) -> None:
    root = write.make(tmp_path / "streets", train=2, val=1, test=1, workers=1)
    split = masks.read(root, "train")
    assert split.label_map.names == write.MASK_NAMES and len(split) == 2 and not split.faults


def test_a_voc_folder_has_vocs_classes_with_a_background(tmp_path: Path) -> None:
    root = tmp_path / "VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    cv2.imwrite(str(root / "JPEGImages/a.jpg"), np.zeros((4, 6, 3), np.uint8))
    cv2.imwrite(str(root / "SegmentationClass/a.png"), np.full((4, 6), 20, np.uint8))
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    split = masks.read(root, "train")
    assert split.label_map.names[0] == "background" and len(split.label_map) == 21
    assert [fault.kind for fault in split.faults] == ["missing-picture"] and split.faults[0].line == 2


@pytest.mark.parametrize("content", ["[]", '{"mask": "road"}', "{broken", ""])
def test_a_damaged_streets_json_is_refused_by_name(content: str, tmp_path: Path) -> None:
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (tmp_path / "streets.json").write_text(content)
    with pytest.raises(DataError) as raised:
        masks.read(tmp_path, "train")
    assert raised.value.file == tmp_path / "streets.json"


def test_vocs_list_counts_a_name_once_and_needs_its_pictures(tmp_path: Path) -> None:
    for part in ("SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\na\n")
    with pytest.raises(InputMissingError, match="JPEGImages"):
        masks.read(tmp_path, "train")
    (tmp_path / "JPEGImages").mkdir()
    cv2.imwrite(str(tmp_path / "JPEGImages/a.jpg"), np.zeros((4, 6, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "SegmentationClass/a.png"), np.zeros((4, 6), np.uint8))
    split = masks.read(tmp_path, "train")
    assert len(split) == 1 and [(fault.kind, fault.line) for fault in split.faults] == [("duplicate-id", 2)]


def test_camvid(shared: Path) -> None:
    split = masks.read(shared / "data/camvid", "train")
    assert len(split) == 184 and len(split.label_map) == 11 and not split.faults
    assert split.colours[3] == (128, 64, 128) and masks.splits(shared / "data/camvid") == ["test", "train", "val"]


def test_something_else_is_refused(tmp_path: Path) -> None:
    assert not masks.looks_like(tmp_path)
    with pytest.raises(InputMissingError, match="not a folder of pictures and masks"):
        masks.read(tmp_path, "train")
    with pytest.raises(InputMissingError, match="no such folder"):
        masks.read(tmp_path / "none", "train")


def test_an_empty_split_is_refused(halves: Any) -> None:
    for kind in ("images", "masks"):
        (halves.root / kind / "test").mkdir()
    with pytest.raises(DataError, match="0 pictures"):
        masks.read(halves.root, "test")
