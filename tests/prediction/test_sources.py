from __future__ import annotations

import os
from pathlib import Path

import pytest

from singleshot.errors import DataError, InputMissingError, UsageError
from singleshot.prediction.sources import Sources, resolve
from tests.prediction.videos import make


def test_files_folders_patterns_and_cameras_are_told_apart(tmp_path: Path) -> None:
    for name in ("a/2.jpg", "a/1.PNG", "a/notes.txt", "b/x.jpg", "b/y[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    video = make(tmp_path / "a" / "film.mp4", 2)
    found = resolve(
        [tmp_path / "a", str(tmp_path / "b/*.jpg"), "0", str(tmp_path / "a/2.jpg"), tmp_path / "b/y[1].jpg"]
    )
    assert [path.name for path in found.images] == ["1.PNG", "2.jpg", "x.jpg", "y[1].jpg"]
    assert found.videos == (video,) and found.cameras == (0,)


def test_c5_a_video_is_one_by_its_content(tmp_path: Path) -> None:
    video = make(tmp_path / "a.mp4", 2).rename(tmp_path / "a.jpg")
    assert resolve([video]).videos == (video,)


def test_a_pattern_that_fits_folders_alone_fits_nothing(tmp_path: Path) -> None:
    (tmp_path / "day1").mkdir()
    with pytest.raises(InputMissingError, match=r"no file fits.*Name folders") as caught:
        resolve([tmp_path / "day*"])
    assert caught.value.exit_code == 66


def test_a_pattern_in_a_folder_with_brackets_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "a[x]").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "a[x]" / name).write_bytes(b"\xff\xd8\xff")
    assert [path.name for path in resolve([str(tmp_path / "a[x]" / "*.jpg")]).images] == ["1.jpg", "2.jpg"]
    assert [path.name for path in resolve([str(tmp_path / "a[x]" / "[2].jpg")]).images] == ["2.jpg"]


def test_nothing_named_is_nothing_to_look_at() -> None:
    assert resolve([]) == Sources()


def test_what_is_not_there_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in (tmp_path / "none.jpg", tmp_path / "empty", tmp_path / "*.jpg"):
        with pytest.raises(InputMissingError):
            resolve([name])


@pytest.mark.parametrize(
    "name", ["http://example.org/a.mp4", "rtsp://10.0.0.1/live", "concat:a.mp4|b.mp4", "file:/etc"]
)
def test_d14_an_address_is_refused_without_a_look_at_it(name: str) -> None:
    with pytest.raises(UsageError, match="no local file"):
        resolve([name])


def test_a_phones_files_are_used_or_counted_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in (
        "a.jpg",
        "b.JFIF",
        "c.HEIC",
        "d.heic",
        "notes",
        ".hidden",
        "deep/e.jpe",
        "deep/er/f.png",
        "deep/g.txt",
    ):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    found = resolve([tmp_path])
    assert [path.name for path in found.images] == ["a.jpg", "b.JFIF"]
    warning = found.warning()
    assert warning == (
        f"3 files are not read (2 .heic, 1 without a suffix; first {tmp_path / 'c.HEIC'}); "
        f"1 subfolder is not read (first {tmp_path / 'deep'}): add --recursive"
    )
    every = resolve([tmp_path], recursive=True)
    assert [path.name for path in every.images] == ["a.jpg", "b.JFIF", "e.jpe", "f.png"]
    assert [path.name for path in every.unread] == ["c.HEIC", "d.heic", "notes", "g.txt"]
    assert resolve([tmp_path / "a.jpg"]).warning() is None
    with pytest.raises(InputMissingError, match="--recursive"):
        resolve([(tmp_path / "only").mkdir() or tmp_path / "only"])


def test_a_folder_without_images_says_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.HEICS", "b.heics", "deep/c.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputMissingError) as caught:
        resolve([tmp_path])
    assert str(caught.value).endswith(
        f"no images or videos in this folder; 2 files are not read (2 .heics; first {tmp_path / 'a.HEICS'}); "
        f"1 subfolder is not read (first {tmp_path / 'deep'}): add --recursive. "
        "Name a folder of them, or add --recursive."
    )


def test_links_to_folders_are_not_followed_and_counted(tmp_path: Path) -> None:
    (tmp_path / "set" / "deep").mkdir(parents=True)
    (tmp_path / "set" / "deep" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "set" / "round").symlink_to(tmp_path / "set", target_is_directory=True)
    found = resolve([tmp_path / "set"], recursive=True)
    assert found.images == (tmp_path / "set" / "deep" / "a.jpg",)
    assert found.warning() == (
        f"1 link to a folder is not read (first {tmp_path / 'set' / 'round'}): name what they lead to"
    )


def test_a_pipe_by_its_name_is_refused_with_the_name_of_standard_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in (tmp_path / "pipe.jpg", "/dev/null"):
        with pytest.raises(DataError, match=r"not a plain file.*give -"):
            resolve([name])
