"""Each tool's file by what the tool documents, and the way back through our own reader of what it exports."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from singleshot.data import read
from singleshot.prediction.annotations import open_sinks
from singleshot.prediction.frames import Frame, ImageResult
from singleshot.prediction.label_tools import cvat_head, label_studio_config
from singleshot.structures import Detections, LabelMap

LABELS = LabelMap(('traffic "light" & <sign>', "Straßenbahn"))
SIZE_HW = (80, 120)
BOXES = np.array([[10.5, 20.25, 40, 60], [-5, 0, 50, 200], [70, 10, 119.5, 79.75]], np.float32)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("first one.png", "second.png"):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((*SIZE_HW, 3), 90, np.uint8))
    return tmp_path / "images"


def save(kind: str, images: Path) -> Path:
    """Write the results of two images, the second without an object; returns the folder."""
    out = images.parent / "found"
    class_ids = np.array([1, 0, 0])
    scores = np.array([0.9, 0.5, 0.25], np.float32)
    found = Detections(BOXES, scores, class_ids, LABELS.names_of(class_ids), SIZE_HW)
    (sink,) = open_sinks([kind], out, LABELS)
    for name, result in (("first one.png", found), ("second.png", found[:0])):
        sink.add(ImageResult(Frame(np.zeros((*SIZE_HW, 3), np.uint8), str(images / name)), result), Path(name).stem)
    sink.close()
    return out


def check_read_back(folder: Path, layout: str) -> None:
    """The layout's reader finds the boxes of `save`, cut off at the edge, and the image without objects."""
    dataset = read.read(folder, "all", layout=layout)
    assert [fault for fault in dataset.faults if fault.severity == "fatal"] == []
    by_name = {sample.image_path.name: sample for sample in dataset.samples}
    assert set(by_name) == {"first one.png", "second.png"} and len(by_name["second.png"].boxes_xyxy) == 0
    sample = by_name["first one.png"]
    wanted = np.clip(BOXES, 0, [120, 80, 120, 80])
    np.testing.assert_allclose(sample.boxes_xyxy, wanted, atol=0.01)
    names = [dataset.label_map.names[class_id] for class_id in sample.class_ids]
    assert names == ["Straßenbahn", *['traffic "light" & <sign>'] * 2]


def test_labelme_opens_the_image_by_its_path_from_the_file_and_our_reader_finds_the_boxes(images: Path) -> None:
    folder = save("labelme", images) / "labelme"
    content = json.loads((folder / "first one.json").read_text(encoding="utf-8"))
    # labelme, LabelFile.load: these keys, and the image beside the file where there is no imageData.
    assert {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"} == set(content)
    assert (folder / content["imagePath"]).resolve() == images / "first one.png" and content["imageData"] is None
    for shape in content["shapes"]:
        assert {"label", "points", "group_id", "shape_type", "flags", "description"} == set(shape)
        assert shape["shape_type"] == "rectangle" and len(shape["points"]) == 2
    assert json.loads((folder / "second.json").read_text(encoding="utf-8"))["shapes"] == []
    for file in folder.iterdir():
        shutil.copy(file, images)
    check_read_back(images, "labelme")


def test_label_studio_gets_predictions_for_its_config_and_our_reader_finds_what_is_accepted(images: Path) -> None:
    folder = save("labelstudio", images) / "labelstudio"
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    config = ElementTree.parse(folder / "config.xml").getroot()
    image, labels = config.find("Image"), config.find("RectangleLabels")
    assert image is not None and labels is not None and image.get("value") == "$image"
    assert [each.get("value") for each in labels] == list(LABELS.names)
    for task in tasks:
        assert unquote(task["data"]["image"]).startswith("/data/local-files/?d=")
        (prediction,) = task["predictions"]
        for region in prediction["result"]:
            assert (region["from_name"], region["to_name"]) == (labels.get("name"), image.get("name"))
            value = region["value"]
            assert 0 <= value["x"] <= value["x"] + value["width"] <= 100.0001
            assert 0 <= value["y"] <= value["y"] + value["height"] <= 100.0001
            assert set(value["rectanglelabels"]) <= set(LABELS.names) and 0 <= region["score"] <= 1
    assert len({region["id"] for region in tasks[0]["predictions"][0]["result"]}) == 3
    # An annotator who submits a prediction as it is makes an annotation with the same regions; the export has both.
    accepted = [task | {"annotations": [{"result": task["predictions"][0]["result"]}]} for task in tasks]
    (images / "export.json").write_text(json.dumps(accepted), encoding="utf-8")
    check_read_back(images, "label_studio")


def test_cvat_gets_a_box_for_each_detection_under_the_names_of_the_images(images: Path) -> None:
    file = save("cvat", images) / "cvat.xml"
    root = ElementTree.parse(file).getroot()
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    assert [each.text for each in root.iterfind("meta/task/labels/label/name")] == list(LABELS.names)
    assert [(each.get("id"), each.get("name")) for each in root.iterfind("image")] == [
        ("0", "first one.png"),
        ("1", "second.png"),
    ]
    for box in root.iterfind("image/box"):
        assert {"label", "occluded", "xtl", "ytl", "xbr", "ybr"} <= set(box.attrib)
    assert not list(file.parent.glob("*.partial*"))
    shutil.copy(file, images.parent / "annotations.xml")
    shutil.rmtree(file.parent)
    check_read_back(images.parent, "cvat")


def test_a_run_that_broke_off_leaves_files_that_say_so(images: Path) -> None:
    for kind, name in (("cvat", "cvat.xml"), ("labelstudio", "labelstudio/tasks.json")):
        (sink,) = open_sinks([kind], images.parent / kind, LABELS)
        sink.close(whole=False)
        path = images.parent / kind / name
        assert not path.exists() and path.with_name(f"{path.stem}.partial{path.suffix}").exists()


def test_class_names_are_text_and_no_markup() -> None:
    hostile = ('a"/><x y="', "b</name></label>", "c&d")
    config = ElementTree.fromstring(label_studio_config(hostile))
    assert [each.get("value") for each in config.iter("Label")] == list(hostile)
    head = ElementTree.fromstring(cvat_head(hostile).partition("\n")[2] + "</annotations>")
    assert [each.text for each in head.iter("name")] == list(hostile)
    assert ElementTree.fromstring(label_studio_config(())).find("RectangleLabels") is not None
