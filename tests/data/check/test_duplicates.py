from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data.check import duplicates
from singleshot.data.check.duplicates import Place
from singleshot.data.check.fingerprints import file_fingerprint
from singleshot.structures import Dataset, LabelMap, Sample


def _places(split: str, *names: str) -> list[Place]:
    return [Place(Path(name), Path(f"{split}.txt"), line) for line, name in enumerate(names, start=1)]


def _dataset(split: str, *names: str) -> Dataset:
    nothing = np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool)
    return Dataset(Path("data"), "voc", split, LabelMap(()), [Sample(n, Path(n), None, *nothing) for n in names])


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        ("train", "val", True),
        ("train", "test", True),
        ("trainval", "test", True),
        ("train2017", "val2017", True),
        ("train", "valid", True),
        ("trainval", "train", False),
        ("trainval", "val", False),
        ("train", "train", False),
        ("mine", "test", False),
        ("cat_train", "val", False),
    ],
)
def test_splits_are_apart_by_their_names(first: str, second: str, apart: bool) -> None:
    assert duplicates.are_disjoint(first, second) is duplicates.are_disjoint(second, first) is apart


def test_no_splits_leak_nothing() -> None:
    assert duplicates.in_two_splits({}) == [] and duplicates.same_bytes({}, {}) == []
    assert duplicates.without_leaks(_dataset("train"), _dataset("val")) == ([], [])


def test_a_shared_image_is_named_at_the_second_lists_line() -> None:
    splits = {"train": _places("train", "a", "b"), "val": _places("val", "c", "b"), "mine": _places("mine", "a")}
    (fault,) = duplicates.in_two_splits(splits)
    assert str(fault).startswith("val.txt:2: b is in train too (train.txt:2)") and fault.severity == "fatal"


def test_a_file_that_could_not_be_read_equals_no_other() -> None:
    assert duplicates.same_bytes({Path("a"): b"", Path("b"): b""}, {}) == []


def test_equal_bytes_are_a_leak_only_across_splits() -> None:
    digests = {Path("a"): b"1", Path("b"): b"1", Path("c"): b"2"}
    (fault,) = duplicates.same_bytes(digests, {"train": _places("train", "a", "b", "c")})
    assert (fault.kind, fault.severity, fault.file) == ("duplicate-picture", "warning", Path("b"))
    (fault,) = duplicates.same_bytes(digests, {"train": _places("train", "a"), "test": _places("test", "b")})
    assert (fault.kind, fault.severity, fault.file) == ("leak", "fatal", Path("b"))


def test_what_is_evaluated_is_not_trained_on() -> None:
    kept, faults = duplicates.without_leaks(_dataset("train", "a", "b"), _dataset("val", "b", "c"))
    assert [sample.image_id for sample in kept] == ["a"]
    assert [(fault.kind, fault.file) for fault in faults] == [("leak", Path("b"))]


def test_the_same_bytes_under_another_name_are_not_trained_on(tmp_path: Path) -> None:
    for name, content in (("a", b"123"), ("b", b"124"), ("c", b"123"), ("d", b"12")):
        (tmp_path / name).write_bytes(content)
    train, val = (
        _dataset(split, *(str(tmp_path / name) for name in names)) for split, names in (("train", "abd"), ("val", "c"))
    )
    kept, faults = duplicates.without_leaks(train, val)
    assert [Path(sample.image_id).name for sample in kept] == ["b", "d"]
    assert len(faults) == 1 and "the same file as c of val" in faults[0].message


def _photographs(folder: Path, *seeds: int) -> list[Path]:
    """Write photograph-like images, a file for each seed."""
    paths = []
    for number, seed in enumerate(seeds):
        coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        paths.append(folder / f"{number}.jpg")
        cv2.imwrite(str(paths[-1]), cv2.resize(coarse, (160 + number, 120), interpolation=cv2.INTER_CUBIC))
    return paths


def test_near_copies_and_their_copies_are_one_group(tmp_path: Path) -> None:
    paths = _photographs(tmp_path, 1, 2, 1, 3, 2, 1)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    assert duplicates.near_identical_groups([*paths, tmp_path / "broken.jpg"]) == [[0, 2, 5], [1, 4]]


def test_thousands_of_shots_of_a_fixed_camera_are_one_group_and_a_fault_each_in_little_memory(tmp_path: Path) -> None:
    (path,) = _photographs(tmp_path, 1)
    shots = [Path(f"{number:05}.jpg") for number in range(4000)]
    prints = dict.fromkeys(shots, file_fingerprint(path))
    digests = {shot: shot.name.encode() for shot in shots}
    splits = {"train": _places("train", *map(str, shots[:3000])), "val": _places("val", *map(str, shots[3000:]))}
    tracemalloc.start()
    try:
        (group,) = duplicates.near_identical_groups(list(prints.values()))
        faults = duplicates.near_copies_across_splits(prints, digests, splits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert group == list(range(4000)) and [fault.file for fault in faults] == shots[3000:]
    assert peak < 200 << 20  # all eight million pairs would be twenty times as much


def test_no_images_make_no_groups() -> None:
    assert duplicates.near_identical_groups([]) == duplicates.near_identical_groups([b"", b""]) == []


def test_a_near_copy_in_a_disjoint_split_is_a_warning_at_the_later_split(tmp_path: Path) -> None:
    one, same_split, copy, other = _photographs(tmp_path, 1, 1, 1, 2)
    prints = {path: file_fingerprint(path) for path in (one, same_split, copy, other)}
    digests = {path: path.read_bytes() for path in prints}
    splits = {"train": _places("train", str(one), str(same_split)), "val": _places("val", str(other), str(copy))}
    (fault,) = duplicates.near_copies_across_splits(prints, digests, splits)
    assert (fault.kind, fault.severity, fault.file) == ("near-duplicate-across-splits", "warning", copy)
    assert one.name in fault.message or same_split.name in fault.message
    assert duplicates.near_copies_across_splits(prints, dict.fromkeys(prints, b"same"), splits) == []
    assert duplicates.near_copies_across_splits({}, {}, {}) == []
