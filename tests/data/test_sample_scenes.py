from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np

from singleshot.data.sample_scenes import FOLDER, mask_names, sample_scenes


def test_scenes_have_boxes_and_masks_of_their_images() -> None:
    scenes = sample_scenes()
    assert len({scene.image.shape for scene in scenes}) >= 4 and sum(len(scene.boxes_xyxy) for scene in scenes) >= 10
    for scene in scenes:
        assert scene.image.dtype == np.uint8 and scene.mask.shape == scene.image.shape[:2]
        assert len(scene.boxes_xyxy) == len(scene.class_names)
        assert scene.mask.max() < len(mask_names()) and set(scene.class_names) <= set(mask_names())
        height, width = scene.mask.shape
        for x1, y1, x2, y2 in scene.boxes_xyxy.tolist():
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height


def test_the_files_are_small_and_part_of_the_package() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 200_000
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "data/scenes/*" in project["tool"]["setuptools"]["package-data"]["singleshot"]
