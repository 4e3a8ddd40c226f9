from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.data import folders
from singleshot.errors import InputMissingError, NotPermittedError
from tests.data.conftest import close


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A folder with b.txt, a.jpg and a folder c."""
    (tmp_path / "top" / "c").mkdir(parents=True)
    for name in ("b.txt", "a.jpg"):
        (tmp_path / "top" / name).write_bytes(b"1")
    return tmp_path / "top"


def test_entries_come_by_name(top: Path) -> None:
    assert [entry.name for entry in folders.entries(top)] == ["a.jpg", "b.txt", "c"]
    with pytest.raises(InputMissingError):
        folders.entries(top / "none")


def test_files_and_folders_are_told_apart(top: Path) -> None:
    assert [path.name for path in folders.files_in(top)] == ["a.jpg", "b.txt"]
    assert [path.name for path in folders.subfolders(top)] == ["c"]
    assert folders.files_in(top / "none") == folders.subfolders(top / "none") == []


def test_links_out_of_the_data_or_to_nothing_are_faults_and_not_listed(top: Path) -> None:
    (top.parent / "outside").write_bytes(b"1")
    (top / "c" / "out").symlink_to(top.parent / "outside")
    (top / "c" / "broken").symlink_to(top / "none")
    (top / "c" / "inside").symlink_to(top / "a.jpg")
    files, faults = folders.listing(top / "c", top)
    assert [path.name for path in files] == ["inside"]
    assert {(fault.file.name, fault.kind, fault.severity) for fault in faults} == {
        ("out", "outside-link", "fatal"),
        ("broken", "broken-link", "fatal"),
    }


def test_a_folder_that_may_not_be_listed_is_an_error(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close(top, monkeypatch)
    with pytest.raises(NotPermittedError):
        folders.listing(top, top)
    assert not folders.contains(top, ["c"])


def test_the_extension_that_is_listed_first_gets_the_id_and_the_other_a_warning() -> None:
    files = [Path("a.PNG"), Path("a.jpg"), Path("b.png"), Path("a.txt")]
    found = folders.by_stem(files, (".jpg", ".png"))
    assert found == {"a": Path("a.jpg"), "b": Path("b.png")}
    (fault,) = folders.unused_duplicates(files, found, (".jpg", ".png"))
    assert (fault.kind, fault.severity, fault.file) == ("duplicate-id", "warning", Path("a.PNG"))
    assert folders.by_stem([], (".jpg",)) == {}
