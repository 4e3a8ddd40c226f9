from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singleshot.data.masks import folders as mask_folders
from singleshot.errors import DataError, InputMissingError
from singleshot.streets import write
from singleshot.structures import UNKNOWN, VOID


def test_plain_folders_with_splits_are_read(halves: Any) -> None:
    assert mask_folders.looks_like(halves.root)
    split = mask_folders.read(halves.root, "train")
    assert [sample.image_id for sample in split.samples] == ["00", "01", "02", "03"]
    assert split.label_map.names == ("dark", "bright") and not split.faults
    assert split.samples[1].mask_path == halves.mask("train", 1)
    assert mask_folders.splits(halves.root) == ["train", "val"]
    with pytest.raises(InputMissingError, match="There are: train, val"):
        mask_folders.read(halves.root, "test")


def test_split_folders_and_plain_folders_without_splits_are_read(halves: Any, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    for kind in ("images", "masks"):
        shutil.copytree(halves.root / kind / "val", turned / "val" / kind)
    shutil.copy(halves.root / "classes.txt", turned)
    assert len(mask_folders.read(turned, "val")) == 2
    plain = tmp_path / "plain"
    for kind in ("images", "masks"):
        shutil.copytree(halves.root / kind / "train", plain / kind)
    shutil.copy(halves.root / "classes.txt", plain)
    assert len(mask_folders.read(plain, "train")) == 4
    with pytest.raises(InputMissingError):
        mask_folders.read(plain, "val")


def test_a19_a_missing_mask_and_a_missing_image_are_faults(halves: Any) -> None:
    halves.mask("train", 0).rename(halves.root / "masks" / "train" / "stray.png")
    split = mask_folders.read(halves.root, "train")
    assert len(split) == 3
    assert {fault.kind for fault in split.faults} == {"missing-mask", "missing-picture"}
    assert any(fault.file.name == "stray.png" for fault in split.faults)


def test_b33_a_resized_mask_is_a_fault(halves: Any) -> None:
    cv2.imwrite(str(halves.mask("train", 2)), np.zeros((24, 32), np.uint8))
    split = mask_folders.read(halves.root, "train")
    assert len(split) == 3 and split.faults[0].kind == "other-size-mask"


@pytest.mark.parametrize("strange", [os.mkfifo, os.mkdir])
def test_a_mask_that_is_a_pipe_or_folder_is_a_fault_and_does_not_block(halves: Any, strange: Any) -> None:
    halves.mask("train", 2).unlink()
    strange(halves.mask("train", 2))
    split = mask_folders.read(halves.root, "train")
    assert len(split) == 3 and [fault.kind for fault in split.faults] == ["not-a-file"]


@pytest.mark.parametrize("strange", [os.mkfifo, os.mkdir, Path.touch])
def test_a_text_file_without_pairs_is_not_a_split(halves: Any, strange: Any) -> None:
    strange(halves.root / "notes.txt")
    assert mask_folders.splits(halves.root) == ["train", "val"]


def test_a_second_image_of_one_stem_gives_a_warning_and_is_not_used(halves: Any) -> None:
    folder = halves.root / "images/train"
    shutil.copy(folder / "01.png", folder / "01.jpg")
    split = mask_folders.read(halves.root, "train")
    (fault,) = split.faults
    assert len(split) == 4 and (fault.kind, fault.file.name, fault.severity) == ("duplicate-id", "01.png", "warning")
    assert "01.jpg has the same id" in fault.message


def test_a_list_of_pairs_is_read_in_its_order(halves: Any) -> None:
    lines = [f"images/train/{i:02d}.png masks/train/{i:02d}.png\r\n" for i in (3, 1)]
    (halves.root / "some.txt").write_text("".join(lines))
    split = mask_folders.read(halves.root, "some")
    assert [sample.image_id for sample in split.samples] == ["03", "01"] and not split.faults
    assert "some" in mask_folders.splits(halves.root)


def test_drawn_streets_name_their_own_classes(tmp_path: Path) -> None:
    root = write.make(tmp_path / "streets", train=2, val=1, test=1, workers=1)
    split = mask_folders.read(root, "train")
    assert split.label_map.names == write.MASK_NAMES and len(split) == 2 and not split.faults


def test_a_voc_folder_has_the_voc_classes_and_background(tmp_path: Path) -> None:
    root = tmp_path / "VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    cv2.imwrite(str(root / "JPEGImages/a.jpg"), np.zeros((4, 6, 3), np.uint8))
    cv2.imwrite(str(root / "SegmentationClass/a.png"), np.full((4, 6), 20, np.uint8))
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    split = mask_folders.read(root, "train")
    assert split.label_map.names[0] == "background" and len(split.label_map) == 21
    assert [(fault.kind, fault.severity, fault.line) for fault in split.faults] == [
        ("assumed-classes", "note", None),
        ("missing-picture", "fatal", 2),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncrack:250,50,83::\n"),
        ("class_names.txt", "_background_\ncrack\n"),
    ],
)
def test_class_lists_of_cvat_and_labelme_name_the_classes_of_voc_masks(tmp_path: Path, name: str, text: str) -> None:
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "JPEGImages/a.jpg"), np.zeros((4, 6, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "SegmentationClass/a.png"), np.eye(4, 6, dtype=np.uint8))
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("JPEGImages/a.jpg\n")
    (tmp_path / name).write_text(text)
    split = mask_folders.read(tmp_path, "train")
    assert split.label_map.names[1] == "crack" and len(split) == 1 and split.faults == ()


LONG = "9" * 5000  # more digits than Python turns into a number


@pytest.mark.parametrize(
    "line", ["crack", "crack:1,2", "crack:1,2,x::", "crack:1,2,300::", pytest.param(f"crack:1,2,{LONG}::", id="long")]
)
def test_a_damaged_labelmap_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "labelmap.txt").write_text(f"background:0,0,0::\n{line}\n")
    with pytest.raises(DataError, match="labelmap"):
        mask_folders.read_classes(tmp_path)


@pytest.mark.parametrize("name", ["../outside.png", "x/../../outside.png", "..\\outside.png"])
def test_a_list_of_masks_never_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for path in (tmp_path / "outside.png", root / "a.png"):
        cv2.imwrite(str(path), np.zeros((4, 6), np.uint8))
    (root / "classes.txt").write_text("road\n")
    (root / "train.txt").write_text(f"a.png {name}\n")
    split = mask_folders.read(root, "train")
    assert len(split) == 0 and [fault.kind for fault in split.faults] == ["missing-mask"]


def test_hidden_files_and_helper_folders_are_no_images_masks_or_splits(tmp_path: Path) -> None:
    for part in ("images/train", "masks/train", "images/.ipynb_checkpoints", "images/__MACOSX"):
        (tmp_path / part).mkdir(parents=True)
    for part in ("images", "masks"):
        cv2.imwrite(str(tmp_path / part / "train/a.png"), np.zeros((4, 6), np.uint8))
        (tmp_path / part / "train/._a.png").write_bytes(b"no data")
    (tmp_path / "classes.txt").write_text("road\n")
    split = mask_folders.read(tmp_path, "train")
    assert mask_folders.splits(tmp_path) == ["train"] and len(split) == 1 and split.faults == ()


@pytest.mark.parametrize("content", ["[]", '{"mask": "road"}', "{broken", ""])
def test_a_damaged_streets_json_is_refused_with_its_path(content: str, tmp_path: Path) -> None:
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (tmp_path / "streets.json").write_text(content)
    with pytest.raises(DataError) as raised:
        mask_folders.read(tmp_path, "train")
    assert raised.value.file == tmp_path / "streets.json"


def test_a_voc_list_uses_a_name_once_and_needs_jpegimages(tmp_path: Path) -> None:
    for part in ("SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\na\n")
    with pytest.raises(InputMissingError, match="JPEGImages"):
        mask_folders.read(tmp_path, "train")
    (tmp_path / "JPEGImages").mkdir()
    cv2.imwrite(str(tmp_path / "JPEGImages/a.jpg"), np.zeros((4, 6, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "SegmentationClass/a.png"), np.zeros((4, 6), np.uint8))
    split = mask_folders.read(tmp_path, "train")
    found = [(fault.kind, fault.line) for fault in split.faults if fault.severity != "note"]
    assert len(split) == 1 and found == [("duplicate-id", 2)]


def test_camvid_is_read_with_its_classes_and_colours(shared: Path) -> None:
    split = mask_folders.read(shared / "data/camvid", "train")
    assert len(split) == 184 and len(split.label_map) == 11 and not split.faults
    assert split.colours[3] == (128, 64, 128) and mask_folders.splits(shared / "data/camvid") == [
        "test",
        "train",
        "val",
    ]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    assert not mask_folders.looks_like(tmp_path)
    with pytest.raises(InputMissingError, match="not a folder of images and masks"):
        mask_folders.read(tmp_path, "train")
    with pytest.raises(InputMissingError, match="no such folder"):
        mask_folders.read(tmp_path / "none", "train")


def test_an_empty_split_is_refused(halves: Any) -> None:
    for kind in ("images", "masks"):
        (halves.root / kind / "test").mkdir()
    with pytest.raises(DataError, match="0 images"):
        mask_folders.read(halves.root, "test")


def write_classes(folder: Path, rows: Any) -> Path:
    (folder / "classes.json").write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return folder


def test_classes_txt_numbers_its_names_from_zero(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\ufeffroad\r\nsky\n\n")
    found = mask_folders.read_classes(tmp_path)
    assert found.label_map.names == ("road", "sky") and found.colours == ()
    assert found.code.values[:3] == (0, 1, UNKNOWN) and found.code.values[VOID] == VOID


def test_gaps_close_up_and_classes_that_are_not_evaluated_are_void(tmp_path: Path) -> None:
    rows = [
        {"id": 5, "name": "road", "colour": [1, 2, 3]},
        {"id": 0, "name": "nothing", "colour": [0, 0, 0], "evaluated": False},
        {"id": 9, "name": "sky", "color": [4, 5, 6]},
    ]
    found = mask_folders.read_classes(write_classes(tmp_path, rows))
    assert found.label_map.names == ("road", "sky")
    assert [found.code.values[i] for i in (0, 5, 9, 1)] == [VOID, 0, 1, UNKNOWN]
    assert found.code.colours == ((1, 2, 3, 0), (0, 0, 0, VOID), (4, 5, 6, 1))
    assert found.colours == ((1, 2, 3), (4, 5, 6))


def test_255_may_be_a_class(tmp_path: Path) -> None:
    found = mask_folders.read_classes(write_classes(tmp_path, [{"id": 0, "name": "a"}, {"id": 255, "name": "b"}]))
    assert found.code.values[255] == 1


@pytest.mark.parametrize(
    "rows",
    [
        "{",
        {},
        [],
        [3],
        [{"id": 0}],
        [{"id": 256, "name": "a"}],
        [{"id": True, "name": "a"}],
        [{"id": 0, "name": "a", "colour": [1, 2]}],
        [{"id": 0, "name": "a", "colour": [1, 2, 300]}],
        [{"id": 0, "name": "a"}, {"id": 0, "name": "b"}],
        [{"id": 0, "name": "a"}, {"id": 1, "name": "a"}],
        [{"id": 0, "name": "a", "colour": [1, 2, 3]}, {"id": 1, "name": "b", "colour": [1, 2, 3]}],
    ],
)
def test_a_malformed_class_list_is_refused_with_its_path(tmp_path: Path, rows: Any) -> None:
    with pytest.raises(DataError) as raised:
        mask_folders.read_classes(write_classes(tmp_path, rows))
    assert raised.value.file == tmp_path / "classes.json"


def test_a_missing_class_list_is_refused_with_an_explanation(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"Write classes\.txt"):
        mask_folders.read_classes(tmp_path)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def listed(root: Path, text: str) -> Path:
    (root / "train.txt").write_text(text)
    return root / "train.txt"


def pairs(file: Path) -> list[tuple[str, str, str, int | None]]:
    found, faults = mask_folders.read_list(file)
    assert not faults
    root = file.parent
    return [
        (
            pair.image_id,
            str(pair.image_path.relative_to(root)),
            str((pair.mask_path or root).relative_to(root)),
            pair.line,
        )
        for pair in found
    ]


def test_a_line_is_split_at_its_only_space_a_tab_or_where_both_files_exist(tmp_path: Path) -> None:
    touch(tmp_path, "my street/a 1.jpg", "my masks/a 1.png")
    file = listed(tmp_path, "x.jpg y.png\n\nfar away.jpg\tfar mask.png\r\nmy street/a 1.jpg my masks/a 1.png\n")
    assert pairs(file) == [
        ("x", "x.jpg", "y.png", 1),
        ("far away", "far away.jpg", "far mask.png", 3),
        ("a 1", "my street/a 1.jpg", "my masks/a 1.png", 4),
    ]


def test_absolute_paths_of_another_machine_are_matched_by_their_ends(tmp_path: Path) -> None:
    touch(tmp_path, "train/x.png", "trainannot/x.png")
    file = listed(tmp_path, "/SegNet/CamVid/train/x.png /SegNet/CamVid/trainannot/x.png\n")
    assert pairs(file) == [("x", "train/x.png", "trainannot/x.png", 1)]


def test_images_of_one_stem_are_identified_by_their_paths(tmp_path: Path) -> None:
    file = listed(tmp_path, "seq1/0001.png m1/0001.png\nseq2/0001.png m2/0001.png\n")
    assert [pair[0] for pair in pairs(file)] == ["seq1/0001", "seq2/0001"]


def test_an_image_that_is_listed_twice_is_used_once_with_a_warning(tmp_path: Path) -> None:
    found, faults = mask_folders.read_list(listed(tmp_path, "a.jpg a.png\nb.jpg b.png\na.jpg a.png\n"))
    assert [pair.image_id for pair in found] == ["a", "b"]
    assert [(fault.kind, fault.severity, fault.line) for fault in faults] == [("duplicate-id", "warning", 3)]
    assert "already in line 1" in faults[0].message


@pytest.mark.parametrize("line", ["only-one", "four columns no files", "a\tb\tc"])
def test_a_line_that_is_not_a_pair_is_refused_with_its_number(line: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="columns") as raised:
        mask_folders.read_list(listed(tmp_path, f"a.jpg a.png\n{line}\n"))
    assert (raised.value.kind, raised.value.line) == ("bad-list", 2)


def test_a_list_is_recognised_by_its_first_line(tmp_path: Path) -> None:
    assert mask_folders.is_list(listed(tmp_path, "a.jpg a.png\n"))
    for text in ("", "notes\n", "some notes on this\n"):
        assert not mask_folders.is_list(listed(tmp_path, text))
    os.mkfifo(tmp_path / "pipe.txt")
    assert not mask_folders.is_list(tmp_path / "pipe.txt") and not mask_folders.is_list(tmp_path)
    assert mask_folders.read_list(listed(tmp_path, "")) == ([], ())
