from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from singleshot.cli.main import app
from singleshot.data import cache, divide, read
from singleshot.data.boxes import voc
from singleshot.data.check import audit
from singleshot.data.class_choice import ClassChoice
from singleshot.data.masks import kitti_road
from singleshot.errors import ConfigError, Fault, InputMissingError, NotPermittedError, UsageError
from singleshot.structures import Dataset, LabelMap, Sample
from tests.data.conftest import close
from tests.data.exports import EXPORTS, MASK_EXPORTS
from tests.data.layouts import LAYOUTS, Content


def picture(path: Path, size: tuple[int, int] = (60, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def make_voc(root: Path) -> Path:
    picture(root / "JPEGImages" / "a.jpg")
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    size = "<size><width>60</width><height>40</height></size>"
    text = f"<annotation>{size}<object><name>car</name>{box}</object></annotation>"
    (root / "Annotations" / "a.xml").write_text(text)
    for name in ("train", "car_train"):
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("a\n")
    return root


def make_coco(root: Path) -> Path:
    picture(root / "train2017" / "a.jpg")
    (root / "annotations").mkdir()
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}],
        "categories": [{"id": 5, "name": "car"}],
    }
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    return root


def make_yolo(root: Path) -> Path:
    picture(root / "images" / "train" / "a.jpg")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "a.txt").write_text("0 0.075 0.1125 0.15 0.225\n")
    (root / "data.yaml").write_text("train: images/train\nnames: [car]\n")
    return root


MAKERS = {"voc": make_voc, "coco": make_coco, "yolo": make_yolo}
SPLITS = {"voc": "train", "coco": "train2017", "yolo": "train"}


@pytest.mark.parametrize("layout", MAKERS)
def test_a_layout_is_recognised_and_read_the_same_from_reader_and_cache(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SETTLED_NS", -(10**9))
    root = MAKERS[layout](tmp_path / "data")
    assert read.recognise(root) == layout
    assert read.splits(root) == [SPLITS[layout]]
    for _ in range(2):
        dataset = read.read(root, SPLITS[layout])
        assert (dataset.layout, dataset.label_map.names, dataset.faults) == (layout, ("car",), ())
        np.testing.assert_allclose(dataset.samples[0].boxes_xyxy, [[0, 0, 9, 9]], atol=1e-9)
        assert dataset.samples[0].image_path.is_file()


@pytest.mark.parametrize("layout", MAKERS)
def test_a13_every_layouts_sources_are_watched(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SETTLED_NS", -(10**9))
    root = MAKERS[layout](tmp_path / "data")
    read.read(root, SPLITS[layout])
    changes = {
        "voc": ("Annotations/a.xml", "<xmax>9<", "<xmax>8<"),
        "coco": ("annotations/instances_train2017.json", "[0, 0, 9, 9]", "[0, 0, 8, 9]"),
        "yolo": ("labels/train/a.txt", "0.075 0.1125 0.15", "0.075 0.1125 0.14"),
    }
    name, old, new = changes[layout]
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))
    assert read.read(root, SPLITS[layout]).samples[0].boxes_xyxy[0, 2] < 9


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "kitti_road"])  # it has four splits
def test_all_stands_for_every_image_of_a_folder_with_one_split_too(layout: str, tmp_path: Path) -> None:
    chosen = LAYOUTS[layout]
    images = chosen.make(tmp_path, Content())
    pool = read.read(tmp_path, "all", layout=chosen.data_format, cache=False)
    assert sorted(sample.image_path for sample in pool.samples) == images


def test_a13_a_yolo_list_watches_the_labels_of_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SETTLED_NS", -(10**9))
    root = make_yolo(tmp_path / "data")
    (root / "train.txt").write_text("./images/train/a.jpg\n")
    (root / "data.yaml").write_text("train: train.txt\nnames: [car]\n")
    assert read.read(root, "train").samples[0].boxes_xyxy[0, 2] == pytest.approx(9)
    (root / "labels/train/a.txt").write_text("0 0.5 0.5 1 1\n")
    assert read.read(root, "train").samples[0].boxes_xyxy.tolist() == [[0, 0, 60, 40]]
    (root / "labels/train/a.txt").rename(root / "images/train/a.txt")
    (root / "images/train/a.txt").write_text("0 0.5 0.5 0.5 1\n")
    assert read.read(root, "train").samples[0].boxes_xyxy.tolist() == [[15, 0, 45, 40]]
    picture(root / "images/train/a.jpg", (30, 40))
    assert read.read(root, "train").samples[0].size_hw == (40, 30)


@pytest.mark.parametrize("beside", ["", "annotations"])
def test_a13_coco_images_in_the_root_or_beside_the_json_are_watched(
    beside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SETTLED_NS", -(10**9))
    root = make_coco(tmp_path / "data")
    (root / "train2017/a.jpg").rename(root / beside / "a.jpg")
    assert len(read.read(root, "train2017")) == 1
    (root / beside / "a.jpg").unlink()
    assert [fault.kind for fault in read.read(root, "train2017").faults] == ["missing-picture"]


def test_a_name_overrides_what_a_folder_looks_like(tmp_path: Path) -> None:
    root = make_yolo(make_voc(tmp_path / "data"))
    assert read.recognise(root) == "voc"
    assert read.read(root, "train", layout="yolo").layout == "yolo"


@pytest.mark.parametrize("strange", [os.mkfifo, os.mkdir, Path.touch])
def test_a_lone_yaml_that_is_no_file_is_no_description_and_hangs_nothing(strange: Any, tmp_path: Path) -> None:
    strange(tmp_path / "notes.yaml")
    with pytest.raises(InputMissingError, match="no layout that is known"):
        read.recognise(tmp_path)


def test_j3_a_data_yaml_with_a_slip_is_named_and_not_overlooked(tmp_path: Path) -> None:
    root = make_yolo(tmp_path / "data")
    (root / "data.yaml").write_text("train: images/train\nnmaes: [car]\n")
    with pytest.raises(ConfigError, match=r"data\.yaml:2: unknown key 'nmaes'\. Did you mean names\?"):
        read.read(root, "train")


def test_a_layout_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(UsageError, match="--data-format takes voc, coco, yolo, kitti_road"):
        read.check_name("pascal")
    assert (read.check_name(None), read.check_name("KITTI-road")) == (None, "kitti_road")


def test_a1_a_folder_in_no_layout_names_one_nearby(tmp_path: Path) -> None:
    make_coco(tmp_path / "mine")
    (tmp_path / "other").mkdir()
    with pytest.raises(InputMissingError, match=r"no layout that is known.*mine looks like COCO") as caught:
        read.recognise(tmp_path / "other")
    assert caught.value.exit_code == 66
    with pytest.raises(InputMissingError, match=r"no layout that is known.*mine looks like COCO"):
        read.recognise(tmp_path)
    with pytest.raises(InputMissingError, match=r"no such folder.*mine looks like COCO"):
        read.recognise(tmp_path / "nowhere")
    with pytest.raises(InputMissingError, match=r"data looks like YOLO"):
        read.recognise(make_yolo(tmp_path / "data") / "labels")


@pytest.mark.parametrize("layout", MAKERS)
def test_a_folder_that_may_not_be_looked_into_hides_none_of_the_others(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = MAKERS[layout](tmp_path / "mine")
    for closed in (root / "lost+found", tmp_path / "lost+found"):
        closed.mkdir()
        close(closed, monkeypatch)
    (tmp_path / "other").mkdir()
    assert read.recognise(root) == layout and read.splits(root) == [SPLITS[layout]]
    with pytest.raises(InputMissingError, match=r"no layout that is known.* looks like"):
        read.recognise(tmp_path / "other")


def test_a_data_folder_that_may_not_be_looked_into_is_a_matter_of_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close(make_coco(tmp_path / "mine"), monkeypatch)
    with pytest.raises(NotPermittedError, match="mine: no permission to read"):
        read.recognise(tmp_path / "mine")


@pytest.mark.parametrize("layout", get_args(read.Layout))
def test_the_splits_of_a_folder_that_is_not_of_the_named_layout_are_none_or_a_missing_input(
    layout: str, tmp_path: Path
) -> None:
    with contextlib.suppress(InputMissingError):
        assert read.splits(tmp_path, layout=layout) == ([] if layout != "kitti_road" else list(kitti_road.SPLITS))
    with pytest.raises(InputMissingError):
        audit.audit(tmp_path, data_format=layout)


def test_masks_are_recognised_and_a_voc_folder_is_taken_for_boxes(shared: Path) -> None:
    data = shared / "data"
    found = {name: read.recognise(data / name) for name in ("bccd", "camvid", "kitti_road_sample")}
    assert found == {"bccd": "voc", "camvid": "masks", "kitti_road_sample": "kitti_road"}
    assert read.read(data / "camvid", "val").samples[0].mask_path is not None


def test_the_splits_of_a_devkit_bear_their_year(tmp_path: Path) -> None:
    make_voc(tmp_path / "VOCdevkit" / "VOC2007")
    make_voc(tmp_path / "VOCdevkit" / "VOC2012")
    assert read.splits(tmp_path / "VOCdevkit") == ["2007_train", "2012_train"]
    union = read.read(tmp_path / "VOCdevkit", "2007_train+2012_train")
    assert len(union) == 2


def test_options_of_voc_reach_its_reader(tmp_path: Path) -> None:
    root = make_voc(tmp_path / "data")
    (root / "Annotations" / "a.xml").unlink()
    options = {"label_map": LabelMap(("car",))}
    assert len(read.read(root, "train", **options)) == 0
    assert len(read.read(root, "train", allow_unlabelled=True, **options)) == 1


def test_what_a_folder_was_taken_for_is_reported_with_counts(tmp_path: Path) -> None:
    lines = read.describe(read.read(make_voc(tmp_path / "data"), "train")).split("\n")
    assert lines == [
        f"{tmp_path / 'data'}: taken for Pascal VOC, split train: 1 images, 1 classes, 1 objects",
        "  car 1",
    ]
    none = np.zeros(0)
    empty = Sample("a", Path("a"), None, none.reshape(0, 4), none.astype(np.int64), none.astype(np.bool_))
    nothing = Dataset(Path("d"), "yolo", "val", LabelMap(("car", "bus")), [empty])
    assert read.describe(nothing).endswith("0 objects, 1 images without objects\n  car 0 · bus 0")


def test_the_description_counts_warnings_by_kind_and_says_which_cost_something() -> None:
    kinds = ["clipped-box", "missing-annotation", "outside-box", "missing-annotation"]
    faults = [Fault(Path("a.xml"), line, kind, "warning", "odd.") for line, kind in enumerate(kinds)]
    dataset = Dataset(Path("d"), "voc", "val", LabelMap(("car",)), (), (*faults, replace(faults[0], severity="note")))
    wanted = "warnings: 2 missing-annotation (left out), 1 clipped-box, 1 outside-box (left out)"
    assert read.describe(dataset).split("\n")[-1].strip() == wanted


def test_bccd_is_reported_as_it_is(shared: Path) -> None:
    text = read.describe(voc.read(shared / "data" / "bccd", "test"))
    assert text.endswith("72 images, 3 classes, 945 objects\n  Platelets 69 · RBC 805 · WBC 71")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "it is empty"),
        (["notes.md"], "there is no image below it"),
        (["Annotations/a.xml"], r"there is no image below it\. Put the images into it"),
        (["a.jpg", "b.jpg"], r"2 images and no annotations\. Annotate them"),
        (["train.tfrecord"], r"there is no image below it\. TFRecord is not read"),
        (["a.zip", "README.md"], r"there is no image below it\. Unpack it"),
        (["a.jpg", "labels.csv"], r"1 images, 1 \.csv\. Begin it with the header filename,"),
        (["a.jpg", "export.json"], r"1 images, 1 \.json\. Export LabelMe, COCO or YOLO, or the JSON of"),
        (["train/a.jpg", "train/metadata.jsonl"], r"1 images, 1 \.jsonl\. Call it metadata\.jsonl and give"),
        (["a.jpg", "README.txt"], r"a data set in no layout that is known: 1 images\. Known are"),
        (["a.jpg", "a.txt"], r"1 images, 1 \.txt of the same names\. If these are YOLO labels, add classes\.txt"),
        (["x/a.jpg", "y/a.xml"], r"1 images, 1 \.xml of the same names\. Export Pascal VOC"),
        (["a.jpg", "a.json"], r"1 images, 1 \.json of the same names\. Export LabelMe, COCO or YOLO"),
    ],
)
def test_the_message_for_an_unknown_layout_says_what_the_folder_has_and_what_to_do(
    files: list[str], message: str, tmp_path: Path
) -> None:
    for name in files:
        if name.endswith(".jpg"):
            picture(tmp_path / "data" / name)
        else:
            (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / name).write_text("<other/>")
    (tmp_path / "data").mkdir(exist_ok=True)
    with pytest.raises(InputMissingError, match=message):
        read.recognise(tmp_path / "data")


@pytest.mark.parametrize(
    ("first", "second", "taken", "other"),
    [
        ("Pascal VOC", "COCO", "Pascal VOC", "COCO json: --data-format coco"),
        ("COCO", "Roboflow YOLOv8", "COCO json", "YOLO txt: --data-format yolo"),
        ("Roboflow YOLOv8", "Roboflow VOC", "YOLO txt", "Pascal VOC without lists: --data-format voc_xml"),
        ("VIA", "labelme", "LabelMe json", "VIA: --data-format via"),
        (
            "Label Studio JSON",
            "CVAT for images 1.1",
            "CVAT for images",
            "Label Studio json: --data-format label_studio",
        ),
    ],
)
def test_a_folder_that_fits_two_layouts_says_which_was_taken_and_how_to_choose_the_other(
    first: str, second: str, taken: str, other: str, tmp_path: Path
) -> None:
    for tool in (first, second):
        EXPORTS[tool][1](tmp_path)
    split = read.splits(tmp_path)[0]
    title, option = other.split(": ")
    said = f"taken for {taken} (it fits {title} too: {option})"
    assert f"{said}, split {split}" in read.describe(read.read(tmp_path, split))
    chosen = other.rpartition(" ")[2]
    assert read.read(tmp_path, read.splits(tmp_path, layout=chosen)[0], layout=chosen).layout == chosen
    for command in (("check", "--workers", "0"), ("stats",)):
        result = CliRunner().invoke(app, ["data", command[0], str(tmp_path), *command[1:]])
        assert said in " ".join(result.stderr.split()), result.output


def test_voc_with_lists_and_masks_names_no_other_layout(tmp_path: Path) -> None:
    make_voc(tmp_path)
    picture(tmp_path / "SegmentationClass" / "a.png")
    (tmp_path / "ImageSets" / "Segmentation").mkdir()
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    assert read.recognise(tmp_path, with_masks=True) == "masks"
    assert read.others(tmp_path, "voc") == [] and read.others(tmp_path, "masks", masks=True) == []


def test_voc_whose_lists_of_boxes_are_gone_has_boxes_unless_masks_are_wanted(tmp_path: Path) -> None:
    make_voc(tmp_path)
    objects = sum(len(read.read(tmp_path, name).samples[0].class_ids) for name in read.splits(tmp_path)[:1])
    for file in (tmp_path / "ImageSets" / "Main").iterdir():
        file.unlink()
    picture(tmp_path / "SegmentationClass" / "a.png")
    (tmp_path / "ImageSets" / "Segmentation").mkdir()
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    assert read.recognise(tmp_path) == "voc_xml" and read.recognise(tmp_path, with_masks=True) == "masks"
    whole = read.read(tmp_path, "all")
    assert len(whole.samples[0].class_ids) == objects > 0 and whole.samples[0].mask_path is None
    assert {sample.image_path.parent.name for sample in whole.samples} == {"JPEGImages"}, "masks are no images"


@pytest.mark.parametrize("suffix", [".xml", ".json", ".txt"])
def test_annotations_without_any_image_are_no_data_set(suffix: str, tmp_path: Path) -> None:
    tool = {".xml": "labelImg", ".json": "labelme", ".txt": "KITTI"}[suffix]
    EXPORTS[tool][1](tmp_path)
    for path in [*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.png")]:
        path.unlink()
    with pytest.raises(InputMissingError, match="there is no image below it"):
        read.recognise(tmp_path)


def test_masks_of_all_splits_keep_the_classes_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    MASK_EXPORTS["mmsegmentation"][1](tmp_path)
    for kind, suffix in (("img_dir", ".jpg"), ("ann_dir", ".png")):
        (tmp_path / kind / "val").mkdir()
        (tmp_path / kind / "train" / f"c{suffix}").rename(tmp_path / kind / "val" / f"c{suffix}")
    (tmp_path / "classes.txt").write_text("zebra\ncat\nant\n")
    one = read.read(tmp_path, "train", with_masks=True)
    for every in (read.read_pool(tmp_path, with_masks=True), read.read(tmp_path, "all", with_masks=True)):
        assert (len(every), every.label_map.names) == (3, ("zebra", "cat", "ant"))
        assert (every.mask_code, every.label_map) == (one.mask_code, one.label_map)


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """COCO with two dogs and a cat to train on, and a file of cats alone to validate on, with other ids."""
    EXPORTS["COCO"][1](tmp_path)
    file = tmp_path / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    images, boxes = content["images"], content["annotations"]
    file.write_text(json.dumps(content | {"images": images[:2]}))
    (tmp_path / "val2017").mkdir()
    (tmp_path / "train2017" / "c.jpg").rename(tmp_path / "val2017" / "c.jpg")
    val = {"images": images[2:], "categories": [{"id": 5, "name": "bird"}, {"id": 7, "name": "cat"}]}
    box = boxes[0] | {"image_id": images[2]["id"], "category_id": 7}
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(val | {"annotations": [box]}))
    return tmp_path


def test_all_splits_together_have_the_classes_of_each(uneven: Path) -> None:
    pool = read.read_pool(uneven)
    assert (pool.label_map.names, pool.category_ids) == (("cat", "dog", "bird"), (1, 2, 5))
    assert [sample.class_ids.tolist() for sample in pool.samples] == [[0, 1], [1], [0]]
    assert [fault for fault in pool.faults if fault.severity != "note"] == []
    assert read.class_names(uneven) == ("cat", "dog", "bird")


def test_a_class_that_one_splits_file_lacks_may_be_chosen_and_renamed(uneven: Path) -> None:
    val = read.read(uneven, "val", choice=ClassChoice(("dog", "pet"), {"cat": "pet"}))
    assert (val.label_map.names, [sample.class_ids.tolist() for sample in val.samples]) == (("dog", "pet"), [[1]])
    train = read.read(uneven, "train", choice=ClassChoice(("bird", "dog")))
    assert [sample.class_ids.tolist() for sample in train.samples] == [[1], [1]]
    chosen = divide.for_training(uneven, "train", "val", choice=ClassChoice(("dog",)))
    assert (len(chosen.train), chosen.val is not None and len(chosen.val)) == (2, 1)
    with pytest.raises(UsageError, match="--classes: no class 'dgo'"):
        read.read(uneven, "val", choice=ClassChoice(("dgo",)))
