from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from singleshot.benchmark import data
from singleshot.benchmark.workloads import Workload
from singleshot.errors import InputMissingError, StorageError
from singleshot.streets.write import make


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path / "cache"))


def test_an_epoch_has_its_count_and_every_picture_its_size(tiny: Workload) -> None:
    drawn: list[tuple[int, int]] = []
    found = data.drawn(tiny, lambda done, total: drawn.append((done, total)))
    assert drawn[-1] == (6, 6) and len(found.train) == 40 and found.val is not None and len(found.val) == 6
    assert len({sample.image_id for sample in found.train.samples}) == 40
    assert len({sample.image_path for sample in found.train.samples}) == 6
    first = found.train.samples[0].image_path
    assert first.suffix == ".jpg" and cv2.imread(str(first)).shape == (96, 128, 3)
    assert found.train.label_map.names == tiny.class_names


def test_pictures_are_drawn_once_into_the_cache(tiny: Workload, tmp_path: Path) -> None:
    first = data.drawn(tiny)
    again: list[int] = []
    data.drawn(tiny, lambda done, _total: again.append(done))
    assert not again and first.train.root.is_relative_to(tmp_path / "cache")
    assert not list(first.train.root.parent.glob(".*"))  # nothing half-made is left


def test_two_runs_that_draw_at_once_leave_one_whole_set(tiny: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run ends while this one draws; its pictures, which it may be reading by now, stay where they are."""
    kept = data.drawn(tiny).train.root
    number = kept.stat().st_ino
    data._draw(tiny, kept, None)
    assert kept.stat().st_ino == number and (kept / data.INDEX).is_file()
    (kept / data.INDEX).unlink()  # of a set that is not whole nobody reads
    data._draw(tiny, kept, None)
    assert (kept / data.INDEX).is_file() and not list(kept.parent.glob(".*"))

    def fail(_self: Path, _target: Path) -> None:
        raise OSError("no")

    (kept / data.INDEX).unlink()
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(StorageError):
        data._draw(tiny, kept, None)


def test_coco_names_its_splits_by_year(tiny: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    found = data.drawn(tiny)

    def read(_root: Path, split: str, **_more: object) -> object:
        asked.append(split)
        return found.train

    monkeypatch.setattr("singleshot.data.read.splits", lambda *_a, **_b: ["test2017", "train2017", "val2017"])
    monkeypatch.setattr("singleshot.data.read.read", read)
    data.given(tiny, Path("coco"))
    assert asked == ["train2017", "val2017"]


def test_masks_mean_the_workloads_classes(tiny_pixels: Workload) -> None:
    found = data.drawn(tiny_pixels)
    code = found.train.mask_code
    assert code is not None and code.values[:4] == (0, 0, 0, 1)  # other, sky, building, road
    assert found.train.samples[0].mask_path is not None


def test_the_users_data_keeps_its_own_count(tiny: Workload, tmp_path: Path) -> None:
    root = make(tmp_path / "streets", train=3, val=2, test=0, size_hw=(64, 96), workers=1)
    found = data.given(tiny, root)
    assert len(found.train) == 3 and found.val is not None and len(found.val) == 2
    assert found.source == "streets: 3 pictures of train"


def test_data_without_a_training_split_is_refused_by_name(tiny: Workload, tmp_path: Path) -> None:
    root = make(tmp_path / "streets", train=0, val=0, test=1, size_hw=(64, 96), workers=1)
    for name in ("train", "val", "trainval"):
        (root / f"ImageSets/Main/{name}.txt").unlink()
    with pytest.raises(InputMissingError, match="no split train or trainval"):
        data.given(tiny, root)
