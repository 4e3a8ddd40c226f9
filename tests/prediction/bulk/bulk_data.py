"""Pictures and a detector for the tests of bulk work."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from singleshot import weights
from singleshot.detection.ssd import SSD, config_for
from singleshot.prediction.bulk.shards import Job, make_job

THRESHOLDS = {"": 0.05}


def detector_file(root: Path) -> Path:
    """Untrained weights, which see something everywhere."""
    torch.manual_seed(0)
    file = root / "weights.safetensors"
    network = SSD(config_for("lite320-fine", ("square", "circle"), (64, 96))).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("class_heads") and name.endswith("bias"):
                parameter.normal_(std=2.0)
    weights.save(file, network, {})
    return file


def draw_pictures(root: Path, count: int) -> list[Path]:
    """Pictures of noise in two folders under the same names, one of them cut off."""
    rng = np.random.default_rng(0)
    files = []
    for place in range(count):
        file = root / "ab"[place % 2] / f"{place // 2}.jpg"
        file.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(file), rng.integers(1, 255, (48, 64, 3), dtype=np.uint8))
        files.append(file)
    files[1].write_bytes(files[1].read_bytes()[:300])
    return files


def poison(file: Path) -> None:
    cv2.imwrite(str(file), np.zeros((48, 64, 3), np.uint8))


def small_job(root: Path, files: list[Path]) -> Job:
    return make_job(detector_file(root), files, thresholds=THRESHOLDS, per_shard=2)
