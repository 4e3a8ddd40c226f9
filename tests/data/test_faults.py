from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.data.faults import refuse_or_list
from singleshot.errors import Fault, FaultyDataError
from singleshot.structures import Dataset, LabelMap

BOX = Fault(Path("a.xml"), 7, "zero-size-box", "fatal", "no width.")
PICTURE = Fault(Path("b.jpg"), None, "truncated", "fatal", "cut.")
NOTE = Fault(Path("c.xml"), 1, "case", "warning", "other case.")


def split(*faults: Fault) -> Dataset:
    return Dataset(Path("data"), "voc", "train", LabelMap(("car",)), (), faults=faults)


def test_fatal_faults_are_refused_together_with_file_and_line() -> None:
    with pytest.raises(FaultyDataError) as raised:
        refuse_or_list([split(BOX, NOTE), split(PICTURE, BOX)], "fail")
    assert raised.value.faults == (BOX, PICTURE)
    assert "a.xml:7: no width." in str(raised.value) and "--on-bad skip" in str(raised.value)


def test_a_verb_that_has_no_on_bad_names_its_own_remedy() -> None:
    with pytest.raises(FaultyDataError, match=r"no width\.\n.*Name others\.$"):
        refuse_or_list([split(BOX)], "fail", remedy="Name others")


def test_faults_of_two_splits_are_listed_once_where_they_may_be_skipped() -> None:
    assert refuse_or_list([split(BOX, NOTE), split(PICTURE, BOX)], "skip") == [BOX, PICTURE]


@pytest.mark.parametrize("on_bad", ["fail", "skip"])
def test_warnings_that_cost_an_image_or_a_box_stop_nothing_and_are_listed(on_bad: str) -> None:
    bare = Fault(Path("train.txt"), 3, "missing-annotation", "warning", "left out.")
    outside = Fault(Path("a.xml"), 9, "outside-box", "warning", "left out.")
    clipped = Fault(Path("a.xml"), 12, "clipped-box", "warning", "clipped.")
    assert refuse_or_list([split(bare, clipped), split(outside, bare)], on_bad) == [bare, outside]


@pytest.mark.parametrize("on_bad", ["fail", "skip"])
def test_what_is_not_fatal_and_no_split_at_all_stop_nothing(on_bad: str) -> None:
    assert refuse_or_list([split(NOTE)], on_bad) == refuse_or_list([], on_bad) == []
