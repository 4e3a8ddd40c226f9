from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from singleshot.benchmark import workloads
from singleshot.benchmark.workloads import CITYSCAPES_CLASSES, WORKLOADS, Workload
from singleshot.data import divide, split_file
from singleshot.detection.ssd import MODELS as DETECTORS
from singleshot.errors import InputMissingError, StorageError
from singleshot.segmentation.fcn import MODELS as SEGMENTERS
from singleshot.streets.write import make
from tests.data.exports import labelimg


def test_the_counts_are_those_of_the_2017_post() -> None:
    sizes = {name: (each.train_images, each.val_images, each.batch_size) for name, each in WORKLOADS.items()}
    assert sizes == {
        "vgg300": (26411, 677, 8),
        "vgg512": (26411, 677, 8),
        "kitti": (261, 28, 20),
        "cityscapes": (2975, 500, 20),
    }
    assert WORKLOADS["vgg300"].train_images + WORKLOADS["vgg300"].val_images == 27088
    assert WORKLOADS["vgg300"].train_images // 8 == 3301  # the 3302nd of the post is not full; ours is left out


def test_cityscapes_has_the_29_classes_of_distinct_colours() -> None:
    assert len(CITYSCAPES_CLASSES) == len(set(CITYSCAPES_CLASSES)) == 29
    assert CITYSCAPES_CLASSES[0] == "unlabeled" and "polegroup" not in CITYSCAPES_CLASSES


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_recipe_has_the_workloads_sizes_and_random_weights(name: str) -> None:
    workload = WORKLOADS[name]
    recipe = workload.recipe("fp32", 3)
    assert (recipe.model, recipe.batch_size, recipe.input_size_hw) == (
        workload.model,
        workload.batch_size,
        workload.input_size_hw,
    )
    assert recipe.weights is None and recipe.workers == 3 and recipe.precision == "fp32"
    assert workload.model in (SEGMENTERS if workload.is_segmentation else DETECTORS)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path / "cache"))


def test_an_epoch_has_its_count_and_every_image_its_size(tiny: Workload) -> None:
    found = workloads.sample_data(tiny)
    assert len(found.train) == 40 and found.val is not None and len(found.val) == 6
    assert len({sample.image_id for sample in found.train.samples}) == 40
    assert len({sample.image_path for sample in found.train.samples}) == 6
    first = found.train.samples[0].image_path
    assert first.suffix == ".jpg" and cv2.imread(str(first)).shape == (96, 128, 3)
    assert found.train.label_map.names == tiny.class_names


def test_scenes_are_written_once_into_the_cache(
    tiny: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = workloads.sample_data(tiny)
    monkeypatch.setattr(workloads, "sample_scenes", lambda: pytest.fail("written a second time"))
    assert workloads.sample_data(tiny).train.root == first.train.root
    assert first.train.root.is_relative_to(tmp_path / "cache")
    assert not list(first.train.root.parent.glob(".*"))  # nothing unfinished is left


def test_two_runs_that_write_at_once_leave_one_complete_set(tiny: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run ends while this one writes; its files, from which it may be reading by now, stay in place."""
    kept = workloads.sample_data(tiny).train.root
    number = kept.stat().st_ino
    workloads.write_scenes(kept, tiny.image_size_hw, tiny.file_format)
    assert kept.stat().st_ino == number and (kept / workloads.INDEX).is_file()
    (kept / workloads.INDEX).unlink()  # nobody reads from an incomplete set
    workloads.write_scenes(kept, tiny.image_size_hw, tiny.file_format)
    assert (kept / workloads.INDEX).is_file() and not list(kept.parent.glob(".*"))

    def fail(_self: Path, _target: Path) -> None:
        raise OSError("no")

    (kept / workloads.INDEX).unlink()
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(StorageError):
        workloads.write_scenes(kept, tiny.image_size_hw, tiny.file_format)


def test_coco_splits_are_found_by_name_and_year(tiny: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    read_splits: list[str] = []
    found = workloads.sample_data(tiny)

    def read(_root: Path, split: str, **_more: object) -> object:
        read_splits.append(split)
        return found.train

    monkeypatch.setattr("singleshot.data.read.splits", lambda *_a, **_b: ["test2017", "train2017", "val2017"])
    monkeypatch.setattr("singleshot.data.read.read", read)
    workloads.user_data(tiny, Path("coco"))
    assert read_splits == ["train2017", "val2017"]


def test_mask_values_become_the_workloads_classes(tiny_pixels: Workload) -> None:
    found = workloads.sample_data(tiny_pixels)
    code = found.train.mask_code
    assert code is not None and code.values[:4] == (0, 0, 0, 1)  # other, sky, building, road
    assert found.train.samples[0].mask_path is not None


def test_user_data_keeps_its_own_count(tiny: Workload, tmp_path: Path) -> None:
    root = make(tmp_path / "streets", train=3, val=2, test=0, size_hw=(64, 96), workers=1)
    found = workloads.user_data(tiny, root)
    assert len(found.train) == 3 and found.val is not None and len(found.val) == 2
    assert found.source == "streets: 3 images of train"


def test_a_file_of_splits_is_in_for_the_folders_own(tiny: Workload, tmp_path: Path) -> None:
    root = make(tmp_path / "streets", train=6, val=2, test=1, size_hw=(64, 96), workers=1)
    divided = divide.divide(root, val=0.25, by="random").splits
    divided.write(tmp_path / "split.json")
    found = workloads.user_data(tiny, root, tmp_path / "split.json")
    assert (len(found.train), len(found.val or ())) == (6, 2)
    assert [split_file.key(sample.image_path, root) for sample in found.train.samples] == list(divided.splits["train"])


def test_a_folder_without_splits_is_measured_as_a_whole(tiny: Workload, tmp_path: Path) -> None:
    labelimg(tmp_path)
    assert len(workloads.user_data(tiny, tmp_path).train) == 3


def test_data_without_a_training_split_is_refused(tiny: Workload, tmp_path: Path) -> None:
    root = make(tmp_path / "streets", train=0, val=0, test=1, size_hw=(64, 96), workers=1)
    for name in ("train", "val", "trainval"):
        (root / f"ImageSets/Main/{name}.txt").unlink()
    with pytest.raises(InputMissingError, match="no split train or trainval"):
        workloads.user_data(tiny, root)
