"""All ways between the layouts, and what each says that it cannot hold."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data.boxes import coco, voc, yolo
from singleshot.data.convert import Layout, convert, renamed, without_unions, without_wrong_sizes
from singleshot.errors import CannotCreateError, DataError, UsageError
from singleshot.streets import write
from singleshot.structures import Dataset, LabelMap, Sample

READERS = {"voc": voc, "coco": coco, "yolo": yolo}
SPLITS = ("train", "val", "test")


def read(layout: str, root: Path) -> list[Dataset]:
    label_map = None
    found = []
    for split in SPLITS:
        found.append(READERS[layout].read(root, split, label_map=label_map))
        label_map = found[0].label_map
    return found


def same_boxes(before: list[Dataset], after: list[Dataset], *, difficult: bool = False) -> None:
    for one, other in zip(before, after, strict=True):
        assert other.faults == () and len(other) == len(one)
        there = {sample.image_path.stem: sample for sample in other.samples}
        for sample in one.samples:
            new = there[sample.image_path.stem]
            assert new.size_hw == sample.size_hw
            names = [dataset.label_map.names for dataset in (one, other)]
            assert [names[0][i] for i in sample.class_ids] == [names[1][i] for i in new.class_ids]
            np.testing.assert_allclose(new.boxes_xyxy, sample.boxes_xyxy, atol=1e-6)
            assert new.image_path.read_bytes() == sample.image_path.read_bytes()
            if difficult:
                np.testing.assert_array_equal(new.difficult, sample.difficult)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write.make(
        tmp_path_factory.mktemp("drawn") / "data", train=5, val=2, test=2, size_hw=(90, 120), workers=1, seed=2
    )


@pytest.mark.parametrize(
    "way",
    [
        ("voc", "coco", "yolo", "voc"),
        ("voc", "yolo", "coco", "voc"),
        ("voc", "voc", "coco", "coco"),
        ("voc", "coco", "voc", "voc"),
    ],
)
def test_a_round_trip_keeps_every_box(way: tuple[Layout, ...], drawn: Path, tmp_path: Path) -> None:
    first = read("voc", drawn)
    root = drawn
    for step, (old, new) in enumerate(pairwise(way)):
        done = convert(read(old, root), new, tmp_path / f"{step}-{new}")
        root = tmp_path / f"{step}-{new}"
        assert done.images == 9 and done.boxes == sum(len(s.boxes_xyxy) for d in first for s in d.samples)
    same_boxes(first, read(way[-1], root), difficult="yolo" not in way)


def test_bccd_keeps_every_box_to_a_pixel_on_the_way_round(shared: Path, tmp_path: Path) -> None:
    before = read("voc", shared / "data/bccd")
    assert sum(len(sample.boxes_xyxy) for dataset in before for sample in dataset.samples) == 4886
    convert(before, "coco", tmp_path / "coco")
    convert(read("coco", tmp_path / "coco"), "yolo", tmp_path / "yolo")
    done = convert(read("yolo", tmp_path / "yolo"), "voc", tmp_path / "voc")
    assert done.boxes == 4886 and done.notes == []
    same_boxes([replace(dataset, faults=()) for dataset in before], read("voc", tmp_path / "voc"))


def one_picture(tmp_path: Path, rows: list[list[float]], **fields: object) -> Dataset:
    path = tmp_path / "pictures" / "a b.jpg"
    path.parent.mkdir(exist_ok=True, parents=True)
    cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))
    count = len(rows)
    flags = np.zeros(count, bool)
    boxes = np.array(rows, float).reshape(-1, 4)
    sample = Sample("a b", path, (30, 40), boxes, np.zeros(count, int), flags)
    return Dataset(tmp_path, "made", "train", LabelMap(("no", "cat")), (replace(sample, **fields),))


THIRDS = [[0.1, 1 / 3, 40.0, 29.999], [3.0, 4.0, 5.0, 7.0]]


@pytest.mark.parametrize("layout", ["voc", "coco", "yolo"])
def test_fractions_spaces_and_yaml_words_survive(layout: Layout, tmp_path: Path) -> None:
    data = one_picture(tmp_path, THIRDS)
    convert([data], layout, tmp_path / layout)
    back = READERS[layout].read(tmp_path / layout, "train", label_map=data.label_map if layout == "voc" else None)
    assert back.label_map.names == ("no", "cat") and back.faults == ()
    np.testing.assert_allclose(back.samples[0].boxes_xyxy, data.samples[0].boxes_xyxy, atol=1e-9)
    assert back.samples[0].image_path.name == "a b.jpg"


@pytest.mark.parametrize("layout", ["voc", "coco", "yolo"])
def test_an_image_without_objects_stays_one(layout: Layout, tmp_path: Path) -> None:
    data = one_picture(tmp_path, [])
    convert([data], layout, tmp_path / layout)
    back = READERS[layout].read(tmp_path / layout, "train", label_map=data.label_map)
    assert len(back) == 1 and back.samples[0].boxes_xyxy.shape == (0, 4)
    assert back.faults == ()


def test_each_layout_says_what_it_cannot_hold(tmp_path: Path) -> None:
    flags = np.array([True, True])
    hard = one_picture(tmp_path, THIRDS, difficult=flags)
    crowd = one_picture(tmp_path, THIRDS, difficult=flags, crowd=np.array([True, False]), areas=np.array([5.0, 6.0]))
    said = {
        (layout, name): " ".join(convert([data], layout, tmp_path / f"{layout}-{name}").notes)
        for layout in ("voc", "coco", "yolo")
        for name, data in (("hard", hard), ("crowd", crowd))
    }
    assert "cat have no object" in said["voc", "hard"] and "order of classes" in said["voc", "hard"]
    assert "1 crowd is written as difficult" in said["voc", "crowd"] and "areas" in said["voc", "crowd"]
    assert not any("outline" in text for text in said.values())
    outlined = replace(hard, outlines=3)
    for layout in ("voc", "coco", "yolo"):
        assert "3 outlines are lost" in " ".join(convert([outlined], layout, tmp_path / f"{layout}-outlines").notes)
    assert '2 difficult boxes are marked "ignore"' in said["coco", "hard"]
    assert '1 difficult box is marked "ignore"' in said["coco", "crowd"]
    assert "2 difficult boxes are ordinary now" in said["yolo", "hard"]
    assert "1 crowd is an ordinary" in said["yolo", "crowd"] and "1 difficult box is" in said["yolo", "crowd"]
    crowds = coco.read(tmp_path / "coco-crowd", "train").samples[0]
    assert crowds.crowd is not None and crowds.crowd.tolist() == [True, False]
    assert crowds.areas is not None and crowds.areas.tolist() == [5.0, 6.0]
    for layout, reader in (("voc", voc), ("coco", coco)):
        assert reader.read(tmp_path / f"{layout}-hard", "train").samples[0].difficult.tolist() == [True, True]


def test_voc_leaves_out_boxes_that_its_corners_cannot_say_and_is_reported(tmp_path: Path) -> None:
    data = one_picture(tmp_path, [[1.0, 1.0, 1.5, 9.0], [1.0, 1.0, 2.0, 2.5], [1.0, 1.0, 2.5, 2.5]])
    notes = convert([data], "voc", tmp_path / "voc").notes
    assert any(note.startswith("2 boxes are no more than a pixel") for note in notes)
    assert voc.read(tmp_path / "voc", "train").samples[0].boxes_xyxy.tolist() == [[1.0, 1.0, 2.5, 2.5]]


def test_nothing_is_replaced_and_a_failure_leaves_nothing(tmp_path: Path) -> None:
    data = one_picture(tmp_path, THIRDS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_text("mine")
    with pytest.raises(CannotCreateError):
        convert([data], "coco", tmp_path / "mine")
    data.samples[0].image_path.write_bytes(b"")
    for layout in ("voc", "coco", "yolo"):
        with pytest.raises(DataError):
            convert([one_picture_without_size(data)], layout, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "pictures"]


def one_picture_without_size(data: Dataset) -> Dataset:
    return replace(data, samples=(replace(data.samples[0], size_hw=None),))


def test_splits_that_a_layout_has_no_place_for_are_refused(tmp_path: Path) -> None:
    data = renamed(one_picture(tmp_path, THIRDS), "train2017")
    with pytest.raises(UsageError, match="train2017"):
        convert([data], "yolo", tmp_path / "out")
    with pytest.raises(UsageError, match="no split"):
        convert([], "voc", tmp_path / "out")
    with pytest.raises(UsageError, match="different classes"):
        convert([data, replace(data, label_map=LabelMap(("cat",)))], "coco", tmp_path / "out")
    convert([renamed(data, "train")], "yolo", tmp_path / "out")


def test_a_split_that_only_joins_others_is_known(drawn: Path) -> None:
    datasets = [voc.read(drawn, split) for split in ("train", "val", "trainval", "test")]
    kept, unions = without_unions(datasets)
    assert [dataset.split for dataset in kept] == ["train", "val", "test"] and unions == ["trainval"]
    assert without_unions(datasets[2:]) == (datasets[2:], [])
    assert without_unions([datasets[0], renamed(datasets[0], "again")])[1] == []
    assert without_unions([]) == ([], [])


def test_images_of_one_name_in_two_folders_are_both_written_and_said(tmp_path: Path) -> None:
    data = one_picture(tmp_path / "x", THIRDS)
    other = one_picture(tmp_path / "y", THIRDS)
    both = replace(data, root=tmp_path, samples=(*data.samples, *other.samples))
    for layout, reader in (("voc", voc), ("coco", coco), ("yolo", yolo)):
        done = convert([both], layout, tmp_path / layout)
        assert (done.images, len(reader.read(tmp_path / layout, "train"))) == (2, 2)
        assert any(note.startswith("2 images are called by the names of their folders") for note in done.notes), (
            done.notes
        )


def test_an_image_of_another_size_than_annotated_is_a_fatal_fault_and_left_out(tmp_path: Path) -> None:
    data = one_picture(tmp_path, THIRDS)
    assert without_wrong_sizes(data) is data
    height, width = data.samples[0].size_hw or (0, 0)
    wrong = without_wrong_sizes(replace(data, samples=(replace(data.samples[0], size_hw=(width, height)),)))
    assert len(wrong) == 0 and [(fault.kind, fault.severity) for fault in wrong.faults] == [("wrong-size", "fatal")]
