from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from singleshot.data.boxes import voc, voc_xml
from singleshot.data.boxes.voc_xml import annotation_xml
from singleshot.data.boxes.writing import items
from singleshot.errors import DataError, InputMissingError, NotPermittedError
from singleshot.structures import Dataset, LabelMap, Sample
from tests.data.conftest import close

CAT_AND_DOG = LabelMap(("cat", "dog"))


def _picture(path: Path, size_hw: tuple[int, int] = (40, 60)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size_hw[::-1], (90, 120, 60)).save(path)


def _annotate(root: Path, image_id: str, *objects: tuple[str, tuple[object, ...]], size_hw: tuple = (40, 60)) -> Path:
    """Writes an annotation with corners exactly as given; each object begins a line of its own, from line 3 on."""
    lines = ["<annotation>", f"<size><width>{size_hw[1]}</width><height>{size_hw[0]}</height></size>"]
    for name, (xmin, ymin, xmax, ymax) in objects:
        corners = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
        lines.append(f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>")
    path = root / "Annotations" / f"{image_id}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "</annotation>"]), encoding="utf-8")
    return path


def _split(root: Path, text: str | bytes, name: str = "train") -> Path:
    path = root / "ImageSets" / "Main" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three pictures of 60×40: `a` with a cat, `b` with a dog, `c` without objects. `train` holds a and c, `test` b."""
    folder = tmp_path / "VOC2007"
    for image_id in "abc":
        _picture(folder / "JPEGImages" / f"{image_id}.jpg")
    _annotate(folder, "a", ("cat", (1, 1, 60, 40)))
    _annotate(folder, "b", ("dog", (11, 6, 20, 30)))
    _annotate(folder, "c")
    _split(folder, "a\nc\n")
    _split(folder, "b\n", "test")
    return folder


def _only_fault(dataset: Dataset, kind: str, severity: str, file: Path, line: int | None) -> str:
    (fault,) = dataset.faults
    assert (fault.kind, fault.severity, fault.file, fault.line) == (kind, severity, file, line)
    assert "\n" not in str(fault)
    return fault.message


def test_inclusive_corners_become_continuous_edges(root: Path) -> None:
    """Worked by hand: a box over the whole 60×40 picture is (1, 1, 60, 40) in VOC and (0, 0, 60, 40) here."""
    (first, second) = voc.read(root, "train").samples
    assert first.boxes_xyxy.tolist() == [[0, 0, 60, 40]]
    assert voc.read(root, "test").samples[0].boxes_xyxy.tolist() == [[10, 5, 20, 30]]
    assert (first.image_id, first.size_hw, first.image_path) == ("a", (40, 60), root / "JPEGImages" / "a.jpg")
    assert second.image_id == "c"


def test_an_image_without_objects_is_a_sample_without_boxes(root: Path) -> None:
    dataset = voc.read(root, "train")
    empty = dataset.samples[1]
    assert (empty.boxes_xyxy.shape, empty.class_ids.shape, empty.difficult.shape) == ((0, 4), (0,), (0,))
    assert dataset.faults == ()


def test_every_split_has_the_classes_of_all_of_them(root: Path) -> None:
    assert voc.read(root, "train").label_map == voc.read(root, "test").label_map == CAT_AND_DOG
    assert voc.read(root, "test").samples[0].class_ids.tolist() == [1]


def test_given_classes_keep_their_order(root: Path) -> None:
    dataset = voc.read(root, "train", label_map=LabelMap(("dog", "cow", "cat")))
    assert dataset.label_map.names == ("dog", "cow", "cat")
    assert dataset.samples[0].class_ids.tolist() == [2]


def test_what_was_written_is_read_back(root: Path) -> None:
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 20, (50, 2)).astype(np.float32)
    boxes_xyxy = np.hstack([low, low + rng.uniform(0.5, 19, (50, 2)).astype(np.float32)])
    difficult = rng.random(50) < 0.5
    text = annotation_xml("a.jpg", (40, 60), boxes_xyxy, ["dog"] * 50, difficult)
    (root / "Annotations" / "a.xml").write_text(text, encoding="utf-8")
    dataset = voc.read(root, "train")
    # A side below one pixel is inverted in inclusive corners (x1 + 1 > x2): VOC cannot say it.
    writable = ((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) >= 1).all(axis=1)
    np.testing.assert_array_equal(dataset.samples[0].boxes_xyxy, boxes_xyxy[writable])
    np.testing.assert_array_equal(dataset.samples[0].difficult, difficult[writable])
    assert len(dataset.faults) == (~writable).sum() > 0


@pytest.mark.parametrize(
    "text",
    [
        b"a\r\nc\r\n",
        b"\xef\xbb\xbfa\nc",
        b"\n\n a  \n\tc \n\n\n",
        b"a -1\nc  1\n",
        b"a  0\r\nc 1",
    ],
    ids=["crlf", "bom", "blank lines and spaces", "two columns", "zero column"],
)
def test_a_list_reads_the_same_however_it_was_saved(root: Path, text: bytes) -> None:
    _split(root, text)
    assert [sample.image_id for sample in voc.read(root, "train").samples] == ["a", "c"]


def test_an_id_may_hold_spaces_and_any_script(root: Path) -> None:
    for image_id in ("my photo 1", "猫🐈"):
        _picture(root / "JPEGImages" / f"{image_id}.jpg")
        _annotate(root, image_id)
    _split(root, "my photo 1\n猫🐈 1\n")
    dataset = voc.read(root, "train")
    assert [sample.image_id for sample in dataset.samples] == ["my photo 1", "猫🐈"]
    assert dataset.faults == ()


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
def test_an_id_may_be_any_bytes_that_name_a_file(root: Path) -> None:
    image_id = os.fsdecode(b"caf\xe9")
    _picture(root / "JPEGImages" / f"{image_id}.jpg")
    _annotate(root, image_id)
    _split(root, b"caf\xe9\n")
    assert len(voc.read(root, "train")) == 1


@pytest.mark.parametrize("extension", [".JPG", ".jpeg", ".png", ".PNG", ".bmp"])
def test_an_image_is_found_by_its_id_whatever_its_extension(root: Path, extension: str) -> None:
    (root / "JPEGImages" / "a.jpg").unlink()
    _picture(root / "JPEGImages" / f"a{extension}")
    assert voc.read(root, "train").samples[0].image_path.name == f"a{extension}"


def test_file_names_inside_the_xml_are_not_trusted(root: Path) -> None:
    path = root / "Annotations" / "a.xml"
    text = path.read_text(encoding="utf-8")
    tags = "<folder>..</folder><filename>../../etc/passwd</filename><path>/etc/passwd</path>"
    path.write_text(text.replace("<annotation>", f"<annotation>{tags}"), encoding="utf-8")
    assert voc.read(root, "train").samples[0].image_path == root / "JPEGImages" / "a.jpg"


@pytest.mark.parametrize(
    ("corners", "kind", "message"),
    [
        ((10, 20, 10, 20), "zero-size-box", "box (10, 20, 10, 20) of class 'cat' has zero width and height"),
        ((10, 20, 10, 30), "zero-size-box", "box (10, 20, 10, 30) of class 'cat' has zero width."),
        ((10, 20, 30, 20), "zero-size-box", "box (10, 20, 30, 20) of class 'cat' has zero height."),
        ((30, 20, 10, 30), "inverted-box", "inverted"),
        ((10, 30, 30, 20.5), "inverted-box", "inverted"),
        ((30, 20, 10, 20), "inverted-box", "inverted"),
    ],
)
def test_a_box_that_cannot_be_right_is_left_out_and_named(
    root: Path, corners: tuple[float, ...], kind: str, message: str
) -> None:
    path = _annotate(root, "a", ("cat", (1, 1, 5, 5)), ("cat", corners))
    dataset = voc.read(root, "train")
    assert message in _only_fault(dataset, kind, "fatal", path, 4)
    assert dataset.samples[0].boxes_xyxy.tolist() == [[0, 0, 5, 5]]


@pytest.mark.parametrize(
    ("corners", "edges"),
    [
        ((0, 0, 10, 10), [0, 0, 10, 10]),
        ((-8, -9, 5, 6), [0, 0, 5, 6]),
        ((50, 30, 61, 41), [49, 29, 60, 40]),
        ((60, 40, 99, 99), [59, 39, 60, 40]),
        ((-5, 1, 0.5, 40), [0, 0, 0.5, 40]),
    ],
)
def test_a_box_over_the_edge_is_clipped_to_the_pixel_and_counted(
    root: Path, corners: tuple[float, ...], edges: list[float]
) -> None:
    path = _annotate(root, "a", ("cat", corners))
    dataset = voc.read(root, "train")
    assert "60×40" in _only_fault(dataset, "clipped-box", "warning", path, 3)
    assert dataset.samples[0].boxes_xyxy.tolist() == [edges]


@pytest.mark.parametrize("corners", [(61, 1, 70, 10), (1, 41, 10, 50), (-9, 1, 0, 10), (1, -9, 10, 0)])
def test_a_box_outside_the_image_is_left_out_with_a_warning(root: Path, corners: tuple[int, ...]) -> None:
    path = _annotate(root, "a", ("cat", corners))
    dataset = voc.read(root, "train")
    assert "outside" in _only_fault(dataset, "outside-box", "warning", path, 3)
    assert len(dataset.samples[0].boxes_xyxy) == 0


def test_a_box_that_touches_every_edge_has_no_fault(root: Path) -> None:
    _annotate(root, "a", ("cat", (1, 1, 60, 40)))
    assert voc.read(root, "train").faults == ()


@pytest.mark.parametrize(("written", "near"), [("dgo", "Near: dog."), ("Dog", "Near: dog."), ("CAT", "Near: cat.")])
def test_an_unknown_class_is_named_with_the_nearest(root: Path, written: str, near: str) -> None:
    path = _annotate(root, "a", (written, (1, 1, 9, 9)))
    dataset = voc.read(root, "train", label_map=CAT_AND_DOG)
    message = _only_fault(dataset, "unknown-class", "fatal", path, 3)
    assert message == f"class '{written}' is unknown. {near}"
    assert len(dataset.samples[0].boxes_xyxy) == 0


def test_a_class_like_no_other_is_answered_with_the_list(root: Path) -> None:
    _annotate(root, "a", ("zebra", (1, 1, 9, 9)))
    (fault,) = voc.read(root, "train", label_map=CAT_AND_DOG).faults
    assert fault.message == "class 'zebra' is unknown. The classes are: cat, dog."


def test_a_space_at_a_classs_edge_makes_no_class_of_its_own(root: Path) -> None:
    path = _annotate(root, "a", (" dog", (1, 1, 9, 9)), ("cat", (1, 1, 9, 9)))
    dataset = voc.read(root, "train")
    assert "space" in _only_fault(dataset, "unknown-class", "fatal", path, 3)
    assert dataset.label_map == CAT_AND_DOG


def test_a_broken_annotation_is_a_fault_of_its_line_and_the_rest_is_read(root: Path) -> None:
    path = root / "Annotations" / "a.xml"
    path.write_text("<annotation>\n<object>\n</annotation>", encoding="utf-8")
    dataset = voc.read(root, "train")
    assert "mismatched tag" in _only_fault(dataset, "bad-xml", "fatal", path, 3)
    assert [sample.image_id for sample in dataset.samples] == ["c"]


def test_a_broken_annotation_of_another_split_is_a_warning(root: Path) -> None:
    path = root / "Annotations" / "b.xml"
    path.write_text("<annotation>", encoding="utf-8")
    dataset = voc.read(root, "train")
    assert "not in this split" in _only_fault(dataset, "bad-xml", "warning", path, 1)
    assert len(dataset) == 2


def test_a_missing_image_is_a_fault_of_the_lists_line(root: Path) -> None:
    split = _split(root, "a\n\nmissing\nc\n../a\n")
    dataset = voc.read(root, "train")
    assert [(fault.kind, fault.severity, fault.file, fault.line) for fault in dataset.faults] == [
        ("missing-picture", "fatal", split, 3),
        ("missing-picture", "fatal", split, 5),
    ]
    assert dataset.faults[0].message.startswith("image missing not found in JPEGImages")
    assert len(dataset) == 2


def test_an_image_without_annotation_is_left_out_with_a_warning(root: Path) -> None:
    (root / "Annotations" / "c.xml").unlink()
    dataset = voc.read(root, "train")
    _only_fault(dataset, "missing-annotation", "warning", root / "ImageSets" / "Main" / "train.txt", 2)
    assert [sample.image_id for sample in dataset.samples] == ["a"]


def test_an_id_that_stands_twice_is_used_once(root: Path) -> None:
    split = _split(root, "a\nc\na 1\n")
    dataset = voc.read(root, "train")
    assert "line 1" in _only_fault(dataset, "duplicate-id", "warning", split, 3)
    assert [sample.image_id for sample in dataset.samples] == ["a", "c"]


@pytest.mark.parametrize("size", [(0, 0), (0, 60)])
def test_a_size_of_zero_is_read_from_the_image(root: Path, size: tuple[int, int]) -> None:
    path = _annotate(root, "a", ("cat", (1, 1, 99, 99)), size_hw=size)
    dataset = voc.read(root, "train")
    assert [(fault.kind, fault.severity) for fault in dataset.faults] == [
        ("zero-picture-size", "warning"),
        ("clipped-box", "warning"),
    ]
    assert all(fault.file == path for fault in dataset.faults)
    assert dataset.samples[0].size_hw == (40, 60)
    assert dataset.samples[0].boxes_xyxy.tolist() == [[0, 0, 60, 40]]


def test_a_size_that_neither_annotation_nor_image_tells_is_a_fault_of_the_image(root: Path) -> None:
    _annotate(root, "a", ("cat", (1, 1, 9, 9)), size_hw=(0, 0))
    (root / "JPEGImages" / "a.jpg").write_bytes(b"")
    dataset = voc.read(root, "train")
    assert [fault.kind for fault in dataset.faults] == ["zero-picture-size", "empty-file"]
    assert [sample.image_id for sample in dataset.samples] == ["c"]


def test_a_test_set_whose_annotations_are_kept_back_has_samples_without_boxes(root: Path) -> None:
    for path in (root / "Annotations").iterdir():
        path.unlink()
    (root / "Annotations").rmdir()
    dataset = voc.read(root, "train", annotated=False)
    assert [sample.image_id for sample in dataset.samples] == ["a", "c"]
    assert [sample.size_hw for sample in dataset.samples] == [None, None]
    assert all(len(sample.boxes_xyxy) == 0 for sample in dataset.samples)
    assert (dataset.faults, dataset.label_map) == ((), LabelMap(()))
    assert voc.read(root, "train", annotated=False, label_map=CAT_AND_DOG).label_map == CAT_AND_DOG


@pytest.mark.parametrize("text", ["", "\n \r\n\n"])
def test_an_empty_split_is_refused(root: Path, text: str) -> None:
    path = _split(root, text)
    with pytest.raises(DataError, match="0 images in the split") as caught:
        voc.read(root, "train")
    assert (caught.value.kind, caught.value.file) == ("empty-split", path)


def test_a_split_that_is_not_there_is_answered_with_those_that_are(root: Path) -> None:
    _split(root, "a 1\n", "cat_train")
    for name in ("val", "../Main/train"):
        with pytest.raises(InputMissingError, match=r"There are: test, train, cat_train"):
            voc.read(root, name)


def test_the_devkit_around_one_voc_folder_will_do(root: Path) -> None:
    assert len(voc.read(root.parent, "train")) == 2


def test_a_devkit_of_two_years_asks_which(root: Path) -> None:
    root.rename(root.parent / "VOC2012")
    _picture(root / "JPEGImages" / "a.jpg")
    _annotate(root, "a")
    _split(root, "a")
    with pytest.raises(InputMissingError, match="Name one of them: VOC2007, VOC2012"):
        voc.read(root.parent, "train")


@pytest.mark.parametrize("name", ["JPEGImages", "Annotations", "ImageSets"])
def test_a_folder_in_another_layout_is_reported_what_is_missing(root: Path, name: str) -> None:
    (root / name).rename(root / "elsewhere")
    with pytest.raises(InputMissingError, match=rf"not a Pascal VOC folder: {name}\S* missing") as caught:
        voc.read(root, "train")
    assert caught.value.exit_code == 66


def test_a_folder_inside_the_right_one_points_to_it(root: Path) -> None:
    with pytest.raises(InputMissingError, match=rf"{root} is one"):
        voc.read(root / "Annotations", "train")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"nowhere: no such folder"):
        voc.read(tmp_path / "nowhere", "train")


def test_a_folder_that_may_not_be_listed_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(NotPermittedError):
        voc.read(root, "train")


def test_a_folder_beside_it_that_may_not_be_looked_into_does_not_hide_the_only_one_inside(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = tmp_path / "outer"
    (outer / "lost+found").mkdir(parents=True)
    root.rename(outer / "VOC2007")
    close(outer / "lost+found", monkeypatch)
    assert voc.read(outer, "train").root == outer


def test_the_folder_is_left_as_it_was(root: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(root.rglob("*"))}

    before = state()
    voc.read(root, "train")
    assert state() == before


def test_bccd_has_its_known_counts(shared: Path) -> None:
    """Counts of the data's SOURCE.md; trainval has two boxes fewer than its 3943, the zero-size ones."""
    trainval, test = (voc.read(shared / "data" / "bccd", split) for split in ("trainval", "test"))
    assert (len(trainval), len(test)) == (292, 72)
    assert trainval.label_map.names == test.label_map.names == ("Platelets", "RBC", "WBC")
    counts = Counter(name for sample in test.samples for name in test.label_map.names_of(sample.class_ids))
    assert counts == {"RBC": 805, "WBC": 71, "Platelets": 69}
    assert sum(counts.values()) == 945
    assert sum(len(sample.boxes_xyxy) for sample in trainval.samples) == 3943 - 2
    assert test.faults == ()
    assert {sample.size_hw for sample in trainval.samples} == {(480, 640)}


def test_bccds_two_zero_size_boxes_are_named_by_file_and_line(shared: Path) -> None:
    dataset = voc.read(shared / "data" / "bccd", "trainval")
    assert [(fault.file.name, fault.line, fault.kind, fault.severity) for fault in dataset.faults] == [
        ("BloodImage_00338.xml", 163, "zero-size-box", "fatal"),
        ("BloodImage_00343.xml", 55, "zero-size-box", "fatal"),
    ]
    for fault, corner in zip(dataset.faults, (504, 181), strict=True):
        lines = fault.file.read_text(encoding="utf-8").splitlines()
        assert fault.line is not None
        assert lines[fault.line - 1].strip() == "<bndbox>"
        assert lines[fault.line].strip() == f"<xmin>{corner}</xmin>"


def test_each_annotation_is_parsed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes come from all of them, the boxes from those of the split; a second parse would double the time."""
    (root / "Annotations" / "c.xml").write_text("<annotation>", encoding="utf-8")
    parsed: list[str] = []
    read = voc_xml.read
    monkeypatch.setattr(voc_xml, "read", lambda file: (parsed.append(file.name), read(file))[1])
    voc.read(root, "train")
    assert sorted(parsed) == ["a.xml", "b.xml", "c.xml"]


def test_the_written_files_worked_by_hand(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    rows = np.array([[10.0, 3.0, 20.0, 9.0]])
    sample = Sample("7", tmp_path / "a.png", (30, 40), rows, np.array([0]), np.array([True]))
    data = Dataset(tmp_path, "coco", "val", LabelMap(("cat",)), (sample,))
    out = tmp_path / "out"
    out.mkdir()
    notes = voc.write([data], items([data], one_folder=True), out)
    xml = (out / "Annotations/a.xml").read_text()
    assert "<xmin>11</xmin><ymin>4</ymin><xmax>20</xmax><ymax>9</ymax>" in xml and "<difficult>1</difficult>" in xml
    assert (out / "ImageSets/Main/val.txt").read_text() == "a\n"
    assert (out / "JPEGImages/a.png").is_file() and notes == []


def test_a_list_may_name_files_in_folders_and_with_their_extensions(root: Path) -> None:
    for folder, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".xml")):
        (root / folder / "cam1").mkdir()
        (root / folder / f"c{suffix}").rename(root / folder / "cam1" / f"0001{suffix}")
    _split(root, "a.jpg 1\ncam1/0001\n")
    dataset = voc.read(root, "train")
    assert [sample.image_id for sample in dataset.samples] == ["a", "cam1/0001"] and dataset.faults == ()
    _split(root, "JPEGImages\\a.jpg\n/home/me/VOC/JPEGImages/cam1/0001.jpg  -1\n")
    assert [sample.image_id for sample in voc.read(root, "train").samples] == ["a", "cam1/0001"]


@pytest.mark.parametrize("fix_boxes", [False, True])
def test_boxes_as_sizes_are_one_fatal_fault_and_none_is_used_even_by_fix_boxes(root: Path, fix_boxes: bool) -> None:
    _annotate(root, "a", ("cat", (40, 20, 12, 15)), ("cat", (30, 5, 20, 20)))
    _annotate(root, "c", ("dog", (3, 20, 20, 12)))
    dataset = voc.read(root, "train", fix_boxes=fix_boxes)
    message = _only_fault(dataset, "other-coordinates", "fatal", root / "Annotations", None)
    assert "x, y, width and height" in message and not any(len(sample.boxes_xyxy) for sample in dataset.samples)


def test_an_annotation_without_size_takes_that_of_the_image(root: Path) -> None:
    file = root / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<size><width>60</width><height>40</height></size>", ""))
    dataset = voc.read(root, "train")
    assert dataset.samples[0].size_hw == (40, 60) and len(dataset.samples[0].boxes_xyxy) == 1
    assert [(fault.kind, fault.severity) for fault in dataset.faults] == [("filled-field", "note")]


def test_hidden_and_helper_files_and_folders_are_never_data(root: Path) -> None:
    for folder, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".xml")):
        for name in (f"._a{suffix}", "Thumbs.db", ".DS_Store"):
            (root / folder / name).write_bytes(b"\0\5\x16\7")
        for name in (".ipynb_checkpoints", "__MACOSX"):
            (root / folder / name).mkdir()
            (root / folder / name / f"x{suffix}").write_bytes(b"no data")
    folder = voc.Folder(root)
    assert sorted(folder.images) == sorted(folder.annotation_files) == ["a", "b", "c"] and folder.faults == []
