from __future__ import annotations

import os
from pathlib import Path

import pytest

from singleshot.data.masks import mask_lists
from singleshot.errors import DataError


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def listed(root: Path, text: str) -> Path:
    (root / "train.txt").write_text(text)
    return root / "train.txt"


def pairs(file: Path) -> list[tuple[str, str, str, int | None]]:
    found, faults = mask_lists.read(file)
    assert not faults
    root = file.parent
    return [
        (
            pair.image_id,
            str(pair.image_path.relative_to(root)),
            str((pair.mask_path or root).relative_to(root)),
            pair.line,
        )
        for pair in found
    ]


def test_a_line_is_cut_at_its_only_space_at_a_tab_or_where_both_files_are(tmp_path: Path) -> None:
    files(tmp_path, "my street/a 1.jpg", "my masks/a 1.png")
    file = listed(tmp_path, "x.jpg y.png\n\nfar away.jpg\tfar mask.png\r\nmy street/a 1.jpg my masks/a 1.png\n")
    assert pairs(file) == [
        ("x", "x.jpg", "y.png", 1),
        ("far away", "far away.jpg", "far mask.png", 3),
        ("a 1", "my street/a 1.jpg", "my masks/a 1.png", 4),
    ]


def test_paths_of_another_machine_are_looked_for_by_their_ends(tmp_path: Path) -> None:
    files(tmp_path, "train/x.png", "trainannot/x.png")
    file = listed(tmp_path, "/SegNet/CamVid/train/x.png /SegNet/CamVid/trainannot/x.png\n")
    assert pairs(file) == [("x", "train/x.png", "trainannot/x.png", 1)]


def test_pictures_of_one_name_are_called_by_their_paths(tmp_path: Path) -> None:
    file = listed(tmp_path, "seq1/0001.png m1/0001.png\nseq2/0001.png m2/0001.png\n")
    assert [pair[0] for pair in pairs(file)] == ["seq1/0001", "seq2/0001"]


def test_a_picture_that_is_listed_twice_is_used_once_and_named(tmp_path: Path) -> None:
    found, faults = mask_lists.read(listed(tmp_path, "a.jpg a.png\nb.jpg b.png\na.jpg a.png\n"))
    assert [pair.image_id for pair in found] == ["a", "b"]
    assert [(fault.kind, fault.severity, fault.line) for fault in faults] == [("duplicate-id", "warning", 3)]
    assert "already in line 1" in faults[0].message


@pytest.mark.parametrize("line", ["only-one", "four columns no files", "a\tb\tc"])
def test_a_line_that_is_no_pair_is_refused_with_its_number(line: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="columns") as raised:
        mask_lists.read(listed(tmp_path, f"a.jpg a.png\n{line}\n"))
    assert (raised.value.kind, raised.value.line) == ("bad-list", 2)


def test_what_is_a_list_shows_in_its_first_line(tmp_path: Path) -> None:
    assert mask_lists.is_list(listed(tmp_path, "a.jpg a.png\n"))
    for text in ("", "notes\n", "some notes on this\n"):
        assert not mask_lists.is_list(listed(tmp_path, text))
    os.mkfifo(tmp_path / "pipe.txt")
    assert not mask_lists.is_list(tmp_path / "pipe.txt") and not mask_lists.is_list(tmp_path)
    assert mask_lists.read(listed(tmp_path, "")) == ([], ())
