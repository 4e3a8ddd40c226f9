"""What `train` says of a folder in each layout before its first step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from singleshot.errors import SingleshotError
from singleshot.training import run
from singleshot.training.loggers import SilentObserver
from singleshot.training.recipe import Recipe, default_recipe
from tests.data.layouts import BOXES, LAYOUTS, Content


class FarEnoughError(Exception):
    """The data was accepted."""


class Warnings(SilentObserver):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise FarEnoughError

    monkeypatch.setattr(run, "new_network", stop)


def recipe_for(layout: str) -> Recipe:
    model = "fcn8s-lite" if LAYOUTS[layout].has_masks else "lite320-fine"
    return replace(default_recipe(model), workers=0, model=model)


def train(layout: str, root: Path, observer: Warnings | None = None) -> None:
    chosen = LAYOUTS[layout]
    run.train(
        root,
        recipe_for(layout),
        out=root.parent / "run",
        train_split="trainval" if layout == "kitti_road" else chosen.split,
        val_split=None,
        data_format=chosen.data_format,
        observer=observer,
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_on_nothing_is_65_before_the_first_step_and_says_where_it_looked(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout].make(tmp_path / "data", Content(objects=False))
    with pytest.raises(SingleshotError) as caught:
        train(layout, tmp_path / "data")
    assert caught.value.exit_code == 65
    assert any(str(tmp_path / "data" / folder) in str(caught.value) for folder in (*LAYOUTS[layout].folders, "train"))
    assert not (tmp_path / "run").exists()


MISNAMED = {
    "yolo": "labels",
    "yolo_classes": "labels",
    "masks": "masks",
    "cityscapes": "gtFine",
    "kitti_road": "training/gt_image_2",
    "voc": "Annotations",
}


@pytest.mark.parametrize("layout", MISNAMED)
def test_a_folder_of_labels_under_another_name_is_no_training_on_background(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout].make(tmp_path / "data", Content())
    folder = tmp_path / "data" / MISNAMED[layout]
    folder.rename(folder.with_name("mine"))
    with pytest.raises(SingleshotError) as caught:
        train(layout, tmp_path / "data")
    assert caught.value.exit_code in (65, 66) and not (tmp_path / "run").exists()
    assert Path(MISNAMED[layout]).name in str(caught.value) or str(tmp_path / "data") in str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_objects_in_any_layout_are_trained_on(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout].make(tmp_path / "data", Content())
    with pytest.raises(FarEnoughError):
        train(layout, tmp_path / "data")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_names_each_image_whose_boxes_exif_may_have_turned(layout: str, tmp_path: Path) -> None:
    images = LAYOUTS[layout].make(tmp_path / "data", Content(3))
    observer = Warnings()
    with pytest.raises(FarEnoughError):
        train(layout, tmp_path / "data", observer)
    (warning,) = [text for text in observer.said if "EXIF" in text]
    assert all(image.stem in warning for image in images)


@pytest.mark.parametrize("layout", [name for name in BOXES if LAYOUTS[name].has_size])
def test_training_refuses_sizes_of_the_unturned_images_and_names_each(layout: str, tmp_path: Path) -> None:
    images = LAYOUTS[layout].make(tmp_path / "data", Content(6))
    with pytest.raises(SingleshotError) as caught:
        train(layout, tmp_path / "data")
    assert caught.value.exit_code == 65
    assert all(image.name in str(caught.value) for image in images), str(caught.value)
