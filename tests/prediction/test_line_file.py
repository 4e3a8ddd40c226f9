from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.errors import CannotCreateError
from singleshot.prediction.line_file import LineFile


def test_a_file_has_its_name_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    file = LineFile(path)
    file.write("one\n")
    assert not path.exists()
    assert file.close() == path and path.read_text() == "one\n" and len(list(path.parent.iterdir())) == 1


def test_what_broke_off_keeps_another_name_and_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    file = LineFile(tmp_path / "a.csv")
    file.write("new")
    assert file.close(whole=False) == tmp_path / "a.partial.csv"
    assert (tmp_path / "a.csv").read_text() == "old" and (tmp_path / "a.partial.csv").read_text() == "new"


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError):
        LineFile(tmp_path / "file" / "a.csv")
