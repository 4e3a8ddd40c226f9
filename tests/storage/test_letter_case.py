"""Case of names: found as the file system finds it, simulated by a file system that ignores case."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from singleshot.cli import outputs
from singleshot.data import read
from singleshot.data.boxes import voc
from singleshot.errors import UsageError
from singleshot.storage import letter_case
from tests.data.exports import EXPORTS
from tests.data.layouts import LAYOUTS, Content


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows."""
    monkeypatch.setattr(letter_case, "ignores_case", lambda _folder: True)


def test_linux_tells_names_apart(tmp_path: Path) -> None:
    letter_case.ignores_case.cache_clear()
    (tmp_path / "a").mkdir()
    assert not letter_case.ignores_case(tmp_path / "a") and not letter_case.ignores_case(tmp_path / "A")
    assert not letter_case.ignores_case(Path("/"))
    assert type(letter_case.as_found({"a": 1}, tmp_path)) is dict


def test_a_file_system_that_finds_another_case_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letter_case.ignores_case.cache_clear()
    monkeypatch.setattr(Path, "samefile", lambda one, other: str(one).casefold() == str(other).casefold())
    assert letter_case.ignores_case(tmp_path / "Data") and isinstance(
        letter_case.as_found({}, tmp_path / "Data"), letter_case.AnyCase
    )
    letter_case.ignores_case.cache_clear()


@pytest.mark.usefixtures("folding")
def test_lists_and_annotations_find_their_images_in_any_case(tmp_path: Path) -> None:
    for layout in ("voc", "coco", "csv"):
        root = tmp_path / layout
        images = LAYOUTS[layout].make(root, Content())
        images[0].rename(images[0].with_name("A.JPG"))
        dataset = read.read(root, "train", cache=False)
        assert sorted(sample.image_path.name for sample in dataset.samples) == ["A.JPG", "b.jpg"], layout
        assert [fault for fault in dataset.faults if fault.severity == "fatal"] == []


def test_where_case_counts_another_case_is_another_file(tmp_path: Path) -> None:
    images = LAYOUTS["voc"].make(tmp_path, Content())
    images[0].rename(images[0].with_name("A.JPG"))
    assert [fault.kind for fault in voc.read(tmp_path, "train").faults if fault.severity == "fatal"] == [
        "missing-picture"
    ]


@pytest.mark.usefixtures("folding")
@pytest.mark.parametrize("tool", EXPORTS)
def test_nothing_else_changes(tool: str, tmp_path: Path) -> None:
    EXPORTS[tool][1](tmp_path)
    pool = read.read_pool(tmp_path)
    assert [fault for fault in pool.faults if fault.severity != "note"] == [] and len(pool) >= 2


@pytest.mark.usefixtures("folding")
def test_two_outputs_whose_names_differ_in_case_alone_are_one_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="twice"):
        outputs.check(tmp_path / "A.jpg", tmp_path / "a.jpg")


def test_where_case_counts_they_are_two(tmp_path: Path) -> None:
    outputs.check(tmp_path / "A.jpg", tmp_path / "a.jpg")
    Image.new("RGB", (2, 2)).save(tmp_path / "A.jpg")
    outputs.check(tmp_path / "a.jpg", inputs=[tmp_path / "A.jpg"])
