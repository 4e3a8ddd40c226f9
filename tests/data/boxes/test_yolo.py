from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from singleshot.data.boxes import yolo, yolo_yaml
from singleshot.data.boxes.writing import items
from singleshot.errors import ConfigError, DataError, InputMissingError
from singleshot.structures import Dataset, LabelMap, Sample

YAML = "train: images/train\nval: images/val\nnames: [car, bus]\n"


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), (90, 120, 60)).save(path)
    return path


def label(root: Path, name: str, text: str | bytes, split: str = "train") -> Path:
    path = root / "labels" / split / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pictures of 60×40 to train on, `a` with a car and `b` with nothing, and `c` with a bus to judge by."""
    for name in ("train/a", "train/b", "val/c"):
        picture(tmp_path / "images" / f"{name}.jpg")
    label(tmp_path, "a", "0 0.5 0.5 0.5 0.25\n")
    label(tmp_path, "b", "")
    label(tmp_path, "c", "1 0.5 0.5 1 1\n", "val")
    (tmp_path / "data.yaml").write_text(YAML)
    return tmp_path


def only_fault(dataset: Dataset, kind: str, severity: str, file: Path, line: int | None) -> str:
    (fault,) = dataset.faults
    assert (fault.kind, fault.severity, fault.file, fault.line) == (kind, severity, file, line)
    assert "\n" not in str(fault)
    return fault.message


def test_fractions_become_pixels_worked_by_hand(root: Path) -> None:
    first, second = (dataset := yolo.read(root, "train")).samples
    assert first.boxes_xyxy.tolist() == [[15, 15, 45, 25]]
    assert (first.image_id, first.size_hw, first.class_ids.tolist()) == ("a", (40, 60), [0])
    assert second.boxes_xyxy.shape == (0, 4)
    assert (dataset.faults, dataset.label_map.names) == ((), ("car", "bus"))
    assert yolo.read(root, "val").samples[0].boxes_xyxy.tolist() == [[0, 0, 60, 40]]


def test_a3_an_image_without_a_label_file_is_background_and_counted(root: Path) -> None:
    (root / "labels/train/b.txt").unlink()
    dataset = yolo.read(root, "train")
    assert only_fault(dataset, "unlabelled", "note", root / "images/train", None).startswith("1 of 2 images")
    assert len(dataset) == 2


@pytest.mark.parametrize(
    "text",
    [
        b"0 0.5 0.5 0.5 0.25",
        b"0 0.5 0.5 0.5 0.25\r\n",
        b"\xef\xbb\xbf\n 0\t.5 5e-1  0.50 0.25 \n\n",
        b"0.0 0.5 0.5 0.5 0.25",
    ],
)
def test_a6_a_label_file_reads_the_same_however_it_was_saved(root: Path, text: bytes) -> None:
    label(root, "a", text)
    dataset = yolo.read(root, "train")
    assert (dataset.samples[0].boxes_xyxy.tolist(), dataset.faults) == ([[15, 15, 45, 25]], ())


def test_the_corners_of_an_outline_give_the_box_around_it(root: Path) -> None:
    label(root, "a", "1 0.25 0.25 0.75 0.25 0.5 0.75\n")
    assert yolo.read(root, "train").samples[0].boxes_xyxy.tolist() == [[15, 10, 45, 30]]


@pytest.mark.parametrize(
    ("line", "kind", "severity", "what"),
    [
        ("0 0.5 0.5 0.5", "bad-line", "fatal", "4 columns"),
        ("0 0.5 0.5 0.5 0.5 0.9", "bad-line", "fatal", "6 columns"),
        ("car 0.5 0.5 0.5 0.5", "bad-line", "fatal", "the class is 'car'"),
        ("-1 0.5 0.5 0.5 0.5", "bad-line", "fatal", "the class is '-1'"),
        ("0 nan 0.5 0.5 0.5", "not-a-number", "fatal", "'nan'"),
        ("0 1_0 0.5 0.5 0.5", "not-a-number", "fatal", "'1_0'"),
        ("0 \uff11 0.5 0.5 0.5", "not-a-number", "fatal", "is not a number"),
        ("0 1e400 0.5 0.5 0.5", "not-a-number", "fatal", "'1e400'"),
        ("2 0.5 0.5 0.5 0.5", "unknown-class", "fatal", "class 2 is none of 0 … 1"),
        ("0 0.5 0.5 0 0.5", "zero-size-box", "fatal", "zero width"),
        ("0 0.5 0.5 -0.1 0.5", "inverted-box", "fatal", "is inverted"),
        ("0 1.5 0.5 0.1 0.1", "outside-box", "warning", "outside the 60×40 image"),
        ("0 1 0.5 0.1 0.1", "clipped-box", "warning", "over the edge"),
    ],
)
def test_a_line_that_cannot_be_right_is_named(root: Path, line: str, kind: str, severity: str, what: str) -> None:
    path = label(root, "a", f"1 0.5 0.5 1 1\n{line}\n")
    dataset = yolo.read(root, "train")
    assert what in only_fault(dataset, kind, severity, path, 2)
    assert len(dataset.samples[0].boxes_xyxy) == 1 + (kind == "clipped-box")


def test_a_box_beyond_the_edge_by_its_rounding_is_clipped_in_silence(root: Path) -> None:
    label(root, "a", "0 0.500001 0.5 1.0 1.0\n")
    dataset = yolo.read(root, "train")
    assert dataset.faults == ()
    assert dataset.samples[0].boxes_xyxy[0, 2] == 60


def test_given_classes_keep_their_order_and_a_class_outside_them_is_unknown_where_used(root: Path) -> None:
    dataset = yolo.read(root, "val", label_map=LabelMap(("bus", "tram", "car")))
    assert (dataset.samples[0].class_ids.tolist(), dataset.label_map.names) == ([0], ("bus", "tram", "car"))
    other = yolo.read(root, "val", label_map=LabelMap(("car",)))
    assert "class 'bus' is unknown" in only_fault(other, "unknown-class", "fatal", root / "labels/val/c.txt", 1)


def test_a2_an_image_in_a_list_that_is_not_there_is_named(root: Path) -> None:
    (root / "data.yaml").write_text(YAML.replace("images/train", "train.txt"))
    (root / "train.txt").write_text("./images/train/b.jpg\nimages/train/gone.jpg\nimages/train/a.jpg\n")
    dataset = yolo.read(root, "train")
    only_fault(dataset, "missing-picture", "fatal", root / "train.txt", 2)
    assert [sample.image_id for sample in dataset.samples] == ["b", "a"]


def test_a_description_may_name_images_themselves(root: Path) -> None:
    train = "[images/train/b.jpg, images/train/a.jpg, images/train/b.jpg]"
    (root / "data.yaml").write_text(f"train: {train}\nval: images/val/c.jpg\nnames: [car, bus]\n")
    dataset = yolo.read(root, "train")
    assert [sample.image_id for sample in dataset.samples] == ["b", "a"] and dataset.faults == ()
    assert [len(sample.boxes_xyxy) for sample in dataset.samples] == [0, 1]
    assert root / "labels" / "train" / "a.txt" in set(yolo.sources(root, "train"))


def test_a5_an_image_that_a_list_names_twice_is_used_once(root: Path) -> None:
    (root / "data.yaml").write_text(YAML.replace("images/train", "train.txt"))
    (root / "train.txt").write_text("images/train/b.jpg\n\n./images/train/b.jpg\n")
    dataset = yolo.read(root, "train")
    assert "already in line 1" in only_fault(dataset, "duplicate-id", "warning", root / "train.txt", 3)
    assert len(dataset) == 1


def test_a4_a_split_without_images_is_65(root: Path) -> None:
    for path in (root / "images/train").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="0 images in the split") as caught:
        yolo.read(root, "train")
    assert caught.value.kind == "empty-split"


def test_a1_missing_parts_are_66_with_what_there_is(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"no split 'test'\. There are: train, val"):
        yolo.read(root, "test")
    (root / "data.yaml").write_text(YAML.replace("images/val", "pictures/val2"))
    (root / "images/val").rename(root / "elsewhere")
    with pytest.raises(InputMissingError, match=r"data.yaml:2: the images of 'val' do not exist"):
        yolo.read(root, "val")
    with pytest.raises(InputMissingError, match=r"no such folder or data.yaml"):
        yolo.read(tmp_path / "nowhere", "train")
    with pytest.raises(InputMissingError, match=r"no data.yaml"):
        yolo.read(root / "images", "train")


def test_a_broken_image_is_a_fault_and_the_rest_is_read(root: Path) -> None:
    (root / "images/train/a.jpg").write_bytes(b"<html>")
    dataset = yolo.read(root, "train")
    only_fault(dataset, "not-a-picture", "fatal", root / "images/train/a.jpg", None)
    assert [sample.image_id for sample in dataset.samples] == ["b"]


def test_labels_without_an_image_are_a_warning(root: Path) -> None:
    path = label(root, "z", "0 0.5 0.5 0.5 0.5\n")
    only_fault(yolo.read(root, "train"), "label-without-picture", "warning", path, None)


def test_an_exports_path_that_leads_out_of_its_folder_is_looked_for_inside(root: Path) -> None:
    """Roboflow writes `../train/images` though `train` lies beside data.yaml."""
    (root / "train").mkdir()
    (root / "images/train").rename(root / "train/images")
    (root / "labels/train").rename(root / "train/labels")
    (root / "data.yaml").write_text("train: ../train/images\nnames: [car, bus]\nroboflow: {version: 1}\n")
    dataset = yolo.read(root, "train")
    assert [len(sample.boxes_xyxy) for sample in dataset.samples] == [1, 0]
    assert dataset.faults == ()


def test_images_of_one_name_in_two_folders_keep_ids_of_their_own(root: Path) -> None:
    picture(root / "images/train/deep/a.jpg")
    ids = [sample.image_id for sample in yolo.read(root, "train").samples]
    assert len(set(ids)) == 3
    assert all("/" in image_id for image_id in ids)


def test_images_without_labels_wanted_have_none(root: Path) -> None:
    dataset = yolo.read(root, "train", annotated=False)
    assert [len(sample.boxes_xyxy) for sample in dataset.samples] == [0, 0]


number = st.floats(-0.5, 1.5).map(repr) | st.sampled_from(["nan", "1e9", "", "0", "1", "x", "-0", "1e-40"])
line = st.lists(number, min_size=3, max_size=9).map(lambda items: " ".join(["0", *items]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(line, max_size=4).map("\n".join) | st.text(max_size=30) | st.binary(max_size=30))
def test_any_labels_give_good_boxes_or_faults_with_file_and_line(root: Path, text: str | bytes) -> None:
    path = label(root, "a", text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    dataset = yolo.read(root, "train")
    assert all(fault.file == path and fault.line is not None for fault in dataset.faults)
    for sample in dataset.samples:
        assert np.isfinite(sample.boxes_xyxy).all()
        assert (sample.boxes_xyxy[:, 2:] > sample.boxes_xyxy[:, :2]).all()
        assert (sample.boxes_xyxy >= 0).all()
        assert (sample.boxes_xyxy <= [60, 40, 60, 40]).all()


def test_labels_beside_images_are_found_whatever_the_folders_above_are_called(tmp_path: Path) -> None:
    top = tmp_path / "images" / "cars"
    for place in ("train", "images/val"):
        picture(top / place / "a.jpg")
        (top / place / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (top / "data.yaml").write_text("train: train\nval: images/val\nnames: [car]\n")
    for split in ("train", "val"):
        dataset = yolo.read(top, split)
        assert dataset.faults == () and dataset.samples[0].boxes_xyxy.tolist() == [[0, 0, 60, 40]]


def test_a_split_without_any_labels_is_a_warning(root: Path) -> None:
    (root / "labels/val/c.txt").unlink()
    only_fault(yolo.read(root, "val"), "unlabelled", "warning", root / "images/val", None)


def test_the_box_of_a_pose_is_its_first_four_numbers(root: Path) -> None:
    (root / "data.yaml").write_text(YAML + "kpt_shape: [2, 2]\n")
    file = label(root, "a", "0 0.5 0.5 0.5 0.25 0.1 0.1 0.9 0.9\n0 0.5 0.5 0.5 0.25\n0 0.1 0.1 0.2 0.2 0.3 0.3\n")
    dataset = yolo.read(root, "train")
    assert dataset.samples[0].boxes_xyxy.tolist() == [[15, 15, 45, 25]]
    assert [(fault.kind, fault.file, fault.line) for fault in dataset.faults] == [
        ("bad-line", file, 2),
        ("bad-line", file, 3),
    ]
    assert "and 4 numbers of keypoints" in dataset.faults[0].message


@pytest.mark.parametrize("value", ["17", "[17, x]", "[1, 2, 3]"])
def test_keypoints_of_no_shape_are_refused_with_their_line(root: Path, value: str) -> None:
    (root / "data.yaml").write_text(f"{YAML}kpt_shape: {value}\n")
    with pytest.raises(ConfigError, match=r"data\.yaml:4: kpt_shape is not"):
        yolo.read(root, "train")


def test_a9_links_out_of_the_data_and_to_folders_are_named(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    train, elsewhere = root / "images/train", tmp_path_factory.mktemp("elsewhere")
    picture(elsewhere / "x.jpg")
    (train / "x.jpg").symlink_to(elsewhere / "x.jpg")
    (train / "more").symlink_to(elsewhere)
    (train / "nowhere.jpg").symlink_to(root / "nothing.jpg")
    (train / "again").symlink_to(root / "images/val")
    (train / "good.jpg").symlink_to(root / "images/val/c.jpg")
    dataset = yolo.read(root, "train")
    faults = {fault.file.name: (fault.kind, fault.severity) for fault in dataset.faults if fault.file.is_symlink()}
    assert faults == {
        "x.jpg": ("outside-link", "fatal"),
        "more": ("outside-link", "fatal"),
        "nowhere.jpg": ("broken-link", "fatal"),
        "again": ("linked-folder", "warning"),
    }
    assert [sample.image_id for sample in dataset.samples] == ["a", "b", "good"]


def test_the_written_files_worked_by_hand(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    rows = np.array([[10.0, 3.0, 20.0, 9.0]])
    sample = Sample("a", tmp_path / "a.png", (30, 40), rows, np.array([1]), np.array([False]))
    data = Dataset(tmp_path, "voc", "val", LabelMap(("1: no", 'a"b', "bus 🚌")), (sample,))
    out = tmp_path / "out"
    out.mkdir()
    yolo.write([data], items([data], one_folder=False), out)
    # Centre (15, 6) of 40×30, 10 wide and 6 high.
    assert (out / "labels/val/a.txt").read_text() == "1 0.375 0.2 0.25 0.2\n"
    assert (out / "images/val/a.png").is_file()
    names = {0: "1: no", 1: 'a"b', 2: "bus 🚌"}
    assert yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8")) == {"val": "images/val", "names": names}
    assert yolo_yaml.read(out / "data.yaml").names == tuple(names.values())


def _elsewhere(tmp_path: Path, yaml_text: str) -> Path:
    """A description in a folder of its own beside the images of `root`."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "pets.yaml").write_text(yaml_text)
    return tmp_path / "config" / "pets.yaml"


def test_an_absolute_path_out_of_the_descriptions_folder_is_read_and_noted(root: Path) -> None:
    file = _elsewhere(root, f"path: {root}\n{YAML}")
    dataset = yolo.read(file, "train")
    assert [len(sample.boxes_xyxy) for sample in dataset.samples] == [1, 0]
    assert "2 images lie outside" in only_fault(dataset, "outside-folder", "note", file, None)
    assert list(yolo.sources(file, "train"))


def test_an_absolute_path_into_a_relative_folder_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "data.yaml").write_text(f"path: {root}\n{YAML}")
    monkeypatch.chdir(root)
    dataset = yolo.read(Path(), "train")
    assert [len(sample.boxes_xyxy) for sample in dataset.samples] == [1, 0] and dataset.faults == ()


@pytest.mark.parametrize(
    "train",
    ["pets-1/images/train", "C:\\Users\\me\\pets\\images\\train", "/home/me/pets/images/train", "../images/train"],
)
def test_a_folder_of_another_machine_is_found_by_the_end_of_its_path(root: Path, train: str) -> None:
    (root / "data.yaml").write_text(YAML.replace("images/train", train))
    dataset = yolo.read(root, "train")
    assert [sample.image_id for sample in dataset.samples] == ["a", "b"]
    assert [fault.kind for fault in dataset.faults] == ([] if train.startswith("..") else ["moved-path"])


def test_a_split_is_never_the_folder_of_all_images(root: Path) -> None:
    (root / "data.yaml").write_text(YAML.replace("images/train", "/home/me/elsewhere/images"))
    (root / "images" / "train").rename(root / "images" / "other")
    with pytest.raises(InputMissingError, match="do not exist: /home/me/elsewhere/images"):
        yolo.read(root, "train")


@pytest.mark.parametrize("number", ["+1", "1.", "1.00000000", "1.000000000000000000e+00"])
def test_a_class_may_be_written_as_a_float(root: Path, number: str) -> None:
    label(root, "a", f"{number} +0.5 5.0e-1 .5 2.5E-01\n")
    dataset = yolo.read(root, "train")
    assert (dataset.samples[0].class_ids.tolist(), dataset.faults) == ([1], ())


@pytest.mark.parametrize("key", ["valid", "validation"])
def test_valid_is_val_in_folders_keys_and_on_the_command_line(root: Path, key: str) -> None:
    (root / "images" / "val").rename(root / "images" / "valid")
    (root / "labels" / "val").rename(root / "labels" / "valid")
    (root / "data.yaml").write_text(f"train: images/train\n{key}: pets/val/images\nnames: [car, bus]\n")
    for split in ("val", "valid"):
        dataset = yolo.read(root, split)
        assert [sample.class_ids.tolist() for sample in dataset.samples] == [[1]]
        assert {fault.kind for fault in dataset.faults} == {"unknown-key", "moved-path"}


def test_lines_of_a_list_are_found_by_backslashes_drives_and_ends_and_the_others_named(root: Path) -> None:
    (root / "data.yaml").write_text(YAML.replace("images/train", "lists/train.txt"))
    (root / "lists").mkdir()
    lines = ["images\\train\\a.jpg", "D:\\pets\\images\\train\\b.jpg", f"{root}/images/val/c.jpg", "/home/me/x.jpg"]
    (root / "lists" / "train.txt").write_text("\n".join(lines))
    dataset = yolo.read(root, "train")
    assert [sample.image_id for sample in dataset.samples] == ["a", "b", "c"]
    assert "/home/me/x.jpg" in only_fault(dataset, "missing-picture", "fatal", root / "lists/train.txt", 4)


def test_a_file_in_pixels_is_one_fatal_fault_and_none_of_its_boxes_is_used(root: Path) -> None:
    file = label(root, "a", "0 30 20 12 10\n1 40 25 6 8\n")
    dataset = yolo.read(root, "train")
    assert len(dataset.samples[0].boxes_xyxy) == 0
    assert "look like pixels" in only_fault(dataset, "other-coordinates", "fatal", file, 1)


def test_a_set_of_corners_is_one_fatal_fault_and_none_of_its_boxes_is_used(root: Path) -> None:
    label(root, "a", "0 0.5 0.5 0.9 0.9\n0 0.1 0.2 0.9 0.95\n")
    label(root, "b", "0 0.4 0.5 0.95 0.9\n")
    dataset = yolo.read(root, "train")
    assert [len(sample.boxes_xyxy) for sample in dataset.samples] == [0, 0]
    assert "corners" in only_fault(dataset, "other-coordinates", "fatal", root / "labels/train/a.txt", 1)
