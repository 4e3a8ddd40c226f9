from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from singleshot.data.fetch import unpack
from singleshot.errors import DataError


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def member(
    name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "inside"
    folder.mkdir()
    return folder


def all_files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink())


def test_files_and_folders_come_out_and_are_counted(tmp_path: Path, inside: Path) -> None:
    tar = archive(
        tmp_path / "a.tar", member("VOC/", kind=tarfile.DIRTYPE), member("VOC/a.txt", b"abc"), member("b", b"d")
    )
    done: list[int] = []
    assert unpack(tar, inside, max_bytes=4, on_bytes=done.append) == (2, 4)
    assert (inside / "VOC/a.txt").read_bytes() == b"abc" and all_files(inside) == ["VOC/a.txt", "b"]
    assert done[-1] == 4
    assert unpack(archive(tmp_path / "empty.tar"), inside, max_bytes=0) == (0, 0)


@pytest.mark.parametrize(
    "bad",
    [
        member("../evil"),
        member("a/../../evil"),
        member("link", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        member("link", kind=tarfile.SYMTYPE, link="../evil"),
        member("link", kind=tarfile.LNKTYPE, link="../../evil"),
        member("pipe", kind=tarfile.FIFOTYPE),
        member("device", kind=tarfile.CHRTYPE),
    ],
    ids=lambda each: f"{each[0].name}-{each[0].linkname or each[0].type!r}",
)
def test_a17_a_member_that_leads_outside_is_named_and_writes_nothing_there(tmp_path: Path, inside: Path, bad) -> None:
    tar = archive(tmp_path / "a.tar", member("good"), bad, member("link/through"))
    with pytest.raises(DataError) as raised:
        unpack(tar, inside, max_bytes=1000)
    assert raised.value.kind == "unsafe-archive" and raised.value.exit_code == 65
    assert repr(bad[0].name) in str(raised.value) and raised.value.file == tar
    assert all_files(tmp_path) == ["a.tar", "inside/good"]


def test_a17_an_absolute_name_stays_inside(tmp_path: Path, inside: Path) -> None:
    # The data filter takes the leading slash off; nothing is written where the name pointed.
    unpack(archive(tmp_path / "a.tar", member(f"{tmp_path}/evil")), inside, max_bytes=1000)
    assert not (tmp_path / "evil").exists() and all_files(inside)[0].endswith("evil")


def test_a18_an_archive_bomb_ends_at_the_cap_before_more_is_written(tmp_path: Path, inside: Path) -> None:
    path = tmp_path / "zeros.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("a", "b", "c"):
            tar.addfile(*(lambda pair: (pair[0], io.BytesIO(pair[1])))(member(name, bytes(1 << 20))))
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError) as raised:
        unpack(path, inside, max_bytes=5 << 19)
    assert raised.value.kind == "archive-bomb" and "'c'" in str(raised.value)
    assert sum(path.stat().st_size for path in inside.iterdir()) <= 5 << 19
    assert all_files(inside) == ["a", "b"]


def test_a18_too_many_members_are_a_bomb_too(tmp_path: Path, inside: Path, monkeypatch) -> None:
    monkeypatch.setattr("singleshot.data.fetch.MAX_MEMBERS", 3)
    tar = archive(tmp_path / "a.tar", *(member(f"{i}", b"") for i in range(4)))
    with pytest.raises(DataError, match="'3'"):
        unpack(tar, inside, max_bytes=1000)
    assert len(all_files(inside)) == 3


def test_what_is_no_archive_or_torn_is_reported(tmp_path: Path, inside: Path) -> None:
    whole = archive(tmp_path / "a.tar", member("a", bytes(5000)), member("b", bytes(5000))).read_bytes()
    for data in (b"<html>", b"", whole[:3000], whole[:7000], gzip.compress(whole)[:40]):
        (tmp_path / "bad.tar").write_bytes(data)
        with pytest.raises(DataError) as raised:
            unpack(tmp_path / "bad.tar", inside, max_bytes=100_000)
        assert raised.value.kind == "bad-archive"
