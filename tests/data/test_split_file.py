from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from singleshot.data import split_file
from singleshot.data.check import audit
from singleshot.data.class_choice import ClassChoice
from singleshot.data.split_file import SplitFile
from singleshot.errors import DataError, InputMissingError
from tests.data.series import series


def test_a_file_of_splits_is_read_as_it_was_written(tmp_path: Path) -> None:
    chosen = ClassChoice(("cat",), {"puss": "cat"}, strict=False)  # a file's choice: another folder may lack a class
    splits = SplitFile({"train": ("a.jpg", "x/b.jpg"), "val": ("c.jpg",)}, "group", 3, {"val": 0.25}, "data", chosen)
    splits.write(tmp_path / "split.json")
    assert split_file.read(tmp_path / "split.json") == splits
    assert replace(splits, seed=4).sha256 == splits.sha256  # the images alone


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"splits": {"train": ["a.jpg"], "val": ["a.jpg"]}}, "leak"),
        ({"splits": {"train": ["b.jpg"]}}, "changed-split"),
        ({"splits": {"train": [1]}}, "not-a-split"),
        ({"splits": {}}, "not-a-split"),
        ({"singleshot_split": 2}, "not-a-split"),
        ({"shares": {"val": "much"}}, "not-a-split"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_refused(change: dict[str, object], kind: str, tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    SplitFile({"train": ("a.jpg",)}).write(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError) as refused:
        split_file.read(file)
    assert refused.value.kind == kind


def test_a_split_is_selected_from_the_pool_and_an_image_that_is_gone_is_a_fault(tmp_path: Path) -> None:
    pool = series(tmp_path, {"a": 1, "b": 2})
    splits = SplitFile({"train": ("a.png",), "val": ("b.png", "gone.png")})
    chosen = split_file.select(pool, splits, "val")
    assert [sample.image_id for sample in chosen.samples] == ["b"]
    assert [fault.kind for fault in chosen.faults] == ["missing-picture"]
    assert [fault.file for fault in chosen.faults] == [pool.root], "there is no file of these splits"
    assert split_file.select(pool, splits, "train").faults == ()
    with pytest.raises(InputMissingError, match=r"no split 'test'\. There are: train, val"):
        split_file.select(pool, splits, "test")


def test_messages_name_the_file_of_the_splits_and_not_the_data_folder(tmp_path: Path) -> None:
    series(tmp_path / "data", {"a": 1})
    file = tmp_path / "other.json"
    SplitFile({"train": ("x/b.png", "x/c.png")}).write(file)
    found = audit.audit(tmp_path / "data", splits=split_file.read(file))
    missing = [fault for fault in found.faults if fault.kind == "missing-picture"]
    assert [fault.file for fault in missing] == [file, file] and "x/b.png of train is not in" in missing[0].message
    with pytest.raises(InputMissingError) as refused:
        audit.audit(tmp_path / "data", split="val", splits=split_file.read(file))
    assert refused.value.file == file
