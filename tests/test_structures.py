from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from singleshot.errors import ConfigError, DataError, SingleshotError, UsageError
from singleshot.structures import (
    Batch,
    BoxTargets,
    Dataset,
    Detections,
    LabelMap,
    MaskCode,
    Sample,
    Segmentation,
    evenly_spaced,
)

NAMES = LabelMap(("cat", "dog"))


def detections(scores: list[float], class_ids: list[int] | None = None) -> Detections:
    ids = np.array(class_ids if class_ids is not None else [0] * len(scores), dtype=np.int64)
    boxes_xyxy = np.arange(4 * len(scores), dtype=np.float32).reshape(-1, 4)
    return Detections(boxes_xyxy, np.array(scores, dtype=np.float32), ids, NAMES.names_of(ids), (10, 20))


def test_names_and_ids_are_inverses():
    assert [NAMES.names[NAMES.id_of(name)] for name in NAMES.names] == ["cat", "dog"]
    assert NAMES.names_of(np.array([1, 0, 1])).tolist() == ["dog", "cat", "dog"]
    assert len(NAMES) == 2


def test_no_ids_have_no_names_even_without_classes():
    assert LabelMap(()).names_of(np.empty(0, dtype=np.int64)).shape == (0,)


def test_an_unknown_name_has_no_id():
    with pytest.raises(KeyError, match="dgo"):
        NAMES.id_of("dgo")


def test_a_name_twice_or_an_empty_one_is_refused():
    with pytest.raises(DataError, match="occur twice: cat"):
        LabelMap(("cat", "dog", "cat"))
    with pytest.raises(DataError, match="empty name"):
        LabelMap(("cat", ""))


def test_a_sample_whose_parts_differ_in_length_is_refused_with_its_name():
    boxes_xyxy, none = np.zeros((2, 4)), np.zeros(2, dtype=np.bool_)
    Sample("a", Path("a.jpg"), None, boxes_xyxy, np.zeros(2, dtype=np.int64), none)
    # Where annotations are checked, they find it first and raise an error of their own.
    with pytest.raises(Exception, match=r"class_ids|belong together"):
        Sample("a", Path("a.jpg"), None, boxes_xyxy, np.zeros(3, dtype=np.int64), none)


def test_the_length_of_a_data_set_is_its_number_of_images():
    empty = np.zeros((0, 4))
    sample = Sample("a", Path("a.jpg"), (5, 5), empty, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_))
    assert len(Dataset(Path(), "voc", "test", NAMES, (sample, sample))) == 2
    assert len(Dataset(Path(), "voc", "test", NAMES, ())) == 0


def test_a_batch_moves_pixels_boxes_and_classes_and_leaves_the_rest():
    batch = Batch(
        torch.zeros(2, 4, 4, 3, dtype=torch.uint8),
        BoxTargets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64)),
        ("a", "b"),
        torch.tensor([5, 3]),
        torch.tensor([[4, 4], [8, 8]]),
        torch.zeros(2, dtype=torch.bool),
    )
    moved = batch.to("meta")
    assert len(batch) == len(moved) == 2
    assert {moved.images.device.type, moved.targets.boxes_xyxy.device.type, moved.targets.class_ids.device.type} == {
        "meta"
    }
    assert moved.indices.tolist() == [5, 3]
    assert batch.images.device.type == "cpu"


def test_the_threshold_itself_is_above_it_and_order_is_kept():
    kept = detections([0.9, 0.5, 0.4], [1, 0, 1]).above(0.5)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.5])
    assert kept.class_names.tolist() == ["dog", "cat"]
    assert kept.boxes_xyxy[:, 0].tolist() == [0.0, 4.0]
    assert kept.size_hw == (10, 20)


def test_rows_are_selected_by_mask_slice_or_index():
    found = detections([0.9, 0.5, 0.4], [1, 0, 1])
    for keep in (np.array([False, True, True]), slice(1, None), np.array([1, 2])):
        assert found[keep].class_ids.tolist() == [0, 1]
    assert len(found[np.zeros(3, dtype=bool)]) == 0


def test_json_has_plain_numbers_and_is_empty_without_detections():
    assert json.loads(json.dumps(detections([0.5], [1]).as_json())) == [
        {"class": "dog", "class_id": 1, "score": 0.5, "box_xyxy": [0.0, 1.0, 2.0, 3.0]}
    ]
    assert detections([]).as_json() == []
    assert len(detections([]).above(0.5)) == 0


def test_columns_of_different_length_are_refused():
    with pytest.raises(Exception, match=r"scores|belong together"):
        Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(2, dtype=np.int64), NAMES.names_of(np.zeros(2, int)), (1, 1))
    with pytest.raises(ValueError, match="belong together"):
        Detections(np.zeros((1, 4)), np.zeros(1), np.zeros(1, dtype=np.int64), np.empty(0, dtype=object), (1, 1))


def test_supervision_gets_every_column(monkeypatch: pytest.MonkeyPatch):
    fake: Any = types.ModuleType("supervision")
    fake.Detections = lambda **columns: columns
    monkeypatch.setitem(sys.modules, "supervision", fake)
    columns = detections([0.9, 0.5], [1, 0]).to_supervision()
    assert columns["xyxy"].shape == (2, 4)
    assert columns["class_id"].tolist() == [1, 0]
    assert columns["data"]["class_name"].tolist() == ["dog", "cat"]


def test_without_supervision_its_installation_is_the_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigError, match="pip install supervision"):
        detections([]).to_supervision()


def test_a_segmentation_knows_its_size_and_its_shares() -> None:
    ids = np.array([[0, 0, 2, 2], [2, 2, 255, 255]], np.uint8)
    found = Segmentation(ids, ("road", "car", "sky"), np.zeros((3, 3), np.uint8))
    assert found.size_hw == (2, 4) and found.shares() == {"road": 0.25, "sky": 0.5}


def test_results_of_both_kinds_describe_themselves_and_refuse_to_be_the_other_kind() -> None:
    found = dataclasses.replace(detections([0.97, 0.62], [0, 1]), track_ids=np.array([4, 9]))
    assert found.summary() == "cat 0.97, dog 0.62"
    assert (found.classes(), found.tracks()) == ({"cat", "dog"}, {4: "cat", 9: "dog"})
    assert (found.detections, found.as_facts()) == (found, {"detections": found.as_json()})
    assert detections([]).summary() == "nothing"
    assert (detections([]).classes(), detections([]).tracks()) == (set(), {})
    ids = np.array([[0, 1], [1, 1]], dtype=np.uint8)
    segmentation = Segmentation(ids, NAMES.names, np.zeros((2, 3), np.uint8))
    assert segmentation.summary() == "dog 75%, cat 25%"
    assert (segmentation.classes(), segmentation.tracks()) == ({"cat", "dog"}, {})
    assert (segmentation.segmentation, segmentation.as_facts()) == (segmentation, {"shares": segmentation.shares()})
    with pytest.raises(TypeError, match="this is a segmentation"):
        _ = segmentation.detections
    with pytest.raises(TypeError, match="these are detections"):
        _ = found.segmentation


def test_a_mask_code_has_a_meaning_for_every_value() -> None:
    with pytest.raises(ValueError, match="256"):
        MaskCode((0, 1))


def test_evenly_spaced_indices_are_as_many_as_wanted_ascending_and_from_end_to_end() -> None:
    for count in range(1, 60):
        for wanted in range(2, 70):
            indices = evenly_spaced(count, wanted)
            assert (len(indices) == min(count, wanted) and indices[0] == 0 and indices[-1] == count - 1) or count == 1
            assert indices == sorted(set(indices))


@pytest.mark.parametrize(("count", "wanted"), [(0, 4), (7, 0)])
def test_evenly_spaced_gives_no_index_where_none_exists_or_is_wanted(count: int, wanted: int) -> None:
    assert evenly_spaced(count, wanted) == []


def test_gaps_between_evenly_spaced_indices_differ_by_one_at_most() -> None:
    indices = evenly_spaced(10_000, 300)
    gaps = {later - earlier for earlier, later in itertools.pairwise(indices)}
    assert gaps == {33, 34}, "9999 / 299 is 33.44"


def test_detections_give_one_detection_by_index_and_one_after_the_other() -> None:
    boxes = np.arange(8, dtype=np.float32).reshape(2, 4)
    names = np.array(["car", "bus"])
    found = Detections(boxes, np.array([0.9, 0.5], np.float32), np.array([0, 1]), names, (10, 20))
    assert [one.class_names.tolist() for one in found] == [["car"], ["bus"]]
    for index in (0, -2, np.int64(0)):
        assert len(found[index]) == 1 and found[index].scores[0] == np.float32(0.9)
    assert list(found[:0]) == [] and len(found[found.scores > 0.6]) == 1
    for wrong in (2, -3, np.array([True]), np.array([5]), None, True, np.bool_(True), 1.5, "car"):
        with pytest.raises(SingleshotError, match="detection") as raised:
            found[wrong]
        assert isinstance(raised.value, IndexError)


def test_a_segmentation_has_no_items_and_says_what_it_has() -> None:
    found: Any = Segmentation(np.zeros((2, 3), np.uint8), ("road",), np.zeros((1, 3), np.uint8))
    for wrong in (lambda: found[0], lambda: list(found), lambda: next(iter(found))):
        with pytest.raises(UsageError, match="Use class_ids"):
            wrong()
