from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.data.whole_folder import whole_folder
from singleshot.errors import CannotCreateError, DataError, StorageError


def test_a_folder_appears_when_all_is_written(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with whole_folder(out) as folder:
        (folder / "a").write_text("1")
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    assert list(out.parent.iterdir()) == [out]


def test_an_empty_folder_may_be_filled_and_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with whole_folder(tmp_path / "empty") as folder:
        (folder / "a").write_text("1")
    for taken in (tmp_path / "empty", tmp_path / "empty" / "a", tmp_path / "empty" / "a" / "b"):
        with pytest.raises(CannotCreateError), whole_folder(taken):
            pass
    assert (tmp_path / "empty" / "a").read_text() == "1"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "empty"]


@pytest.mark.parametrize("error", [DataError("bad"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_fails_half_way_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    wanted = StorageError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted), whole_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        raise error
    assert list(tmp_path.iterdir()) == []
