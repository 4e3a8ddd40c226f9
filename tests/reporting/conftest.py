"""A drawn split and detections that are known to be wrong in every way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from singleshot.data.boxes import voc
from singleshot.streets import write
from singleshot.structures import Dataset, Detections


@pytest.fixture(scope="session")
def street_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder with drawn scenes and masks. Tests leave it as it is."""
    out = tmp_path_factory.mktemp("reporting") / "data"
    return write.make(out, train=2, val=2, test=4, size_hw=(150, 200), seed=3, workers=1)


@pytest.fixture(scope="session")
def scenes(street_folder: Path) -> Dataset:
    """Its four test scenes."""
    return voc.read(street_folder, "test")


def found_in(dataset: Dataset) -> list[Detections]:
    """In each image: every object but the first, a duplicate, a wrong class, a poor box, and one on no object."""
    results = []
    names = dataset.label_map.names
    for sample in dataset.samples:
        truths = sample.boxes_xyxy.astype(np.float32)
        shifted = truths[-1:] + np.float32(0.45) * (truths[-1:, [2, 3, 2, 3]] - truths[-1:, [0, 1, 0, 1]])
        rows = [truths[1:], truths[1:2], truths[:1], shifted, np.array([[0, 0, 7, 7]], np.float32)]
        ids = sample.class_ids
        classes = [ids[1:], ids[1:2], (ids[:1] + 1) % len(names), ids[-1:], np.zeros(1, np.int64)]
        boxes, class_ids = np.concatenate(rows), np.concatenate(classes).astype(np.int64)
        scores = np.linspace(0.99, 0.51, len(boxes), dtype=np.float32)
        size_hw = sample.size_hw or (0, 0)
        results.append(Detections(boxes, scores, class_ids, np.array(names, dtype=object)[class_ids], size_hw))
    return results


def nothing_in(dataset: Dataset) -> list[Detections]:
    """No detection in any image."""
    return [result[np.zeros(len(result), np.bool_)] for result in found_in(dataset)]


def renamed(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """The split with other class names."""
    return replace(dataset, label_map=replace(dataset.label_map, names=names))
