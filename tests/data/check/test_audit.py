from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data.check import audit
from singleshot.data.check.audit import Audit, in_order
from singleshot.data.split_file import SplitFile
from singleshot.errors import Fault, InputMissingError, UsageError
from singleshot.images import UNREAD_SUFFIXES
from singleshot.streets import write
from tests.data.conftest import VocFolder
from tests.data.exports import EXPORTS, MASK_EXPORTS
from tests.data.series import series


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("audit") / "streets"
    return write.make(made, train=4, val=2, test=2, size_hw=(150, 200), seed=1, workers=1)


def _rewrite(path: Path, *edits: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in edits:
        text = re.sub(old, new, text)
    path.write_text(text, encoding="utf-8")


def test_drawn_streets_are_clean(drawn: Path) -> None:
    found = audit.audit(drawn)
    assert (found.format, found.images) == ("voc", 8) and found.objects > 8
    assert [str(fault) for fault in found.faults if fault.severity != "note"] == []


def test_clean_but_unusual_data_raises_no_warning(tmp_path: Path) -> None:
    """Grey pictures, fractional corners, nested parts, no pose tag, background pictures."""
    root = write.make(tmp_path / "streets", train=4, val=2, test=2, size_hw=(150, 200), seed=1, workers=1)
    files = sorted((root / "Annotations").iterdir())
    pictures = {path.stem: path for path in (root / "JPEGImages").iterdir()}
    grey = cv2.cvtColor(np.asarray(cv2.imread(str(pictures[files[0].stem]))), cv2.COLOR_BGR2GRAY)
    cv2.imwrite(str(pictures[files[0].stem]), grey)
    _rewrite(files[1], (r"<xmin>(\d+)</xmin>", r"<xmin>\1.25</xmin>"), (r"<ymin>(\d+)</ymin>", r"<ymin>\1.5</ymin>"))
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>1</xmax><ymax>0</ymax></bndbox></part>"
    _rewrite(files[2], ("</bndbox>\n", f"</bndbox>{part}\n"), (r"<pose>\w*</pose>", ""))
    _rewrite(files[3], (r"(?s)<object>.*</object>", ""))
    _rewrite(files[4], (r"<depth>\d+</depth>|<segmented>\d</segmented>|<filename>.*?</filename>", ""))
    assert [str(fault) for fault in audit.audit(root).faults if fault.severity != "note"] == []


def test_bccds_faults_are_its_two_points_and_its_eight_doubles(shared: Path) -> None:
    """SOURCE.md names them: 4888 boxes, two of no size, eight near-duplicates of IoU 0.83 to 0.93."""
    found = audit.audit(shared / "data" / "bccd", processes=2)
    assert (found.images, found.objects, found.classes) == (364, 4888, ("Platelets", "RBC", "WBC"))
    fatal = [(fault.kind, fault.file.name, fault.line) for fault in found.faults if fault.severity == "fatal"]
    assert fatal == [("zero-size-box", "BloodImage_00338.xml", 163), ("zero-size-box", "BloodImage_00343.xml", 55)]
    near = [fault for fault in found.faults if fault.kind == "near-duplicate-box"]
    numbers = ["00013", "00020", "00100", "00104", "00251", "00284", "00331", "00403"]
    assert [fault.file.stem[-5:] for fault in near] == numbers
    overlaps = [float(match[1]) for fault in near if (match := re.search(r"IoU ([\d.]+)", fault.message))]
    assert (min(overlaps), max(overlaps)) == (0.83, 0.93) and len(overlaps) == 8
    assert all(fault.line is not None for fault in near) and len(found.faults) == 11
    copies = [fault for fault in found.faults if fault.kind == "near-duplicate-across-splits"]
    assert [fault.file.name for fault in copies] == ["BloodImage_00037.jpg"] and "00038.jpg of train" in str(copies)


def test_one_split_is_one_list_of_it(shared: Path) -> None:
    found = audit.audit(shared / "data" / "bccd", split="test")
    assert (found.images, found.objects) == (72, 945)
    assert [(fault.kind, fault.file.stem) for fault in found.faults] == [("near-duplicate-box", "BloodImage_00284")]


def test_masks_are_audited_too(shared: Path) -> None:
    found = audit.audit(shared / "data" / "kitti_road_sample")
    assert (found.format, found.images, found.classes, found.faults) == ("kitti_road", 1, ("background", "road"), ())


def test_a_mask_with_an_unknown_value_is_named(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, value in (("a", 1), ("b", 7), ("c", 255)):
        picture = np.random.default_rng(value).integers(0, 255, (8, 9, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), picture)
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), np.full((8, 9), value, np.uint8))
    (tmp_path / "classes.txt").write_text("road\ncar\n", encoding="utf-8")
    found = audit.audit(tmp_path)
    assert [(fault.kind, fault.severity, str(fault.file)) for fault in found.faults] == [
        ("unknown-mask-value", "fatal", str(tmp_path / "masks" / "b.png")),
        ("all-void-mask", "note", str(tmp_path / "masks" / "c.png")),
    ]


def _coco(root: Path, boxes: list[list[float]]) -> None:
    """One split of one 60×40 picture with those boxes."""
    (root / "train").mkdir(parents=True)
    (root / "annotations").mkdir()
    cv2.imwrite(str(root / "train" / "a.png"), np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    rows = [
        {"id": number, "image_id": 1, "category_id": 3, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for number, box in enumerate(boxes, start=1)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
        "annotations": rows,
        "categories": [{"id": 3, "name": "cat"}],
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content), encoding="utf-8")


def test_coco_is_audited_by_its_own_rules_and_the_common_ones(tmp_path: Path) -> None:
    _coco(tmp_path, [[1, 1, 20, 20], [1, 1, 20, 19], [5, 5, 0, 3]])
    found = audit.audit(tmp_path)
    assert (found.format, found.images, found.objects, found.classes) == ("coco", 1, 3, ("cat",))
    assert sorted(fault.kind for fault in found.faults) == ["near-duplicate-box", "zero-size-box"]
    (zero,) = [fault for fault in found.faults if fault.severity == "fatal"]
    assert "annotations[2].bbox" in zero.message


def test_a_repeated_or_tiny_box_has_its_json_path_in_coco(tmp_path: Path) -> None:
    _coco(tmp_path, [[0, 0, 0, 3], [1, 1, 20, 20], [1, 1, 20, 19], [30, 5, 10, 0.1], [1, 1, 20, 20]])
    faults = [fault for fault in audit.audit(tmp_path).faults if fault.severity != "fatal"]
    assert {(fault.kind, str(fault.file)) for fault in faults} == {
        (kind, str(tmp_path / "annotations" / "instances_train.json"))
        for kind in ("duplicate-box", "near-duplicate-box", "tiny-box")
    }
    said = [fault.message for fault in faults]
    assert any(each.startswith("annotations[4].bbox: box (") and "same as annotations[1].bbox" in each for each in said)
    assert any(
        each.startswith("annotations[2].bbox: ") and "nearly repeats annotations[1].bbox" in each for each in said
    )
    assert any(each.startswith("annotations[3].bbox: ") and "thinner than one pixel" in each for each in said)


def test_a_repeated_or_tiny_box_has_its_line_in_yolo(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder / "train").mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat]\n", encoding="utf-8")
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "images" / "train" / "a.png"), picture)
    labels = tmp_path / "labels" / "train" / "a.txt"
    lines = ["0 0.3 0.3 0.4 0.4", "", "0 0.5 0.5 0.2", "0 0.3 0.3 0.4 0.4", "0 0.3 0.3 0.4 0.39", "0 0.8 0.8 0.1 0.001"]
    labels.write_text("\n".join(lines), encoding="utf-8")
    faults = [fault for fault in audit.audit(tmp_path).faults if fault.severity != "fatal"]
    assert all(fault.file == labels for fault in faults)
    assert sorted({(fault.kind, fault.line) for fault in faults}, key=str) == [
        ("duplicate-box", 4),
        ("near-duplicate-box", 5),
        ("tiny-box", 6),
    ]
    assert any("same as that of line 1" in fault.message for fault in faults)


def test_a_split_that_cannot_be_read_at_all_is_a_fault(tmp_path: Path) -> None:
    _coco(tmp_path, [[1, 1, 20, 20]])
    (tmp_path / "annotations" / "instances_val.json").write_text('{"images": [', encoding="utf-8")
    found = audit.audit(tmp_path)
    assert [(fault.kind, fault.severity, fault.line) for fault in found.faults] == [("bad-json", "fatal", 1)]
    (tmp_path / "annotations" / "instances_train.json").unlink()
    found = audit.audit(tmp_path)
    assert (found.format, found.images, found.is_fatal) == ("coco", 0, True)


def test_several_years_are_processed_together(folder, tmp_path: Path) -> None:
    drawn = write.make(tmp_path / "VOC2012", train=2, val=1, test=1, size_hw=(150, 200), seed=2, workers=1)
    both = audit.audit(tmp_path)
    alone = audit.audit(drawn)
    assert both.images == alone.images + 3 and both.objects == alone.objects + 2
    assert set(both.classes) == {"cat", "dog", *alone.classes}
    assert audit.audit(tmp_path, split="2007_train+2012_val").images == 3


def test_an_unknown_layout_is_a_usage_error(folder) -> None:
    with pytest.raises(UsageError):
        folder.check(data_format="klingon")
    with pytest.raises(InputMissingError):
        folder.check(split="nowhere")


def _yolo(root: Path, *splits: str) -> Path:
    """Splits of one picture with a cat, of two that data.yaml names."""
    root.mkdir()
    for split in splits:
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        pixels = np.random.default_rng(len(split)).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "images" / split / f"{split}.png"), pixels)
        (root / "labels" / split / f"{split}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [cat, dog]\ntrain: images/train\nval: images/val\n")
    return root


def test_a_split_that_is_missing_is_a_fault_beside_the_others(tmp_path: Path) -> None:
    found = audit.audit(_yolo(tmp_path / "one", "train"))
    assert found.images == 1
    assert [(fault.kind, fault.severity, fault.file.name, fault.line) for fault in found.faults] == [
        ("missing-split", "fatal", "data.yaml", 3)
    ]
    with pytest.raises(InputMissingError, match="images/val"):
        audit.audit(tmp_path / "one", split="val")
    with pytest.raises(InputMissingError, match="images/train"):
        audit.audit(_yolo(tmp_path / "none"))


def test_classes_are_those_that_are_named_in_every_layout_of_boxes(tmp_path: Path) -> None:
    _yolo(tmp_path / "yolo", "train", "val")
    _coco(tmp_path / "coco", [[1, 1, 20, 20]])
    for root in (tmp_path / "yolo", tmp_path / "coco"):
        assert audit.audit(root, classes=("dog", "cat")).faults == ()
        assert {fault.kind for fault in audit.audit(root, classes=("dog",)).faults} == {"unknown-class"}


def test_classes_are_checked_under_their_new_names_in_every_layout_of_boxes(tmp_path: Path, folder: VocFolder) -> None:
    _yolo(tmp_path / "yolo", "train", "val")
    _coco(tmp_path / "coco", [[1, 1, 20, 20]])
    for root in (tmp_path / "yolo", tmp_path / "coco", folder.root):
        plain = audit.audit(root)
        found = audit.audit(root, rename={"cat": "puss"})
        assert (found.classes[0] != "cat", "puss" in found.classes, found.objects) == (True, True, plain.objects)
        assert not found.is_fatal
        assert not audit.audit(root, rename={"cat": "puss"}, classes=("puss", "dog")).is_fatal
        reports = [audit.audit(root, rename=names, classes=("dog",)) for names in ({"cat": "puss"}, {})]
        renamed, alone = ([(fault.kind, fault.line) for fault in each.faults] for each in reports)
        assert renamed == alone != []
        with pytest.raises(UsageError, match="--rename: no class 'cta'"):
            audit.audit(root, rename={"cta": "puss"})


def test_masks_are_checked_under_their_new_names(tmp_path: Path) -> None:
    MASK_EXPORTS["CVAT Segmentation mask 1.1"][1](tmp_path)
    plain = audit.audit(tmp_path, data_format="masks")
    merged = audit.audit(tmp_path, data_format="masks", rename={"cat": "pet", "dog": "pet"})
    assert plain.classes == ("background", "cat", "dog") and merged.classes == ("background", "pet")
    assert merged.images == plain.images and not merged.is_fatal


def test_classes_of_masks_are_not_to_be_named(shared: Path) -> None:
    with pytest.raises(UsageError, match="KITTI road are given"):
        audit.audit(shared / "data" / "kitti_road_sample", classes=("road",))


def _fault(file: str, line: int | None, kind: str = "k", severity: str = "fatal") -> Fault:
    return Fault(Path(file), line, kind, severity, "m.")


def test_the_json_has_exactly_its_fields() -> None:
    report = Audit("voc", 2, 3, ("cat",), (_fault("a.xml", 7), _fault("a.jpg", None)))
    assert json.loads(json.dumps(report.as_json())) == {
        "format": "voc",
        "images": 2,
        "objects": 3,
        "classes": ["cat"],
        "faults": [
            {"file": "a.xml", "line": 7, "kind": "k", "severity": "fatal", "message": "m."},
            {"file": "a.jpg", "line": None, "kind": "k", "severity": "fatal", "message": "m."},
        ],
    }


def test_counts_put_the_fatal_first_then_the_frequent() -> None:
    faults = [_fault("a", 1, "n", "note")] * 3 + [_fault("a", 1, "w", "warning")] + [_fault("a", 1, "f")]
    report = Audit("voc", 0, 0, (), (*faults, _fault("a", 2, "g"), _fault("a", 3, "g")))
    assert report.counts() == [("g", "fatal", 2), ("f", "fatal", 1), ("w", "warning", 1), ("n", "note", 3)]
    assert report.is_fatal and not Audit("voc", 0, 0, (), tuple(faults[:4])).is_fatal
    assert Audit("voc", 0, 0, (), ()).counts() == []


def test_faults_come_by_file_and_line_and_each_once() -> None:
    rows = [_fault("b", 1), _fault("a", 10), _fault("a", 9), _fault("a", None), _fault("a", 9)]
    assert [(str(fault.file), fault.line) for fault in in_order(rows)] == [("a", None), ("a", 9), ("a", 10), ("b", 1)]
    assert in_order([]) == ()


def test_of_closed_files_the_first_speaks_for_all() -> None:
    found = in_order([_fault(name, None, "not-permitted") for name in "cab"] + [_fault("a", 1)])
    assert [(str(fault.file), fault.message) for fault in found] == [("a", "m. Nor may 2 others."), ("a", "m.")]


def test_given_splits_are_checked_in_place_of_the_folders_own(tmp_path: Path) -> None:
    series(tmp_path, {f"x{scene}y": scene for scene in range(6)} | {"copy": 3})
    torn = SplitFile({"train": tuple(f"x{scene}y.png" for scene in range(6)), "val": ("copy.png",)})
    found = audit.audit(tmp_path, splits=torn)
    assert (found.images, found.objects) == (7, 7)
    assert [fault.kind for fault in found.faults] == ["near-duplicate-across-splits"]
    assert audit.audit(tmp_path, splits=torn, split="val").images == 1


@pytest.mark.parametrize("tool", EXPORTS)
def test_a_name_to_rename_that_there_is_not_is_an_error_in_every_layout_with_and_without_classes(
    tool: str, tmp_path: Path
) -> None:
    EXPORTS[tool][1](tmp_path)
    for classes in (None, ("dog",), ("dog", "cat"), ("bird",)):
        for rename in ({"dgo": "dog"}, {"dgo": "bird"}, {"cat": "dog", "dgo": "dog"}):
            with pytest.raises(UsageError, match="--rename: no class 'dgo'"):
                audit.audit(tmp_path, classes=classes, rename=rename)
    pets = audit.audit(tmp_path, classes=("pet",), rename={"cat": "pet", "dog": "pet"})
    assert (pets.classes, pets.objects, pets.is_fatal) == (("pet",), 3, False)


def test_a_class_without_objects_may_be_renamed_though_classes_are_given(tmp_path: Path) -> None:
    root = _yolo(tmp_path / "yolo", "train", "val")
    assert not audit.audit(root, classes=("dog", "puss", "cat"), rename={"cat": "puss"}).is_fatal


UNLISTED = [tool for tool, (layout, _) in EXPORTS.items() if layout != "coco" and tool != "CVAT YOLO 1.1"]
"""Tools whose images are those of a folder. A list of images would name another one, which is a fault of its own."""


@pytest.mark.parametrize("tool", UNLISTED)
def test_an_image_that_cannot_be_read_here_is_named_with_the_remedy(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As HEIC without its extra."""
    monkeypatch.setitem(UNREAD_SUFFIXES, ".xyz", "Run pip install xyz")
    EXPORTS[tool][1](tmp_path)
    image = next(path for path in tmp_path.rglob("*") if path.suffix in (".jpg", ".png"))
    (image.parent / "other.xyz").write_bytes(b"x")
    found = [fault for fault in audit.audit(tmp_path).faults if fault.file.name == "other.xyz"]
    assert [(fault.kind, fault.severity) for fault in found] == [("stranger-file", "warning")]
    assert found[0].message == "an image that cannot be read here. Run pip install xyz."
