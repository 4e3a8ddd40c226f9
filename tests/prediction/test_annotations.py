from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from singleshot.data.boxes import voc_xml
from singleshot.data.boxes.check_box import INCLUSIVE, check_box
from singleshot.errors import UsageError
from singleshot.prediction.annotations import KINDS, inside, open_sinks, parse_kinds
from singleshot.prediction.frames import Frame, ImageResult
from singleshot.storage import atomic
from singleshot.structures import Detections, LabelMap

LABELS = LabelMap(("car", "bus"))


def written(out: Path) -> None:
    boxes = np.array([[10, 20, 30, 60], [-5, 0, 50, 200], [99.5, 0, 120, 50]], np.float32)
    class_ids = np.array([1, 0, 0])
    scores = np.array([0.75, 0.5, 0.25], np.float32)
    found = Detections(boxes, scores, class_ids, LABELS.names_of(class_ids), (100, 100), np.array([4, 2, 9]))
    picture = ImageResult(Frame(np.zeros((100, 100, 3), np.uint8), "in/a.png"), found)
    frame = ImageResult(Frame(np.zeros((100, 100, 3), np.uint8), "b.mp4", 7, Fraction(7, 10)), found[:0])
    files = open_sinks(list(KINDS), out, LABELS)
    for file in files:
        file.add(picture, "a")
        file.add(frame, "b_000007")
        file.close()


def test_every_kind_holds_what_was_seen(tmp_path: Path) -> None:
    written(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "detections.jsonl").read_text().splitlines()]
    assert lines[0]["file"] == "in/a.png" and lines[0]["detections"][0]["track_id"] == 4 and "frame" not in lines[0]
    assert lines[1] == {"file": "b.mp4", "frame": 7, "time_s": 0.7, "size_hw": [100, 100], "detections": []}
    with (tmp_path / "detections.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 and rows[0]["class"] == "bus" and float(rows[0]["y2"]) == 60 and rows[0]["frame"] == ""
    assert rows[1]["x1"] == "-5.0", "what the detector said, beyond the edge too"


def test_annotations_have_boxes_inside_the_picture_and_none_thinner_than_a_pixel(tmp_path: Path) -> None:
    written(tmp_path)
    annotation = voc_xml.read(tmp_path / "voc" / "a.xml")
    assert [each.corners for each in annotation.objects] == [(11, 21, 30, 60), (1, 1, 50, 100)]
    assert (tmp_path / "yolo" / "a.txt").read_text() == "1 0.2 0.4 0.2 0.4\n0 0.25 0.5 0.5 1\n"
    assert (tmp_path / "yolo" / "b_000007.txt").read_text() == ""
    assert (tmp_path / "yolo" / "classes.txt").read_text() == "car\nbus\n"
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["in/a.png", "b_000007.jpg"]
    assert coco["annotations"][0]["bbox"] == [10, 20, 20, 40] and coco["annotations"][0]["category_id"] == 2
    assert [row["image_id"] for row in coco["annotations"]] == [1, 1]


def test_a_box_of_one_pixel_is_left_out_because_the_reader_would_take_it_for_empty() -> None:
    boxes = np.array([[10, 20, 11, 60], [10, 20, 50, 21], [10, 20, 11.5, 60]], np.float32)
    class_ids = np.zeros(3, np.int64)
    found = Detections(boxes, np.ones(3, np.float32), class_ids, LABELS.names_of(class_ids), (100, 100))
    assert inside(found).boxes_xyxy.tolist() == [[10, 20, 11.5, 60]]
    text = voc_xml.annotation_xml("a.jpg", (100, 100), boxes[:1], ["car"])
    (item,) = voc_xml.parse(text.encode(), file=Path("a.xml")).objects
    xmin, ymin, xmax, ymax = item.corners
    fault = check_box((xmin - 1, ymin - 1, xmax, ymax), (100, 100), INCLUSIVE)
    assert fault is not None and fault.kind == "zero-size-box"


def test_files_of_frames_are_forced_to_the_disk_in_the_end_and_not_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[str] = []
    monkeypatch.setattr(atomic, "sync", lambda path: forced.append(path.name))
    (file,) = open_sinks(["yolo"], tmp_path, LABELS)
    none = np.zeros(0, np.int64)
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), none, LABELS.names_of(none), (9, 9))
    for index in range(3):
        frame = ImageResult(Frame(np.zeros((9, 9, 3), np.uint8), "b.mp4", index, Fraction(index, 10)), nothing)
        file.add(frame, f"b_{index:06d}")
    assert forced == []
    file.close()
    assert sorted(forced) == ["b_000000.txt", "b_000001.txt", "b_000002.txt", "classes.txt", "yolo"]


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean json"):
        parse_kinds("jsno")
    assert parse_kinds("") == ()
