from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singleshot.classes import CITYSCAPES, KITTI_ROAD
from singleshot.data.masks import cityscapes, kitti_road
from singleshot.data.masks import folders as mask_folders
from singleshot.data.masks import results as mask_results
from singleshot.errors import CannotCreateError, DataError, InputMissingError
from singleshot.structures import VOID, Dataset, LabelMap


def cityscapes_split(halves: Any) -> Dataset:
    split = mask_folders.read(halves.root, "val")
    return replace(split, layout="cityscapes", label_map=LabelMap(tuple(CITYSCAPES)), mask_code=cityscapes.CODE)


def write(folder: Path, name: str, pixels: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), pixels)
    return folder / name


def test_a_written_result_is_found_and_read_back(halves: Any, tmp_path: Path) -> None:
    split = mask_folders.read(halves.root, "val")
    out = tmp_path / "out"
    ids = np.array([[0, 1], [1, VOID]], np.uint8)
    for sample in split.samples:
        mask_results.write(out, split, sample, ids)
    files = mask_results.find(out, split)
    assert [path.name for path in files if path is not None] == ["00.png", "01.png"]
    assert mask_results.read(files[0] or out, split, (2, 2)).tolist() == ids.tolist()
    assert mask_results.coverage(files) is None


def test_cityscapes_results_have_original_ids_and_server_names(halves: Any, tmp_path: Path) -> None:
    split = cityscapes_split(halves)
    path = mask_results.write(tmp_path / "out", split, split.samples[0], np.array([[0, 13, VOID]], np.uint8))
    assert path.name == "00_pred_labelIds.png"
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).tolist() == [[7, 26, 0]]
    assert mask_results.read(path, split, (1, 3)).tolist() == [[0, 13, VOID]]


def test_train_ids_instead_of_ids_are_refused(halves: Any, tmp_path: Path) -> None:
    path = write(tmp_path, "00_pred_labelIds.png", np.array([[0, 0, 1, 13], [2, 2, 8, 10]], np.uint8))
    with pytest.raises(DataError, match="look like train ids") as raised:
        mask_results.read(path, cityscapes_split(halves), (2, 4))
    assert raised.value.kind == "train-ids"


def test_g13_a_result_of_another_size_or_with_undefined_values_is_refused(halves: Any, tmp_path: Path) -> None:
    split = mask_folders.read(halves.root, "val")
    path = write(tmp_path, "00.png", np.zeros((48, 64), np.uint8))
    with pytest.raises(DataError, match="the result is 64×48, its image 128×96"):
        mask_results.read(path, split, (96, 128))
    path = write(tmp_path, "01.png", np.full((4, 4), 3, np.uint8))
    with pytest.raises(DataError, match="unknown value 3"):
        mask_results.read(path, split, (4, 4))


def test_g11_missing_results_are_refused_unless_partial(halves: Any, tmp_path: Path) -> None:
    split = mask_folders.read(halves.root, "val")
    write(tmp_path / "out" / "deep", "01_from_elsewhere.png", np.zeros((48, 64), np.uint8))
    with pytest.raises(DataError, match="1 of 2 images have no result: 00") as raised:
        mask_results.find(tmp_path / "out", split)
    assert raised.value.exit_code == 65
    found = mask_results.find(tmp_path / "out", split, partial=True)
    assert [path is None for path in found] == [True, False]
    assert "only 1 of 2" in (mask_results.coverage(found) or "")
    with pytest.raises(InputMissingError):
        mask_results.find(tmp_path / "nowhere", split)


@pytest.mark.parametrize(
    "pixels",
    [
        # A licence plate's or a border's 255 in one pixel, and a tenth of the others below 7.
        [[255, 2, 8, 10, 7, 11, 8, 8, 7, 7]],
        [[0, 7, 8, 8, 8, 8, 11, 11, 11, 12]],
    ],
)
def test_train_ids_are_refused_beside_void_and_where_few_are_below_seven(
    pixels: list[list[int]], halves: Any, tmp_path: Path
) -> None:
    path = write(tmp_path, "00_pred_labelIds.png", np.array(pixels, np.uint8))
    with pytest.raises(DataError, match="look like train ids"):
        mask_results.read(path, cityscapes_split(halves), (1, 10))


def test_original_ids_and_pure_void_pass_the_train_id_check(halves: Any, tmp_path: Path) -> None:
    for pixels in ([[255, 255, 255]], [[7, 8, 11]], [[0, 0, 33]]):
        path = write(tmp_path, "00_pred_labelIds.png", np.array(pixels, np.uint8))
        assert mask_results.read(path, cityscapes_split(halves), (1, 3)).shape == (1, 3)


def test_a_set_in_which_no_file_has_a_value_above_18_is_refused_as_a_whole(halves: Any, tmp_path: Path) -> None:
    def check(split: Dataset, *masks_of: list[int]) -> None:
        train_ids = mask_results.TrainIdCheck(split)
        for ids in masks_of:
            train_ids.update(np.array([ids], np.uint8))
        train_ids.check(tmp_path)

    few_void = [0] * 30 + [VOID]  # road by 7, and one pixel of an id that is no class
    with pytest.raises(DataError, match="no value above 18 in the whole set") as raised:
        check(cityscapes_split(halves), few_void, few_void)
    assert raised.value.kind == "train-ids"
    check(cityscapes_split(halves), few_void, [13])  # a car: original ids
    check(cityscapes_split(halves), [0, 0])  # all road, and nothing undefined
    check(cityscapes_split(halves))
    check(mask_folders.read(halves.root, "val"), few_void)


def test_one_name_in_two_folders_is_refused_with_both_paths(halves: Any, tmp_path: Path) -> None:
    for name in ("a/00.png", "b/00.png", "a/01.png"):
        write(tmp_path / "out" / name[0], name[2:], np.zeros((48, 64), np.uint8))
    with pytest.raises(DataError, match=r"2 files could be the result for 00: .*a/00\.png, .*b/00\.png"):
        mask_results.find(tmp_path / "out", mask_folders.read(halves.root, "val"))


def test_the_kitti_map_of_the_image_is_preferred_in_any_sort_order(halves: Any, tmp_path: Path) -> None:
    split = mask_folders.read(halves.root, "val")
    samples = [replace(sample, image_id=f"um_{index:06d}") for index, sample in enumerate(split.samples)]
    split = replace(split, layout="kitti_road", samples=samples)
    for folder in ("above", "in_picture"):
        for index in range(2):
            write(tmp_path / "out" / folder, f"um_road_{index:06d}.png", np.zeros((4, 4), np.uint8))
    for folder in (tmp_path / "out", tmp_path / "out" / "in_picture"):
        assert [path.parent.name for path in mask_results.find(folder, split) if path] == ["in_picture"] * 2


def test_a_file_named_for_one_image_is_not_used_for_another(halves: Any, tmp_path: Path) -> None:
    split = mask_folders.read(halves.root, "val")
    one, two = (
        replace(sample, image_id=name, mask_path=None) for sample, name in zip(split.samples, ("1", "1_2"), strict=True)
    )
    write(tmp_path / "out", "1_2.png", np.zeros((48, 64), np.uint8))
    with pytest.raises(DataError, match=r"1 of 2 images have no result: 1\b"):
        mask_results.find(tmp_path / "out", replace(split, samples=[one, two]))


def test_two_files_for_one_image_are_refused(halves: Any, tmp_path: Path) -> None:
    for name in ("00_a.png", "00_b.png", "01.png"):
        write(tmp_path / "out", name, np.zeros((48, 64), np.uint8))
    with pytest.raises(DataError, match="2 files could be the result for 00"):
        mask_results.find(tmp_path / "out", mask_folders.read(halves.root, "val"))


def test_kitti_results_may_be_class_ids_or_colours(halves: Any, tmp_path: Path) -> None:
    split = replace(
        mask_folders.read(halves.root, "val"),
        layout="kitti_road",
        label_map=LabelMap(tuple(KITTI_ROAD)),
        mask_code=kitti_road.CODE,
    )
    grey = write(tmp_path, "grey.png", np.array([[0, 1]], np.uint8))
    colour = write(tmp_path, "colour.png", np.array([[[0, 0, 255], [255, 0, 255]]], np.uint8))
    assert mask_results.read(grey, split, (1, 2)).tolist() == [[0, 1]]
    assert mask_results.read(colour, split, (1, 2)).tolist() == [[0, 1]]


def test_numbers_with_gaps_are_written_as_in_the_data_set(halves: Any) -> None:
    (halves.root / "classes.txt").unlink()
    (halves.root / "classes.json").write_text('[{"id": 5, "name": "a"}, {"id": 9, "name": "b"}]')
    split = mask_folders.read(halves.root, "val")
    assert mask_results.in_own_numbers(split, np.array([[0, 1, VOID]], np.uint8)).tolist() == [[5, 9, 255]]


def test_a_folder_with_files_is_not_overwritten_unasked(tmp_path: Path) -> None:
    mask_results.check_target(tmp_path / "new", overwrite=False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CannotCreateError):
        mask_results.check_target(tmp_path, overwrite=False)
    mask_results.check_target(tmp_path, overwrite=True)
    with pytest.raises(CannotCreateError):
        mask_results.check_target(tmp_path / "file", overwrite=True)
