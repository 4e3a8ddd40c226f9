from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from singleshot.data import folders
from singleshot.data.check import audit
from singleshot.errors import InputMissingError, NotPermittedError, SingleshotError
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


LONG = ["x" * 300 + ".jpg", "/".join(["y" * 200] * 30) + ".jpg", "a/b/../" * 1000 + "c.jpg"]


@pytest.mark.parametrize("name", LONG, ids=["a name", "a path", "dots"])
@pytest.mark.parametrize(
    "texts",
    [
        {"data.yaml": "names: [c]\ntrain: NAME\nval: images\n"},
        {"data.yaml": "names: [c]\ntrain: train.txt\n", "train.txt": "images/a.png\nNAME\n"},
        {"obj.data": "names = NAME\ntrain = train.txt\n", "train.txt": "images/a.png\n"},
        {"obj.data": "names = obj.names\ntrain = NAME\n", "obj.names": "c\n"},
        {"classes.txt": "c 9 9 9\n", "train.txt": "images/a.png masks/a.png\nNAME NAME\na NAME b.png\n"},
    ],
    ids=["yaml", "list", "names", "train", "masks"],
)
def test_a_name_in_a_file_may_be_longer_than_any_file_name(texts: dict[str, str], name: str, tmp_path: Path) -> None:
    for folder in ("images", "labels", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (60, 40)).save(tmp_path / folder / "a.png")
    (tmp_path / "labels" / "a.png").unlink()
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .5 .5\n")
    for file, text in texts.items():
        (tmp_path / file).write_text(text.replace("NAME", name))
    try:
        faults = [str(fault) for fault in audit.audit(tmp_path).faults]
    except SingleshotError as error:
        faults = [str(error)]
    assert all("\n" not in fault for fault in faults)
    assert not folders.exists(Path(LONG[0])) and not folders.is_file(Path(LONG[0]))
