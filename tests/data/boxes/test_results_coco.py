from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.data.boxes import results
from singleshot.errors import CannotCreateError, DataError, SingleshotError
from singleshot.structures import Dataset, Detections, LabelMap, Sample

NAMES = LabelMap(("car", "toothbrush"))
GOOD = {"image_id": 7, "category_id": 90, "bbox": [1.5, 2, 10, 20], "score": 0.5}


def sample(image_id: str) -> Sample:
    none = np.zeros(0)
    return Sample(
        image_id, Path(f"{image_id}.jpg"), (40, 60), none.reshape(0, 4), none.astype(np.int64), none.astype(np.bool_)
    )


DATASET = Dataset(Path("data"), "coco", "val", NAMES, [sample("7"), sample("30"), sample("x9")], category_ids=(3, 90))


def read(tmp_path: Path, *rows: object) -> list[Detections]:
    (tmp_path / "r.json").write_text(json.dumps(list(rows)))
    return results.read_coco(tmp_path / "r.json", DATASET)


def test_a_result_worked_by_hand(tmp_path: Path) -> None:
    first, second, _ = read(tmp_path, GOOD, {**GOOD, "score": 0.75}, {**GOOD, "image_id": 30, "category_id": 3})
    assert first.scores.tolist() == [0.75, 0.5]
    assert first.boxes_xyxy[0].tolist() == [1.5, 2, 11.5, 22]
    assert (first.class_ids.tolist(), list(first.class_names)) == ([1, 1], ["toothbrush", "toothbrush"])
    assert (second.class_ids.tolist(), second.size_hw) == ([0], (40, 60))


def test_no_results_are_legal_and_give_no_detections(tmp_path: Path) -> None:
    assert [len(result) for result in read(tmp_path)] == [0, 0, 0]


def test_b30_what_was_written_has_the_formats_own_ids_and_is_read_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 20, (9, 2)).astype(np.float32)
    boxes_xyxy = np.hstack([low, low + rng.uniform(0, 20, (9, 2)).astype(np.float32)])
    class_ids = np.arange(9) % 2
    scores = np.sort(rng.random(9).astype(np.float32))[::-1]
    found = Detections(boxes_xyxy, scores, class_ids, NAMES.names_of(class_ids), (40, 60))
    nothing = found[:0]
    results.write_coco([found, nothing, found[:1]], DATASET, tmp_path / "r.json")
    rows = json.loads((tmp_path / "r.json").read_text())
    assert {row["category_id"] for row in rows} == {3, 90}
    assert [row["image_id"] for row in rows] == [7] * 9 + ["x9"]
    back = results.read_coco(tmp_path / "r.json", DATASET)
    np.testing.assert_allclose(back[0].boxes_xyxy, boxes_xyxy, atol=1e-9)
    np.testing.assert_array_equal(back[0].scores.astype(np.float32), scores)
    with pytest.raises(CannotCreateError):
        results.write_coco([found, nothing, nothing], DATASET, tmp_path / "r.json")
    results.write_coco([nothing] * 3, DATASET, tmp_path / "r.json", overwrite=True)
    assert json.loads((tmp_path / "r.json").read_text()) == []


def test_a_class_that_is_no_category_and_a_nan_cannot_be_written(tmp_path: Path) -> None:
    one = np.ones(1)
    found = Detections(np.array([[0.0, 0, 1, 1]]), one, one.astype(np.int64), np.array(["toothbrush"], object), (9, 9))
    unknown = Dataset(Path("data"), "coco", "val", NAMES, [sample("7")], category_ids=(3, None))
    with pytest.raises(DataError, match="'toothbrush' is no category"):
        results.write_coco([found], unknown, tmp_path / "r.json")
    bad = Detections(found.boxes_xyxy * np.nan, one, found.class_ids, found.class_names, (9, 9))
    with pytest.raises(DataError, match="not finite"):
        results.write_coco([bad], DATASET, tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("image_id", [8, "30x", None, [7]])
def test_g3_an_unknown_image_is_named_with_its_place(tmp_path: Path, image_id: object) -> None:
    with pytest.raises(DataError, match=r"r\.json: \[1\]\.image_id .* is not in the split") as caught:
        read(tmp_path, GOOD, {**GOOD, "image_id": image_id})
    assert caught.value.exit_code == 65


def test_g4_detections_that_occur_twice_are_both_kept_to_be_counted_as_false(tmp_path: Path) -> None:
    assert len(read(tmp_path, GOOD, GOOD)[0]) == 2


@pytest.mark.parametrize("category_id", [4, "90", None, 90.0])
def test_g5_an_unknown_category_is_named_and_not_dropped(tmp_path: Path, category_id: object) -> None:
    with pytest.raises(DataError, match=r"\[0\]\.category_id .* is no category"):
        read(tmp_path, {**GOOD, "category_id": category_id}, GOOD)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bbox", [1, 2, -3, 4]),
        ("bbox", [1, 2, 3]),
        ("bbox", [1, 2, 3, None]),
        ("bbox", None),
        ("score", 1.5),
        ("score", -0.1),
        ("score", None),
        ("score", "0.5"),
    ],
)
def test_g7_a_box_or_score_that_is_none_is_named(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(DataError, match=rf"\[1\]\.{field} .*\(2 such entries: 2 in {field}\)"):
        read(tmp_path, GOOD, {**GOOD, field: value}, {**GOOD, field: value})


@pytest.mark.parametrize("text", ["{}", "5", '[{"score": NaN}]', "[1", '{"a": 1, "a": 2}', "[3]"])
def test_g6_what_is_no_list_of_results_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match=r"r\.json"):
        results.read_coco(tmp_path / "r.json", DATASET)


def test_images_that_are_not_named_are_told(tmp_path: Path) -> None:
    warning = results.coverage_warning(read(tmp_path, GOOD), DATASET)
    assert warning == "the results name 1 of 3 images; nothing in 30, x9"
    rows = [{**GOOD, "image_id": image_id} for image_id in (7, 30, "x9")]
    assert results.coverage_warning(read(tmp_path, *rows), DATASET) is None


anything = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
entry = st.fixed_dictionaries(
    {
        "image_id": st.just(7) | anything,
        "category_id": st.just(3) | anything,
        "bbox": st.lists(st.floats(-5, 50) | anything, min_size=3, max_size=5) | anything,
        "score": st.floats(0, 1) | anything,
    }
)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(entry | anything, max_size=3))
def test_any_results_give_good_boxes_or_an_error_with_the_file(
    tmp_path_factory: pytest.TempPathFactory, rows: list
) -> None:
    folder = tmp_path_factory.mktemp("results")
    try:
        found = read(folder, *rows)
    except SingleshotError as error:
        assert error.file == folder / "r.json"
        return
    for result in found:
        assert np.isfinite(result.boxes_xyxy).all()
        assert (result.boxes_xyxy[:, 2:] >= result.boxes_xyxy[:, :2]).all()
        assert ((result.scores >= 0) & (result.scores <= 1)).all()
