"""A small split of pictures on disk and a detector with random weights, for what judges weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from singleshot.data.boxes import voc
from singleshot.data.boxes.voc_xml import annotation_xml
from singleshot.detection.ssd import SSD, config_for
from singleshot.prediction.predictor import Detector
from singleshot.structures import Dataset, LabelMap

NAMES = LabelMap(("car", "bus"))
IDS = ("c", "a", "b", "e", "d")  # the split's order is its own


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures of different sizes; the first has no object, the second a difficult one too."""
    folder = tmp_path_factory.mktemp("voc")
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for place, name in enumerate(IDS):
        height, width = 60 + 10 * place, 100 - 5 * place
        image = cv2.resize(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), (width, height))
        cv2.imwrite(str(folder / "JPEGImages" / f"{name}.jpg"), image)
        boxes_xyxy = np.array([[5.0, 5.0, 40.0, 50.0], [30.0, 10.0, 60.0, 40.0]])[: min(place, 2)]
        names = ["car", "bus"][: len(boxes_xyxy)]
        text = annotation_xml(
            f"{name}.jpg", (height, width), boxes_xyxy, names, difficult=np.arange(len(names)) == 2 - place
        )
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    (folder / "ImageSets" / "Main" / "test.txt").write_text("".join(f"{name}\n" for name in IDS))
    return folder


@pytest.fixture(scope="module")
def data(root: Path) -> Dataset:
    return voc.read(root, "test", label_map=NAMES)


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    network = SSD(config_for("lite320-fine", NAMES.names, input_size_hw=(96, 128))).eval()
    return Detector(network, bf16=False).with_postprocess(score_threshold=0.0, max_detections=20)
