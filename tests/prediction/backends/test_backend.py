from __future__ import annotations

import json
from pathlib import Path

import pytest

from singleshot.errors import DataError
from singleshot.prediction.backends.backend import KEY, ExportRecord, check_outputs, parse, refused
from tests.exporting import made

PATH = Path("a.onnx")


def test_a_record_comes_back_as_it_was_written():
    for record in (made.record(), made.record("raw", "int8"), made.record(of=made.segmenter_network())):
        assert parse(record.texts()[KEY], PATH) == record


def test_anyone_can_read_names_thresholds_preprocessing_model_and_hash():
    texts = made.record().texts()
    assert json.loads(texts["class_names"]) == list(made.NAMES)
    assert json.loads(texts["thresholds"])["nms_iou"] == 0.45
    assert json.loads(texts["preprocess"])["size_hw"] == list(made.SIZE_HW)
    assert (texts["flavour"], texts["weights_sha256"], texts["task"]) == ("lite320-fine", "0" * 64, "detection")


def test_outputs_follow_from_task_and_form():
    segmenter = made.segmenter_network()
    assert made.record("raw").output_names == ("class_logits", "box_offsets")
    assert made.record(of=segmenter).output_names == ("class_ids", "logits")
    assert made.record("raw", of=segmenter).output_names == ("logits",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 99}, "schema 99"),
        ({"form": "half"}, "makes no sense"),
        ({"precision": 32}, "makes no sense"),
        ({"provenance": []}, "makes no sense"),
        ({"config": {}}, "missing fields"),
        ({"task": "segmentation"}, "fields"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(change: dict, said: str):
    data = json.loads(made.record().texts()[KEY]) | change
    with pytest.raises(DataError, match=said):
        parse(json.dumps(data), PATH)


def test_absurd_configs_and_texts_that_are_no_record_are_refused():
    data = json.loads(made.record().texts()[KEY])
    data["config"]["anchors"][0]["size_hw"] = [10**6, 10**6]
    for text in (json.dumps(data), "[]", "{", "null", "[" * 100_000):
        with pytest.raises(DataError):
            parse(text, PATH)
    with pytest.raises(DataError, match="not a file that singleshot exported"):
        parse(None, PATH)
    assert isinstance(made.record(), ExportRecord)


def test_outputs_are_those_of_the_record_in_its_order():
    names = made.record().output_names
    check_outputs(names, made.record(), Path("a.onnx"))
    for wrong in (names[:3], names[::-1], ()):
        with pytest.raises(DataError, match="needed are boxes_xyxy"):
            check_outputs(wrong, made.record(), Path("a.onnx"))


def test_a_runtimes_words_come_as_one_short_line():
    said = str(refused("ONNX Runtime", RuntimeError("bad\n  node " + "x" * 1000), Path("a.onnx")))
    assert said.startswith("a.onnx: ONNX Runtime refuses it (bad node xxx") and len(said) < 300 and "\n" not in said
