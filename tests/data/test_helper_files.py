"""Files and folders of other programs are never data, in any layout and for any command that lists a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from singleshot.data import read
from singleshot.data.check.audit import audit
from singleshot.exporting import calibration
from singleshot.prediction import sources
from tests.data.exports import EXPORTS
from tests.data.layouts import LAYOUTS, Content, picture
from tests.exporting.made import detector

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "


def litter(root: Path) -> None:
    """Add to each folder what notebooks, macOS, Windows and file servers leave there: copies of its files too."""
    for folder in [root, *sorted(path for path in root.rglob("*") if path.is_dir())]:
        files = sorted(path for path in folder.iterdir() if path.is_file())
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".hidden"):
            (folder / name).mkdir()
            for file in files:
                shutil.copy(file, folder / name / file.name)
                shutil.copy(file, folder / name / f"copy-{file.name}")
        for file in files:
            (folder / f"._{file.name}").write_bytes(APPLE_DOUBLE)
            (folder / "__MACOSX" / f"._{file.name}").write_bytes(APPLE_DOUBLE)
            thumb = folder / "@eaDir" / "thumbs" / file.name / "SYNOFILE_THUMB_M.jpg"
            picture(thumb, Content(), 7)
        (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / "desktop.ini").write_text("[.ShellClassInfo]\n")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_reader_and_no_check_sees_them(layout: str, tmp_path: Path) -> None:
    chosen = LAYOUTS[layout]
    chosen.make(tmp_path, Content())

    def seen() -> tuple[object, ...]:
        with_masks = chosen.has_masks
        dataset = read.read(tmp_path, chosen.split, layout=chosen.data_format, cache=False)
        found = audit(tmp_path, data_format=chosen.data_format)
        return (
            read.recognise(tmp_path, with_masks=with_masks),
            read.splits(tmp_path, layout=chosen.data_format),
            [sample.image_path for sample in dataset.samples],
            [sample.boxes_xyxy.tolist() for sample in dataset.samples],
            dataset.label_map,
            dataset.faults,
            (found.images, found.objects, found.classes, found.faults),
        )

    before = seen()
    litter(tmp_path)
    assert seen() == before


@pytest.mark.parametrize("name", EXPORTS)
def test_no_reader_sees_them_in_a_tools_export(name: str, tmp_path: Path) -> None:
    EXPORTS[name][1](tmp_path)

    def seen() -> list[object]:
        names = read.splits(tmp_path)
        datasets = [read.read(tmp_path, split, cache=False) for split in names]
        samples = [(each.image_path, each.boxes_xyxy.tolist()) for dataset in datasets for each in dataset.samples]
        return [read.recognise(tmp_path), names, samples, *((each.label_map, each.faults) for each in datasets)]

    before = seen()
    litter(tmp_path)
    assert seen() == before


@pytest.mark.parametrize("recursive", [False, True])
def test_predict_takes_the_images_of_a_folder_and_counts_nothing_else(recursive: bool, tmp_path: Path) -> None:
    images = [picture(tmp_path / name, Content(), seed) for seed, name in enumerate(["a.jpg", "in/b.jpg"])]
    litter(tmp_path)
    found = sources.resolve([tmp_path], recursive=recursive)
    assert list(found.images) == images[: 2 if recursive else 1]
    assert list(found.unread) == ([] if recursive else [tmp_path / "in"])


def test_a_pattern_takes_them_only_by_name(tmp_path: Path) -> None:
    images = [picture(tmp_path / name, Content(), seed) for seed, name in enumerate(["a.jpg", "in/b.jpg"])]
    litter(tmp_path)
    assert list(sources.resolve([str(tmp_path / "**" / "*.jpg")]).images) == images
    thumb = tmp_path / "__MACOSX" / "a.jpg"
    assert list(sources.resolve([str(thumb.parent / "a.*")]).images) == [thumb]
    assert list(sources.resolve([thumb]).images) == [thumb]


def test_a_folder_inside_a_hidden_one_is_an_ordinary_folder(tmp_path: Path) -> None:
    """Only what lies below the folder that the user names is judged, such as a run in ~/.cache."""
    root = tmp_path / ".cache" / "data"
    (image, _) = LAYOUTS["yolo"].make(root, Content())
    assert len(read.read(root, "train", cache=False)) == 2
    assert sources.resolve([image.parent]).images[0] == image


def test_calibration_takes_no_helper_files(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.jpg", Content(), 1)
    litter(tmp_path)
    assert calibration.read(tmp_path, detector()).files == (image,)
