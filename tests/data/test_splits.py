from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from singleshot.data.splits import joined, numbered_lines, without_repeats
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.structures import Dataset, LabelMap, Sample


def part(split: str, names: tuple[str, ...], *images: str, faults: tuple[Fault, ...] = ()) -> Dataset:
    """A split in which each image has one box of each class."""
    samples = [
        Sample(
            Path(image).stem,
            Path(image),
            (10, 10),
            np.tile([0.0, 0, 5, 5], (len(names), 1)),
            np.arange(len(names)),
            np.zeros(len(names), bool),
        )
        for image in images
    ]
    return Dataset(Path("root"), "voc", split, LabelMap(names), samples, faults)


@pytest.mark.parametrize("text", [b"a\nb c\n", b"\xef\xbb\xbfa\r\n  b c  \r\n"], ids=["plain", "bom and crlf"])
def test_lines_are_stripped_and_numbered(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "train.txt"
    file.write_bytes(text)
    assert list(numbered_lines(file)) == [(1, "a"), (2, "b c")]


def test_blank_lines_count_but_give_nothing(tmp_path: Path) -> None:
    file = tmp_path / "train.txt"
    file.write_bytes(b"\n a\n\n\nb")
    assert list(numbered_lines(file)) == [(2, "a"), (5, "b")]
    file.write_bytes(b"")
    assert list(numbered_lines(file)) == []


def test_a_name_may_be_any_bytes(tmp_path: Path) -> None:
    file = tmp_path / "train.txt"
    file.write_bytes(b"caf\xe9\n")
    assert [os.fsencode(name) for _, name in numbered_lines(file)] == [b"caf\xe9"]


def test_a_list_that_is_missing_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        list(numbered_lines(tmp_path / "none.txt"))
    (tmp_path / "train.txt").write_text("12345")
    with pytest.raises(DataError, match="more than"):
        list(numbered_lines(tmp_path / "train.txt", max_bytes=4))


def test_a_repetition_is_a_warning_of_its_line_and_the_first_line_counts() -> None:
    first, faults = without_repeats([(1, "./a", "a"), (2, "b", "b"), (4, "a", "a"), (9, "a", "a")], Path("train.txt"))
    assert first == {"a": 1, "b": 2}
    assert [(fault.kind, fault.severity, fault.line) for fault in faults] == [
        ("duplicate-id", "warning", 4),
        ("duplicate-id", "warning", 9),
    ]
    assert faults[0].message == "a is already in line 1; it is used once. Delete this line."


def test_class_ids_of_joined_parts_follow_the_names() -> None:
    parts = [("2007", part("train", ("cat", "dog"), "x/a")), ("2012", part("train", ("ant", "dog"), "y/b"))]
    dataset = joined(Path("root"), "both", parts, None)
    assert (dataset.layout, dataset.split, dataset.label_map.names) == ("voc", "both", ("ant", "cat", "dog"))
    assert [sample.class_ids.tolist() for sample in dataset.samples] == [[1, 2], [0, 2]]
    given = joined(Path("root"), "both", parts, LabelMap(("dog", "cat", "ant")))
    assert [sample.class_ids.tolist() for sample in given.samples] == [[1, 0], [2, 0]]


def test_equal_ids_of_two_folders_get_the_folders_name() -> None:
    parts = [("2007", part("train", (), "x/a", "x/c")), ("2012", part("train", (), "y/a"))]
    assert [sample.image_id for sample in joined(Path("root"), "s", parts, None).samples] == ["2007/a", "c", "2012/a"]


def test_an_image_of_two_parts_is_used_once_and_counted() -> None:
    fault = Fault(Path("x"), None, "clipped-box", "warning", "odd.")
    parts = [("7", part(split, (), "x/a", faults=(fault,))) for split in ("train", "trainval")]
    dataset = joined(Path("root"), "train+trainval", parts, None)
    assert [sample.image_id for sample in dataset.samples] == ["a"]
    assert [each.kind for each in dataset.faults] == ["clipped-box", "duplicate-id"]
    assert dataset.faults[1].message == "1 images are in two parts of train+trainval; each is used once."
