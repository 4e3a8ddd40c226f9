from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from singleshot.data import read
from singleshot.data.boxes import yolo_names
from singleshot.data.check import audit
from singleshot.errors import ConfigError


def export(root: Path, images: dict[str, str], texts: dict[str, str]) -> Path:
    """Write 60×40 images with label files of one box each, and other text files."""
    for image, labels in images.items():
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (len(image), ord(Path(image).stem[-1]), 0)).save(root / image)
        texts = texts | {labels: "1 0.5 0.5 0.5 0.5\n"}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


CVAT = "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n"
NOTES = '{"categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}], "info": {"year": 2024}}'
EXPORTS: dict[str, tuple[dict[str, str], dict[str, str], list[str]]] = {
    "CVAT YOLO 1.1": (
        {"obj_train_data/a.jpg": "obj_train_data/a.txt", "obj_valid_data/b.jpg": "obj_valid_data/b.txt"},
        {
            "obj.data": CVAT,
            "obj.names": "cat\ndog\n",
            "train.txt": "data/obj_train_data/a.jpg\n",
            "valid.txt": "data/obj_valid_data/b.jpg\n",
        },
        ["train", "val"],
    ),
    "Label Studio": (
        {"images/a.jpg": "labels/a.txt", "images/b.jpg": "labels/b.txt"},
        {"classes.txt": "cat\ndog\n", "notes.json": NOTES},
        ["all"],
    ),
    "Label Studio without classes.txt": (
        {"images/a.jpg": "labels/a.txt", "images/b.jpg": "labels/b.txt"},
        {"notes.json": NOTES},
        ["all"],
    ),
    "labelImg YOLO, labels beside images": (
        {"a.jpg": "a.txt", "b.jpg": "b.txt"},
        {"classes.txt": "cat\ndog"},
        ["all"],
    ),
    "Roboflow YOLO Darknet": (
        {"train/a.jpg": "train/a.txt", "valid/b.jpg": "valid/b.txt"},
        {"train/_darknet.labels": "cat\ndog", "valid/_darknet.labels": "cat\ndog"},
        ["train", "val"],
    ),
    "split folders of images and labels": (
        {"images/train/a.jpg": "labels/train/a.txt", "images/val/b.jpg": "labels/val/b.txt"},
        {"classes.txt": "cat\ndog\n"},
        ["train", "val"],
    ),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_yolo_without_data_yaml_is_recognised_read_and_checked(name: str, tmp_path: Path) -> None:
    images, texts, splits = EXPORTS[name]
    root = export(tmp_path / "data", images, texts)
    before = sorted(root.rglob("*"))
    assert read.recognise(root) == "yolo"
    assert read.splits(root) == splits
    for split in splits:
        dataset = read.read(root, split)
        assert len(dataset) == 2 // len(splits)
        assert dataset.label_map.names == ("cat", "dog")
        for sample in dataset.samples:
            np.testing.assert_allclose(sample.boxes_xyxy, [[15, 10, 45, 30]])
            assert sample.class_ids.tolist() == [1]
        assert [fault for fault in dataset.faults if fault.severity == "fatal"] == []
    found = audit.audit(root)
    assert (found.images, found.objects) == (2, 2)
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"classes.txt": "cat\ncat\n"}, r"classes\.txt:2: class 'cat' is already in line 1"),
        ({"classes.txt": "cat\n\ndog\n"}, r"classes\.txt:3: a blank line before a class"),
        ({"classes.txt": "\n"}, r"classes\.txt:1: no class names"),
        ({"classes.txt": "cat\ndog\n", "train/classes.txt": "dog\ncat\n"}, "its classes are not those of classes.txt"),
        ({"obj.data": "classes 2\n"}, r"obj\.data:1: 'classes 2' is not key = value"),
        ({"obj.data": "train = train.txt\nnames = obj.names\n"}, r"obj\.data:2: obj\.names does not exist"),
    ],
)
def test_faulty_names_are_refused_with_their_line(texts: dict[str, str], message: str, tmp_path: Path) -> None:
    root = export(tmp_path, {"a.jpg": "a.txt"}, texts)
    with pytest.raises(ConfigError, match=message):
        read.read(root, "all")


def test_text_files_that_are_no_labels_make_no_yolo_data_set(tmp_path: Path) -> None:
    root = export(tmp_path, {"images/a.png": "masks/x.txt"}, {"images/a.txt": "notes on a\n", "classes.txt": "cat\n"})
    (root / "masks" / "x.txt").unlink()
    assert yolo_names.find(root) is None
    assert yolo_names.find(root / "none") is None


def test_darknets_files_may_have_other_names_and_other_data_files_are_none(tmp_path: Path) -> None:
    texts = {
        "data/a.data": "x = 1\n",
        "data/voc.data": "classes=2\ntrain=/home/me/darknet/data/train.txt\nnames=data/voc.names\n",
        "data/voc.names": "cat\ndog\n",
        "data/train.txt": "/home/me/darknet/data/obj/a.jpg\n",
    }
    root = export(tmp_path, {"data/obj/a.jpg": "data/obj/a.txt"}, texts)
    assert (read.recognise(root), read.splits(root)) == ("yolo", ["train"])
    dataset = read.read(root, "train")
    assert (dataset.label_map.names, len(dataset.samples[0].boxes_xyxy)) == (("cat", "dog"), 1)
    (root / "data" / "voc.data").unlink()
    assert yolo_names.find(root) is None
