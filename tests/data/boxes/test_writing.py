from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data.boxes.writing import has_own_areas, items, split_name
from singleshot.errors import DataError, InputMissingError, UsageError
from singleshot.storage.atomic import new_folder
from singleshot.structures import Dataset, LabelMap, Sample


def sample(path: Path, size_hw: tuple[int, int] | None = (30, 40), areas: list[float] | None = None) -> Sample:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))
    rows = np.array([[0.0, 0.0, 10.0, 20.0]])
    return Sample(
        path.stem,
        path,
        size_hw,
        rows,
        np.zeros(1, int),
        np.zeros(1, bool),
        areas=None if areas is None else np.array(areas),
    )


def split(name: str, *samples: Sample) -> Dataset:
    return Dataset(Path("root"), "voc", name, LabelMap(("cat",)), samples)


def test_an_image_of_two_splits_comes_once_into_one_folder_and_twice_into_two(tmp_path: Path) -> None:
    both = sample(tmp_path / "a.png")
    datasets = [split("train", both), split("trainval", sample(tmp_path / "a.png"), sample(tmp_path / "b.png"))]
    assert [item.stem for item in items(datasets, one_folder=True)] == ["a", "b"]
    places = [(item.split, item.stem) for item in items(datasets, one_folder=False)]
    assert places == [("train", "a"), ("trainval", "a"), ("trainval", "b")]


def test_two_images_of_one_name_get_the_names_of_their_folders(tmp_path: Path) -> None:
    datasets = [split("train", sample(tmp_path / "x/a.png")), split("val", sample(tmp_path / "y/a.png"))]
    assert [item.stem for item in items(datasets, one_folder=False)] == ["a", "a"]
    stems = [item.stem for item in items(datasets, one_folder=True)]
    assert len(set(stems)) == 2 and stems[0].endswith("x_a") and stems[1].endswith("y_a")
    with pytest.raises(DataError, match="both be called"):
        list(items([split("train", *datasets[0].samples, sample(tmp_path / "x/a.jpg"))], one_folder=False))


def test_an_annotated_size_that_is_not_the_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="annotated size is 30×40, but the image has 40×30") as raised:
        list(items([split("train", sample(tmp_path / "a.png", (40, 30)))], one_folder=True))
    assert raised.value.kind == "wrong-size"


def test_an_unknown_size_is_read_from_the_image(tmp_path: Path) -> None:
    found = list(items([split("train", sample(tmp_path / "a.png", None))], one_folder=True))
    assert found[0].size_hw == (30, 40)


def test_areas_are_of_masks_where_they_are_not_of_boxes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert not has_own_areas(sample(path)) and not has_own_areas(sample(path, areas=[200.0]))
    assert has_own_areas(sample(path, areas=[150.0]))


@pytest.mark.parametrize("name", ["../train", "", "a/b", "-x", ".hidden", "a\nb"])
def test_a_split_that_cannot_name_a_file_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        split_name(split(name))
    assert split_name(split("train2017")) == "train2017"


def test_an_image_that_cannot_be_read_is_named_and_not_the_output(tmp_path: Path) -> None:
    dataset = split("train", sample(tmp_path / "a.png"))
    (item,) = items([dataset], one_folder=True)
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputMissingError) as raised, new_folder(tmp_path / "out") as folder:
        item.copy_image(folder / "a.png")
    assert raised.value.file == tmp_path / "a.png" and not (tmp_path / "out").exists()
