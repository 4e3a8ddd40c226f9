from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from singleshot.data import read
from singleshot.data.boxes import imagefolder
from singleshot.errors import DataError
from singleshot.structures import LabelMap
from tests.data.exports import image, text


def put(root: Path, *rows: Any) -> Path:
    image(root / "a.jpg")
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    text(root / "metadata.jsonl", "\n".join(lines))
    return root


def row(box: Any = (10, 5, 40, 30), category: Any = "cat", name: Any = "a.jpg") -> dict[str, Any]:
    return {"file_name": name, "objects": {"bbox": [box], "categories": [category]}}


def test_boxes_are_those_of_coco_and_objects_may_be_a_list(tmp_path: Path) -> None:
    put(tmp_path, {"file_name": "a.jpg", "objects": [{"bbox": [10, 5, 40, 30], "label": "dog"}]})
    dataset = read.read(tmp_path, "all")
    assert (dataset.layout, dataset.label_map.names, dataset.faults) == ("imagefolder", ("dog",), ())
    assert dataset.samples[0].boxes_xyxy.tolist() == [[10, 5, 50, 35]]


@pytest.mark.parametrize("names", ["classes.txt", "README.md", ""])
def test_numbers_have_the_names_of_a_list_or_of_the_card_or_else_a_note(names: str, tmp_path: Path) -> None:
    put(tmp_path / "train", row(category=1))
    card = "---\ndataset_info:\n- features:\n  - objects:\n      class_label:\n        names:\n          '0': cat\n"
    contents = {"classes.txt": "cat\ndog\n", "README.md": f"{card}          '1': dog\n---\n"}
    if names:
        text(tmp_path / names, contents[names])
    dataset = read.read(tmp_path, "train")
    assert dataset.label_map.names == (("dog",) if names else ("1",))
    assert [fault.kind for fault in dataset.faults] == ([] if names else ["assumed-classes"])


def test_one_file_above_the_splits_folders_is_read_by_them(tmp_path: Path) -> None:
    for split in ("train", "test"):
        image(tmp_path / split / "a.jpg")
    rows = [row(name="test/a.jpg", category="dog"), row(name="train/a.jpg")]
    text(tmp_path / "metadata.jsonl", "\n".join(map(json.dumps, rows)))
    assert read.splits(tmp_path) == ["train", "test"]
    dataset = read.read(tmp_path, "test")
    assert dataset.label_map.names == ("cat", "dog") and dataset.samples[0].class_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ("{", "bad-line"),
        ("[]", "bad-line"),
        ('{"file_name": "a.jpg", "file_name": "b.jpg"}', "bad-line"),
        ({"objects": {}}, "bad-line"),
        ({"file_name": "b.jpg", "objects": {"bbox": [[1, 2, 3, 4]]}}, "bad-line"),
        ({"file_name": "b.jpg", "objects": {"bbox": [[1, 2, 3, 4]], "categories": []}}, "bad-line"),
        (row(name="b.jpg", box=[1, 2, 3]), "bad-box"),
        (row(name="b.jpg", box=[1, 2, 3, float("1e200")]), "bad-box"),
        (row(name="b.jpg", category=None), "bad-line"),
        (row(name="b.jpg", category="cow"), "unknown-class"),
        (row(name="b.jpg", box=[1, 2, 0, 4]), "zero-size-box"),
        (row(name="../c.jpg"), "missing-picture"),
        (row(), "duplicate-id"),
    ],
)
def test_a_fault_has_its_line_and_costs_that_object_alone(bad: Any, kind: str, tmp_path: Path) -> None:
    image(tmp_path / "b.jpg")
    put(tmp_path, row(), bad)
    dataset = imagefolder.read(tmp_path, "all", label_map=LabelMap(("cat",)))
    assert [(fault.kind, fault.file.name, fault.line) for fault in dataset.faults] == [(kind, "metadata.jsonl", 2)]
    assert dataset.samples[0].boxes_xyxy.tolist() == [[10, 5, 50, 35]]


def test_metadata_without_objects_is_another_tasks(tmp_path: Path) -> None:
    assert not imagefolder.fits(put(tmp_path, {"file_name": "a.jpg", "text": "a cat"}))
    (tmp_path / "metadata.jsonl").write_bytes(b'{"file_name": "\xff"}')
    with pytest.raises(DataError, match="not UTF-8"):
        imagefolder.read(tmp_path / "metadata.jsonl", "all")


def test_a_bad_field_of_csv_has_its_line(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    text(
        tmp_path / "metadata.csv",
        'file_name,objects\na.jpg,"{""bbox"": [[1,2,3,4]], ""categories"": [""x""]}"\nb.jpg,{\n',
    )
    dataset = read.read(tmp_path, "all")
    assert [(fault.kind, fault.line) for fault in dataset.faults] == [("bad-line", 3)]
    text(tmp_path / "metadata.csv", 'file_name,objects\na.jpg,"')
    with pytest.raises(DataError, match="not CSV"):
        read.read(tmp_path, "all")


def test_names_above_a_folder_that_is_no_splits_are_another_data_sets(tmp_path: Path) -> None:
    put(tmp_path / "pets", row(category=1))
    text(tmp_path / "classes.txt", "car\nlorry\n")
    dataset = read.read(tmp_path / "pets", "all")
    assert dataset.label_map.names == ("1",)
    assert [fault.kind for fault in dataset.faults] == ["assumed-classes"]
