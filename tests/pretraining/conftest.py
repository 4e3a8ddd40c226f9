from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from singleshot.data.sample_scenes import sample_scenes
from singleshot.errors import ConfigError
from singleshot.pretraining.teachers import Teacher, load_teacher


@pytest.fixture(scope="session")
def teacher() -> Teacher:
    """The published teacher; the test is skipped where its package is not installed."""
    try:
        return load_teacher()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 images, half of them in a subfolder: quarters of the package's scenes."""
    root = tmp_path_factory.mktemp("photos")
    (root / "more").mkdir()
    for number, scene in enumerate(sample_scenes()):
        height, width = scene.image.shape[0] // 2, scene.image.shape[1] // 2
        for quarter in range(4):
            top, left = height * (quarter // 2), width * (quarter % 2)
            folder = root if quarter < 2 else root / "more"
            part = scene.image[top : top + height, left : left + width, ::-1]
            cv2.imwrite(str(folder / f"{number}-{quarter}.png"), part)
    return root
