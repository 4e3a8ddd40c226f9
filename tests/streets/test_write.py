from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data.boxes import voc
from singleshot.errors import CannotCreateError, StorageError, UsageError
from singleshot.streets import write

COUNTS = {"train": 12, "val": 4, "test": 9}
SMALL = {**COUNTS, "seed": 3, "size_hw": (150, 200)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write.make(tmp_path_factory.mktemp("streets") / "one", **SMALL, workers=1)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_bytes_do_not_depend_on_the_number_of_workers(drawn: Path, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    two = write.make(
        tmp_path / "two", **SMALL, workers=2, on_progress=lambda done, total: reports.append((done, total))
    )
    assert content(two) == content(drawn)
    assert len(content(two)) == 3 * 25 + 8 + 1
    assert reports[-1] == (25, 25)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_voc_reader_returns_the_drawn_annotations(drawn: Path, split: str) -> None:
    dataset = voc.read(drawn, split)
    assert dataset.faults == ()
    assert dataset.label_map.names == write.CLASS_NAMES
    assert len(dataset) == COUNTS[split]
    for index, sample in enumerate(dataset.samples):
        scene = write.scene(3, split, index, size_hw=(150, 200))
        assert sample.size_hw == (150, 200)
        np.testing.assert_array_equal(sample.boxes_xyxy, scene.boxes_xyxy)
        np.testing.assert_array_equal(sample.class_ids, scene.class_ids)
        mask = cv2.imread(str(drawn / "SegmentationClass" / f"{sample.image_id}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, scene.mask)
        image = cv2.imread(str(sample.image_path))[..., ::-1]
        assert np.abs(image.astype(int) - scene.image).mean() < 6  # JPEG at a quality of 85 or better


def test_trainval_is_train_and_val_and_both_tasks_have_the_same_lists(drawn: Path) -> None:
    lists = {path.relative_to(drawn / "ImageSets"): path.read_text() for path in drawn.glob("ImageSets/*/*.txt")}
    main = {path.stem: text for path, text in lists.items() if path.parts[0] == "Main"}
    assert main["trainval"] == main["train"] + main["val"]
    assert main == {path.stem: text for path, text in lists.items() if path.parts[0] == "Segmentation"}
    assert main["val"].split() == ["val_00000", "val_00001", "val_00002", "val_00003"]


def test_a_folder_is_recognised_by_its_parameters(drawn: Path, tmp_path: Path) -> None:
    assert write.matches(drawn, **SMALL)
    assert not write.matches(drawn, **(SMALL | {"seed": 4}))
    assert not write.matches(drawn, **(SMALL | {"test": 10}))
    assert not write.matches(drawn, **(SMALL | {"size_hw": (200, 150)}))
    assert not write.matches(tmp_path / "nothing", **SMALL)
    assert json.loads((drawn / "streets.json").read_text())["mask"] == list(write.MASK_NAMES)


def test_a_folder_that_lost_an_image_no_longer_matches(tmp_path: Path) -> None:
    counts = {"train": 1, "val": 0, "test": 1, "size_hw": (64, 64)}
    out = write.make(tmp_path / "out", **counts, workers=1)
    assert write.matches(out, **counts)
    (out / "JPEGImages" / "test_00000.jpg").unlink()
    assert not write.matches(out, **counts)


def test_a_folder_of_the_user_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(CannotCreateError, match="--overwrite"):
            write.make(tmp_path, train=1, val=0, test=0, size_hw=(64, 64), workers=1, overwrite=overwrite)
    assert content(tmp_path) == {"notes.txt": b"mine"}
    with pytest.raises(CannotCreateError, match="not a folder"):
        write.make(tmp_path / "notes.txt", train=1, val=0, test=0, workers=1)


def test_an_earlier_drawing_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    one = {"train": 1, "val": 0, "test": 0, "size_hw": (64, 64), "workers": 1}
    (tmp_path / "out").mkdir()
    out = write.make(tmp_path / "out", **one)
    before = content(out)
    with pytest.raises(CannotCreateError, match="Pass --overwrite"):
        write.make(out, **one, seed=1)
    assert content(out) == before
    write.make(out, **one, seed=1, overwrite=True)
    assert content(out).keys() == before.keys() and content(out) != before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write.make(tmp_path / "out", train=20, val=0, test=0, size_hw=(64, 64), workers=1, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_raises_storage_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="the disk is full"):
        write.make(tmp_path / "out", train=1, val=0, test=0, size_hw=(64, 64), workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"train": -1}, {"train": 0, "val": 0, "test": 0}, {"size_hw": (30, 400)}]
)
def test_numbers_out_of_range_are_refused_before_anything_is_made(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(UsageError):
        write.make(tmp_path / "out", **wrong)
    assert list(tmp_path.iterdir()) == []
