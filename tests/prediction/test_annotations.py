from __future__ import annotations

import csv
import json
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data.boxes import voc_xml
from singleshot.data.boxes.check_box import INCLUSIVE, check_box
from singleshot.errors import StorageError, UsageError
from singleshot.prediction.annotations import KINDS, inside, open_sinks, parse_kinds, targets, write_image
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


def test_annotations_have_boxes_inside_the_image_and_none_thinner_than_a_pixel(tmp_path: Path) -> None:
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


OUT = Path("out")


def test_a_copy_is_named_after_its_image():
    files = [Path("a/x.jpg"), Path("a/y.PNG"), Path("b/z.webp")]
    assert [path.name for path in targets(files, OUT).values()] == ["x.jpg", "y.png", "z.jpg"]
    assert targets([], OUT) == {}


def test_i12_images_of_one_stem_in_two_folders_do_not_cover_each_other_up():
    files = [Path("a/x.jpg"), Path("b/x.jpg"), Path("b/x.webp"), Path("c/y.jpg")]
    copies = targets(files, OUT)
    assert len(set(copies.values())) == len(files)
    assert copies[files[3]] == OUT / "y.jpg"
    assert copies[files[0]].name.startswith("a-x")


def test_a_name_that_would_still_be_shared_is_refused():
    with pytest.raises(UsageError, match="two images"):
        targets([Path("one/a/x.jpg"), Path("two/a/x.jpg")], OUT)
    with pytest.raises(UsageError, match="two images"):
        targets([Path("a/x.jpg"), Path("b/x.jpg"), Path("c/a-x.jpg.jpg")], OUT)


def test_an_image_named_twice_is_written_once():
    assert len(targets([Path("a/x.jpg"), Path("a/x.jpg")], OUT)) == 1


def test_j5_a_copy_never_covers_up_its_own_image(tmp_path: Path):
    for out in (tmp_path, tmp_path / "sub" / ".."):
        with pytest.raises(UsageError, match="itself a source") as caught:
            targets([tmp_path / "x.jpg"], out)
        assert caught.value.exit_code == 2
    targets([tmp_path / "x.webp"], tmp_path)


def test_ten_thousand_images_are_named_at_once():
    files = [Path(f"{place % 7}/{place}.jpg") for place in range(10_000)]
    start = time.process_time()
    assert len(targets(files, OUT)) == 10_000
    assert time.process_time() - start < 5


def test_a_png_is_written_exactly_and_a_jpeg_nearly(tmp_path: Path):
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (50, 40), interpolation=cv2.INTER_CUBIC)
    for name, tolerance in (("a.png", 0), ("a.jpg", 8)):
        write_image(tmp_path / "new" / name, image)
        back = cv2.cvtColor(cv2.imread(str(tmp_path / "new" / name)), cv2.COLOR_BGR2RGB)
        assert np.abs(back.astype(int) - image).mean() <= tolerance
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.jpg", "a.png"]


def test_an_image_that_no_jpeg_can_hold_is_an_error_of_ours(tmp_path: Path):
    with pytest.raises(StorageError, match="could not be encoded"):
        write_image(tmp_path / "a.jpg", np.zeros((1, 65_501, 3), dtype=np.uint8))
    assert list(tmp_path.iterdir()) == []
