from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from singleshot.data import convert, read
from singleshot.data.boxes import voc_unlisted
from singleshot.data.check import audit
from singleshot.errors import InputMissingError
from singleshot.structures import LabelMap


def put(image: Path, xml: Path | None, *objects: tuple[str, int, int, int, int], width: int = 60) -> None:
    """Write a 60×40 image and its XML."""
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), (ord(image.stem[0]), 0, 0)).save(image)
    if xml is None:
        return
    xml.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(
        f"<object><name>{name}</name>\n<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>\n"
        for name, x1, y1, x2, y2 in objects
    )
    size = f"<size><width>{width}</width><height>40</height></size>"
    xml.write_text(f"<annotation>\n<filename>C:\\x\\else.jpg</filename>{size}\n{text}</annotation>\n")


LAYOUTS = {
    "labelImg, one folder": ("{stem}.jpg", "{stem}.xml", False),
    "Roboflow VOC, a folder per split": ("{split}/{stem}.jpg", "{split}/{stem}.xml", True),
    "two folders": ("images/{stem}.jpg", "annotations/{stem}.xml", False),
    "two folders per split": ("{split}/images/{stem}.jpg", "{split}/labels/{stem}.xml", True),
    "splits in two folders": ("images/{split}/{stem}.jpg", "xmls/{split}/{stem}.xml", True),
    "VOC without ImageSets": ("JPEGImages/{stem}.jpg", "Annotations/{stem}.xml", False),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_xml_without_lists_is_recognised_read_checked_and_converted(name: str, tmp_path: Path) -> None:
    image, xml, has_splits = LAYOUTS[name]
    root = tmp_path / "data"
    for split, stem, label in (("train", "a", "cat"), ("valid", "b", "dog")):
        names = {"split": split, "stem": stem}
        put(root / image.format(**names), root / xml.format(**names), (label, 11, 6, 50, 40))
    before = sorted(root.rglob("*"))
    assert read.recognise(root) == "voc_xml"
    assert read.splits(root) == (["train", "val"] if has_splits else ["all"])
    for split in read.splits(root):
        dataset = read.read(root, split)
        assert dataset.label_map.names == ("cat", "dog")  # of all splits, so that class ids agree
        np.testing.assert_array_equal(dataset.samples[0].boxes_xyxy, [[10, 5, 50, 40]])
        assert dataset.faults == ()
    found = audit.audit(root)
    assert (found.images, found.objects, found.faults) == (2, 2, ())
    datasets = [read.read(root, split) for split in read.splits(root)]
    assert convert.convert(datasets, "coco", tmp_path / "out").images == 2
    assert sorted(root.rglob("*")) == before  # nothing is written into the data


def test_the_playing_cards_are_read_with_all_their_boxes(shared: Path) -> None:
    root = shared / "data" / "cards"
    counts = {
        split: (len(found), sum(len(sample.boxes_xyxy) for sample in found.samples))
        for split in read.splits(root)
        for found in [read.read(root, split)]
    }
    assert counts == {"train": (296, 527), "test": (67, 143)}


def test_faults_have_the_line_of_the_xml_and_unpaired_files_are_named(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", tmp_path / "a.xml", ("cat", 11, 6, 50, 40), ("cat", 30, 6, 20, 9), ("dgo", 1, 1, 9, 9))
    put(tmp_path / "b.jpg", None)
    (tmp_path / "c.xml").write_bytes((tmp_path / "a.xml").read_bytes())
    dataset = read.read(tmp_path, "all", label_map=LabelMap(("cat", "dog")))
    faults = {fault.kind: (fault.file.name, fault.line) for fault in dataset.faults}
    assert faults == {
        "inverted-box": ("a.xml", 6),
        "unknown-class": ("a.xml", 7),
        "missing-annotation": ("b.jpg", None),
        "annotation-without-picture": ("c.xml", None),
    }
    assert [len(sample.boxes_xyxy) for sample in dataset.samples] == [1]
    fixed = voc_unlisted.read(tmp_path, "all", fix_boxes=True, allow_unlabelled=True)
    assert [len(sample.boxes_xyxy) for sample in fixed.samples] == [3, 0]


def test_other_xml_and_an_empty_folder_are_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "notes.xml").write_text("<annotations><image/></annotations>")
    assert not voc_unlisted.fits(tmp_path)
    assert not voc_unlisted.fits(tmp_path / "none")
    put(tmp_path / "a.jpg", None)
    with pytest.raises(InputMissingError, match=r"no split 'train'\. There are: all"):
        voc_unlisted.read(tmp_path, "train")


def test_voc_with_an_empty_folder_of_lists_is_read_without_lists(tmp_path: Path) -> None:
    put(tmp_path / "JPEGImages" / "a.jpg", tmp_path / "Annotations" / "a.xml", ("cat", 1, 1, 9, 9))
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    assert (read.recognise(tmp_path), read.splits(tmp_path)) == ("voc_xml", ["all"])
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    assert (read.recognise(tmp_path), read.splits(tmp_path)) == ("voc", ["train"])
