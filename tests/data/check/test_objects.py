from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singleshot.data import read
from singleshot.data.check import objects
from singleshot.data.check.audit import audit
from singleshot.data.masks.files import encode
from singleshot.images import read_size_hw
from singleshot.structures import VOID, Dataset, LabelMap, Sample


def _sample(name: str, class_ids: list[int], difficult: list[bool], labels: str | None = None) -> Sample:
    boxes = np.array([[1.0, 1.0, 9.0, 9.0]] * len(class_ids)).reshape(-1, 4)
    path = None if labels is None else Path(labels)
    return Sample(
        name,
        Path(name),
        (20, 20),
        boxes,
        np.array(class_ids, np.int64),
        np.array(difficult, bool),
        annotation_path=path,
    )


def _split(split: str, *samples: Sample, names: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    return Dataset(Path("data"), "yolo", split, LabelMap(names), samples)


def test_a_split_without_images_or_with_an_object_is_no_fault_of_objects() -> None:
    assert objects.no_object(_split("train")) is None and objects.classes_without_object([]) == []
    assert objects.no_object(_split("train", _sample("a", [], []), _sample("b", [0], [False]))) is None


def test_no_object_names_the_folder_that_was_searched() -> None:
    fault = objects.no_object(_split("train", _sample("a", [], [], "data/labels/train/a.txt")))
    assert fault is not None and (fault.kind, fault.severity) == ("no-object", "fatal")
    assert "looked for in data/labels/train/a.txt" in fault.message
    pair = [_sample(name, [], [], f"data/labels/{name}/x.txt") for name in ("a", "b")]
    fault = objects.no_object(_split("train", *pair))
    assert fault is not None and "no object in the 2 images of train" in fault.message
    assert "looked for in data/labels/a, data/labels/b" in fault.message


def test_objects_that_are_all_difficult_are_none_to_train_on() -> None:
    fault = objects.no_object(_split("train", _sample("a", [0, 1], [True, True])))
    assert fault is not None and fault.kind == "no-object" and "difficult" in fault.message


def test_a_class_without_object_is_one_warning_for_all_splits() -> None:
    train, val = _split("train", _sample("a", [0], [False])), _split("val", _sample("b", [1], [False]))
    assert objects.classes_without_object([train, val]) == []
    (fault,) = objects.classes_without_object([train])
    assert (fault.kind, fault.severity) == (
        "class-without-object",
        "warning",
    ) and "class 'dog' in train" in fault.message


def test_a_class_without_pixel_beside_void_names_the_value_and_the_remedy() -> None:
    (fault,) = objects.classes_without_pixel(("background", "crack"), {0, VOID}, Path("data"), masks=6)
    assert fault.severity == "warning" and "class 'crack' in the 6 masks" in fault.message
    assert "255" in fault.message and "classes.json" in fault.message
    (fault,) = objects.classes_without_pixel(("background", "crack"), {0}, Path("data"), masks=6)
    assert "255" not in fault.message
    assert objects.classes_without_pixel(("background",), {0}, Path("data"), masks=6) == []
    assert objects.classes_without_pixel(("background",), set(), Path("data"), masks=0) == []


def test_masks_of_0_and_255_are_warned_of_by_check_and_before_training(halves) -> None:
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            mask = np.zeros(read_size_hw(halves.mask(split, i)), np.uint8)
            mask[:, 30:] = 255
            halves.mask(split, i).write_bytes(encode(mask))
    (fault,) = objects.classes_without_pixel_in(read.read(halves.root, "train"))
    assert "'bright'" in fault.message
    assert [each.kind for each in audit(halves.root).faults] == ["class-without-object"]


def test_masks_with_all_classes_are_not_warned_of(halves) -> None:
    assert objects.classes_without_pixel_in(read.read(halves.root, "train")) == []
    assert audit(halves.root).faults == ()


@pytest.mark.parametrize("labels", [None, ""])
def test_yolo_labels_that_are_missing_or_empty_are_fatal_and_name_where_they_belong(
    tmp_path: Path, labels: str | None
) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    (tmp_path / "images" / "train" / "a.png").write_bytes(encode(noise))
    if labels is not None:
        (tmp_path / "labels" / "train" / "a.txt").write_text(labels)
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    found = audit(tmp_path)
    (fault,) = [fault for fault in found.faults if fault.severity == "fatal"]
    assert fault.kind == "no-object" and str(tmp_path / "labels" / "train") in fault.message


def test_a_voc_folder_or_train_list_without_any_object_is_fatal(folder) -> None:
    folder.annotate("a")
    faults = [fault for fault in folder.check().faults if fault.severity == "fatal"]
    assert [(fault.kind, fault.file.name) for fault in faults] == [("no-object", "train.txt")]
    folder.annotate("b")
    (fault,) = [fault for fault in folder.check().faults if fault.severity == "fatal"]
    assert fault.kind == "no-object" and str(folder.annotations) in fault.message
