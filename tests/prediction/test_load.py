from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import singleshot
from singleshot import weights
from singleshot.detection.ssd import SSD
from singleshot.detection.ssd import config_for as detector_config
from singleshot.errors import DataError
from singleshot.prediction.load import load, load_detector, load_segmenter
from singleshot.segmentation.fcn import FCN, config_for


@pytest.fixture
def segmenter_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    weights.save(tmp_path / "s.safetensors", FCN(config_for("fcn8s-fine", ["a", "b"], (32, 32))), {"made_by": "test"})
    return tmp_path / "s.safetensors"


@pytest.fixture
def detector_file(tmp_path: Path) -> Path:
    weights.save(tmp_path / "d.safetensors", SSD(detector_config("lite320-fine", ["a"], (64, 64))), {})
    return tmp_path / "d.safetensors"


def test_a_file_opens_as_what_it_is(segmenter_file: Path, detector_file: Path) -> None:
    segmenter, detector = singleshot.load(segmenter_file), singleshot.load(detector_file)
    assert isinstance(segmenter, singleshot.Segmenter) and isinstance(detector, singleshot.Detector)
    assert segmenter.provenance == {"made_by": "test"} and not segmenter.network.training


def test_a_loaded_segmenter_answers_bit_for_bit_as_the_saved_one(segmenter_file: Path) -> None:
    torch.manual_seed(0)
    network = FCN(config_for("fcn8s-fine", ["a", "b"], (32, 32))).eval()
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    first = singleshot.Segmenter(network.to(memory_format=torch.channels_last)).predict(image, probabilities=True)
    second = load_segmenter(segmenter_file, device="cpu").predict(image, probabilities=True)
    assert first.probabilities is not None and second.probabilities is not None
    assert (first.probabilities == second.probabilities).all()


def test_the_other_kind_is_refused_by_name(segmenter_file: Path, detector_file: Path) -> None:
    with pytest.raises(DataError, match="a detector, not a segmenter"):
        load_segmenter(detector_file)
    with pytest.raises(DataError, match="a segmenter, not a detector"):
        load_detector(segmenter_file)


def test_a_damaged_segmenter_is_refused(segmenter_file: Path) -> None:
    data = bytearray(segmenter_file.read_bytes())
    data[-3] ^= 1
    segmenter_file.write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged"):
        load(segmenter_file)
