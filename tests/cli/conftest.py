"""A few drawn scenes and a detector that has learned nothing, for verbs that take weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from singleshot import weights
from singleshot.detection.ssd import SSD, config_for
from singleshot.streets import write


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder with four pictures in split test. Tests leave it as it is."""
    out = tmp_path_factory.mktemp("scenes") / "data"
    return write.make(out, train=2, val=1, test=4, size_hw=(150, 200), seed=3, workers=1)


@pytest.fixture(scope="session")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder of very small images: 5 in train, 1 in val, 1 in test. Tests must not change it."""
    out = tmp_path_factory.mktemp("streets") / "data"
    return write.make(out, train=5, val=1, test=1, size_hw=(90, 120), workers=1, seed=1)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small detector of those scenes' classes. Tests leave them as they are."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    weights.save(path, SSD(config_for("lite320-fine", write.CLASS_NAMES, (64, 96))), {})
    return path
