from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from singleshot.data.boxes import results
from singleshot.errors import CannotCreateError, DataError, InputMissingError, StorageError
from singleshot.evaluation.voc import voc_report
from singleshot.storage import atomic
from singleshot.structures import Dataset, Detections, LabelMap, Sample

CLASSES = ("cat", "dog", "mouse")
BOXES = np.array([[10.0, 10.0, 30.0, 40.0], [50.5, 20.25, 80.0, 90.0]])


def dataset(*, annotated: bool = True) -> Dataset:
    samples = []
    for place, name in enumerate(("000001", "x-2", "ümlaut")):
        count = 2 if annotated and place < 2 else 0
        samples.append(
            Sample(
                name,
                Path(f"{name}.jpg"),
                (100, 90) if annotated else None,
                BOXES[:count],
                np.arange(count),
                np.zeros(count, dtype=np.bool_),
            )
        )
    return Dataset(Path("data"), "voc", "test", LabelMap(CLASSES), tuple(samples))


def found(boxes_xyxy: np.ndarray, scores: list[float], class_ids: list[int], dtype: type = np.float32) -> Detections:
    ids = np.array(class_ids, dtype=np.int64)
    boxes_xyxy = np.asarray(boxes_xyxy, dtype=dtype).reshape(-1, 4)
    return Detections(boxes_xyxy, np.array(scores, dtype=dtype), ids, LabelMap(CLASSES).names_of(ids), (100, 90))


NOTHING = found(np.empty((0, 4)), [], [])


def many(seed: int) -> list[Detections]:
    """Detections near the objects and far from them, with awkward digits and ties."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(3):
        boxes_xyxy = BOXES[rng.integers(0, 2, 20)] + rng.normal(0, 4, (20, 4))
        scores = np.sort(rng.choice(rng.uniform(0, 1, 12), 20))[::-1]
        pictures.append(found(boxes_xyxy, scores.tolist(), rng.integers(0, 2, 20).tolist()))
    return pictures


def folder_with(tmp_path: Path, line: str) -> Path:
    """A folder of results, right but for the second line about dogs."""
    results.write_voc([NOTHING] * 3, dataset(), tmp_path)
    (tmp_path / "comp4_det_test_dog.txt").write_text(f"000001 0.5 1 1 20 20\n{line}\n", encoding="utf-8")
    return tmp_path


def refusal(folder: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        results.read_voc(folder, dataset())
    assert caught.value.exit_code == 65
    return caught.value


def refused_line(tmp_path: Path, line: str) -> str:
    error = refusal(folder_with(tmp_path, line))
    assert (error.file, error.line) == (tmp_path / "comp4_det_test_dog.txt", 2)
    return error.message


def test_every_class_has_a_file_even_if_nothing_was_found(tmp_path: Path):
    paths = results.write_voc([NOTHING] * 3, dataset(), tmp_path / "new")
    assert [path.name for path in paths] == [f"comp4_det_test_{name}.txt" for name in CLASSES]
    assert [path.read_bytes() for path in paths] == [b"", b"", b""]
    back = results.read_voc(tmp_path / "new", dataset())
    assert [len(picture) for picture in back] == [0, 0, 0]


def test_a_line_worked_by_hand(tmp_path: Path):
    # Continuous (0, 10.5, 20, 30) is the pixels 1…20 across and 11.5…30 down.
    one = found(np.array([[0.0, 10.5, 20.0, 30.0]]), [0.75], [1])
    paths = results.write_voc([NOTHING, one, NOTHING], dataset(), tmp_path)
    assert [path.read_text() for path in paths] == ["", "x-2 0.75 1.0 11.5 20.0 30.0\n", ""]


@pytest.mark.parametrize("seed", range(5))
def test_a_round_trip_keeps_every_number_and_so_the_ap_exactly(tmp_path: Path, seed: int):
    before = many(seed)
    results.write_voc(before, dataset(), tmp_path)
    after = results.read_voc(tmp_path, dataset())
    for one, other in zip(before, after, strict=True):
        assert other.boxes_xyxy.dtype == other.scores.dtype == np.float64
        order = np.lexsort((np.arange(20), one.class_ids, -one.scores))
        assert np.array_equal(one.boxes_xyxy[order].astype(np.float64), other.boxes_xyxy)
        assert np.array_equal(one.scores[order].astype(np.float64), other.scores)
        assert np.array_equal(one.class_ids[order], other.class_ids)
    for metric in ("voc07", "voc12"):
        wanted = voc_report(before, dataset(), metric=metric)
        assert voc_report(after, dataset(), metric=metric).ap == wanted.ap
        assert wanted.map is not None
        assert wanted.map > 0


def test_float64_digits_survive_too(tmp_path: Path):
    one = found(np.array([[7e-12, 1 / 3, 2 / 3, 123456.789]]), [1 / 7], [0], np.float64)
    results.write_voc([one, NOTHING, NOTHING], dataset(), tmp_path)
    back = results.read_voc(tmp_path, dataset())[0]
    assert back.scores.tolist() == [1 / 7]
    assert back.boxes_xyxy.tolist() == one.boxes_xyxy.tolist()


def test_coordinates_outside_the_image_are_neither_clipped_nor_refused(tmp_path: Path):
    outside = found(np.array([[-50.0, -0.5, 4000.0, 3e7]]), [0.5], [2])
    results.write_voc([outside, NOTHING, NOTHING], dataset(), tmp_path)
    assert results.read_voc(tmp_path, dataset())[0].boxes_xyxy.tolist() == [[-50.0, -0.5, 4000.0, 3e7]]


def test_a_split_without_annotations_is_enough(tmp_path: Path):
    results.write_voc(many(0), dataset(annotated=False), tmp_path)
    back = results.read_voc(tmp_path, dataset(annotated=False))
    assert [len(picture) for picture in back] == [20, 20, 20]
    assert {picture.size_hw for picture in back} == {(0, 0)}


def test_a_split_without_images_has_no_detections(tmp_path: Path):
    nothing = replace(dataset(), samples=())
    results.write_voc([], nothing, tmp_path)
    assert results.read_voc(tmp_path, nothing) == []


def test_a_missing_class_file_is_named(tmp_path: Path):
    results.write_voc(many(0), dataset(), tmp_path)
    (tmp_path / "comp4_det_test_dog.txt").unlink()
    error = refusal(tmp_path)
    assert error.kind == "class-without-file"
    assert error.file == tmp_path / "comp4_det_test_dog.txt"


def test_g5_a_file_of_an_unknown_class_is_refused_with_the_nearest_name(tmp_path: Path):
    results.write_voc(many(0), dataset(), tmp_path)
    (tmp_path / "comp4_det_test_dgo.txt").write_text("")
    error = refusal(tmp_path)
    assert error.kind == "unknown-class"
    assert "'dgo' is unknown; near: dog" in error.message


def test_a_class_in_the_wrong_case_gets_its_name_too(tmp_path: Path):
    results.write_voc(many(0), dataset(), tmp_path)
    (tmp_path / "comp4_det_test_DOG.txt").write_text("")
    assert "'DOG' is unknown; near: dog" in refusal(tmp_path).message


def test_the_files_of_a_split_with_a_longer_name_are_left_alone(tmp_path: Path):
    results.write_voc(many(0), dataset(), tmp_path)
    results.write_voc([NOTHING] * 3, replace(dataset(), split="test_small"), tmp_path)
    assert [len(picture) for picture in results.read_voc(tmp_path, dataset())] == [20, 20, 20]
    longer = replace(dataset(), split="test_small")
    assert [len(picture) for picture in results.read_voc(tmp_path, longer)] == [0, 0, 0]


def test_a_file_of_a_split_with_a_longer_name_that_lacks_a_class_is_refused_with_both_readings(tmp_path: Path):
    results.write_voc(many(0), dataset(), tmp_path)
    results.write_voc([NOTHING] * 3, replace(dataset(), split="test_small"), tmp_path)
    (tmp_path / f"comp4_det_test_small_{CLASSES[1]}.txt").unlink()
    error = refusal(tmp_path)
    assert error.kind == "unknown-class"
    assert f"class 'small_{CLASSES[0]}' is unknown" in error.message
    assert f"class '{CLASSES[0]}' of split 'test_small', which has no comp4_det_test_small_{CLASSES[1]}" in (
        error.message
    )


def test_g3_an_unknown_image_id_is_refused_with_file_and_line(tmp_path: Path):
    assert "'000009' is not in split 'test'" in refused_line(tmp_path, "000009 0.5 1 1 2 2")


@pytest.mark.parametrize("column", range(1, 6))
@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "1_0", "１", "0x10", "a", "1e", "--1"])
def test_g6_what_is_no_finite_number_is_refused_with_file_and_line(tmp_path: Path, column: int, value: str):
    fields = ["x-2", "0.5", "1", "1", "20", "20"]
    fields[column] = value
    what = refused_line(tmp_path, " ".join(fields))
    assert repr(value) in what
    assert results._COLUMNS[column] in what


@pytest.mark.parametrize("value", ["1e999", "-1e999"])
def test_g6_a_number_beyond_all_bounds_is_refused(tmp_path: Path, value: str):
    assert "too large" in refused_line(tmp_path, f"x-2 {value} 1 1 20 20")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("x-2 0.5 10 1 8 20", "inverted"),
        ("x-2 0.5 1 10 20 8", "inverted"),
        ("x-2 1 1 20 20", "5 columns"),
        ("x-2", "1 columns"),
        ("x-2 0.5 1 1 20 20 7", "7 columns"),
        ("x-2,0.5,1,1,20,20", "1 columns"),
        ("x-2\u00a00.5 1 1 20 20", "parted"),
    ],
)
def test_g7_an_inverted_box_or_a_missing_or_surplus_column_is_refused(tmp_path: Path, line: str, why: str):
    assert why in refused_line(tmp_path, line)


def test_a_box_of_no_width_is_legal(tmp_path: Path):
    back = results.read_voc(folder_with(tmp_path, "x-2 0.5 5 5 4 4"), dataset())
    assert back[1].boxes_xyxy.tolist() == [[4.0, 4.0, 4.0, 4.0]]


def test_a_confidence_is_an_order_and_need_not_be_a_fraction(tmp_path: Path):
    back = results.read_voc(folder_with(tmp_path, "000001 -7.5e0 1 1 20 20"), dataset())
    assert back[0].scores.tolist() == [0.5, -7.5]


def test_g8_ties_come_back_in_the_order_of_class_and_line(tmp_path: Path):
    results.write_voc([NOTHING] * 3, dataset(), tmp_path)
    (tmp_path / "comp4_det_test_dog.txt").write_text("x-2 0.5 1 1 5 5\nx-2 0.9 1 1 6 6\nx-2 0.5 1 1 7 7\n")
    (tmp_path / "comp4_det_test_cat.txt").write_text("x-2 0.5 1 1 8 8\n")
    assert results.read_voc(tmp_path, dataset())[1].boxes_xyxy[:, 2].tolist() == [6.0, 8.0, 5.0, 7.0]


def test_windows_line_ends_a_mark_and_blank_lines_are_accepted(tmp_path: Path):
    results.write_voc([NOTHING] * 3, dataset(), tmp_path)
    text = "\ufeffx-2 0.5 1 1 20 20\r\n\r\n  x-2\t0.25  1 1 20 20  \r\n"
    (tmp_path / "comp4_det_test_dog.txt").write_bytes(text.encode())
    assert results.read_voc(tmp_path, dataset())[1].scores.tolist() == [0.5, 0.25]


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path):
    results.write_voc([NOTHING] * 3, dataset(), tmp_path)
    (tmp_path / "comp4_det_test_dog.txt").write_bytes(b"x-2 0.5 1 1 20 20\nx-2 \xff 1 1 20 20\n")
    error = refusal(tmp_path)
    assert (error.kind, error.line) == ("not-text", 2)


def test_one_of_the_files_stands_for_its_competition(tmp_path: Path):
    results.write_voc(many(0), dataset(), tmp_path, competition="comp3")
    results.write_voc([NOTHING] * 3, dataset(), tmp_path, competition="comp4")
    assert refusal(tmp_path).kind == "two-competitions"
    lengths = [
        [len(picture) for picture in results.read_voc(tmp_path / f"{one}_det_test_cat.txt", dataset())]
        for one in ("comp3", "comp4")
    ]
    assert lengths == [[20, 20, 20], [0, 0, 0]]


def test_a_folder_without_results_and_a_file_that_is_none_are_refused(tmp_path: Path):
    assert refusal(tmp_path).kind == "class-without-file"
    (tmp_path / "notes.txt").write_text("")
    assert refusal(tmp_path / "notes.txt").kind == "not-a-result-file"
    with pytest.raises(InputMissingError):
        results.read_voc(tmp_path / "none", dataset())


def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path: Path):
    results.write_voc([NOTHING] * 3, dataset(), tmp_path)
    with pytest.raises(CannotCreateError, match="comp4_det_test_cat"):
        results.write_voc(many(0), dataset(), tmp_path)
    assert (tmp_path / "comp4_det_test_cat.txt").read_bytes() == b""
    results.write_voc(many(0), dataset(), tmp_path, overwrite=True)
    assert (tmp_path / "comp4_det_test_cat.txt").stat().st_size > 0


def test_a_folder_that_cannot_be_made_is_a_fault_of_the_call_and_no_bug_of_ours(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(CannotCreateError):
            results.write_voc(many(0), dataset(), folder)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = results.write_voc(many(0), dataset(), tmp_path)
    before = [path.read_bytes() for path in paths]

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "sync", full)
    with pytest.raises(StorageError, match="disk is full"):
        results.write_voc(many(1), dataset(), tmp_path, overwrite=True)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_nothing_is_written_where_a_score_is_nan_or_an_id_has_a_blank(tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match="'x-2' has a score or box that is not finite"):
        results.write_voc([NOTHING, found(BOXES[:1], [float("nan")], [0]), NOTHING], dataset(), out)
    data = dataset()
    blank = Sample("a b", Path("a b.jpg"), None, *(data.samples[2].__dict__[key] for key in COLUMNS))
    with pytest.raises(DataError, match="blank"):
        results.write_voc([NOTHING], Dataset(data.root, "voc", "test", data.label_map, (blank,)), out)
    assert not out.exists()


COLUMNS = ("boxes_xyxy", "class_ids", "difficult")


def test_a_class_cannot_choose_another_folder():
    with pytest.raises(DataError, match="cannot be part of a file name"):
        results.file_name("test", "../cat")
