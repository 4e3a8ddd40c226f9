from __future__ import annotations

import os
from pathlib import Path

import pytest

from singleshot.errors import DataError, InputMissingError, NotPermittedError
from singleshot.storage.files import file_bytes, opened


def test_a_file_comes_whole_up_to_its_limit_and_not_a_byte_beyond(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"12345")
    assert file_bytes(path, 5) == b"12345"
    with opened(path) as stream:
        assert stream.read(2) == b"12"
    with pytest.raises(DataError) as caught:
        file_bytes(path, 4, kind="too-large-xml")
    assert (caught.value.kind, caught.value.file, caught.value.exit_code) == ("too-large-xml", path, 65)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with pytest.raises(DataError, match="empty file") as caught:
        file_bytes(path, 10)
    assert caught.value.kind == "empty-file"


@pytest.mark.parametrize("name", ["none", "no/folder", "n" * 300, "nul\0byte"])
def test_a_file_that_is_not_there_ends_with_66(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputMissingError, match="no such file") as caught:
        file_bytes(tmp_path / name, 10)
    assert caught.value.exit_code == 66


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.timeout(20)
def test_a11_a_pipe_a_device_or_a_folder_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull), tmp_path):
        with pytest.raises(DataError, match="not a plain file") as caught:
            file_bytes(path, 10)
        assert caught.value.kind == "not-a-file"


def test_a9_a_link_onto_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop"
    path.symlink_to(path)
    with pytest.raises(DataError, match="symbolic link") as caught:
        file_bytes(path, 10)
    assert caught.value.kind == "not-a-file"


def test_a10_a_file_that_may_not_be_read_ends_with_77(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"1")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything, so a mode of 0 proves nothing here
    with pytest.raises(NotPermittedError) as caught:
        file_bytes(path, 10)
    assert caught.value.exit_code == 77
