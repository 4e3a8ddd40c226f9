from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import InputMissingError, StorageError
from singleshot.images import read_image
from singleshot.prediction.annotations import DrawnImages, JsonLines, MaskImages, Sinks, mask_path, targets
from singleshot.prediction.choosing import choice
from singleshot.prediction.frames import ImageError, ImageResult
from singleshot.prediction.predict_files import predict_files
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.prediction.stream import StreamOptions
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as fcn_config
from tests.prediction.videos import make, scene


@pytest.fixture(scope="module")
def model() -> Detector:
    torch.manual_seed(0)
    return Detector(SSD(config_for("lite320-fine", ["car", "bus"], (64, 96))).eval())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images, a file that is none, a video, and half a video."""
    root = tmp_path_factory.mktemp("sources")
    for index in (0, 2):
        cv2.imwrite(str(root / f"{index}.png"), scene(index))
    (root / "1.png").write_bytes(b"<html>")
    make(root / "a.mp4", 3)
    cut = make(root / "b.mkv")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    return root


def test_results_come_in_order_and_errors_at_their_positions(model: Detector, folder: Path) -> None:
    options = StreamOptions(choice(model.label_map, 0.0))
    items = list(predict_files(model, [folder], options))
    images, frames = items[:3], items[3:]
    assert [Path(item.source).name for item in images] == ["0.png", "1.png", "2.png"]
    assert isinstance(images[1], ImageError) and images[1].error.exit_code == 65 and not images[1].of_video
    for item in (images[0], images[2]):
        assert isinstance(item, ImageResult) and item.drawn is None
        expected = model.predict(read_image(Path(item.source)), threshold=0.0)
        assert np.allclose(item.result.scores, expected.scores, atol=1e-4) and len(expected)  # pyright: ignore
    assert [Path(item.source).name for item in frames[:3]] == ["a.mp4"] * 3
    assert len(frames) > 5 and all(isinstance(item, ImageResult) for item in frames[:-1])
    assert isinstance(frames[-1], ImageError) and frames[-1].of_video and "truncated" in str(frames[-1].error)


def test_sources_that_do_not_exist_are_refused_before_anything_is_predicted(model: Detector, tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        next(iter(predict_files(model, [tmp_path / "absent.jpg"])))


def test_sinks_write_every_result_collect_errors_and_mark_files_of_a_damaged_video_as_partial(
    model: Detector, folder: Path, tmp_path: Path
) -> None:
    copies = targets(sorted(folder.glob("*.png")), tmp_path)
    with Sinks([DrawnImages(copies), JsonLines(tmp_path, model.label_map)], {str(folder / "a.mp4"): "film"}) as sinks:
        for item in predict_files(model, [folder], StreamOptions(drawing=True)):
            sinks.append(item)
    assert sinks.exit_code == 65 and len(sinks.errors) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"0.png", "2.png", "detections.partial.jsonl"}
    rows = [json.loads(line) for line in (tmp_path / "detections.partial.jsonl").read_text().splitlines()]
    assert [row.get("frame") for row in rows[:5]] == [None, None, 0, 1, 2]


def test_sinks_close_their_files_as_partial_when_the_work_breaks_off(model: Detector, tmp_path: Path) -> None:
    with pytest.raises(StorageError), Sinks([JsonLines(tmp_path, model.label_map)]) as sinks:
        assert sinks.exit_code == 0
        raise StorageError("the disk is full")
    assert [path.name for path in tmp_path.iterdir()] == ["detections.partial.jsonl"]


def test_masks_of_a_segmenter_lie_beside_the_drawn_copies(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    segmenter = Segmenter(FCN(fcn_config("fcn8s-fine", ["road", "sky"], (32, 48))).eval(), with_probabilities=True)
    copies = targets([folder / "0.png"], tmp_path)
    with Sinks([MaskImages(copies, ["ids", "probability"])]) as sinks:
        for item in predict_files(segmenter, [folder / "0.png"]):
            sinks.append(item)
    (copy,) = copies.values()
    expected = segmenter.predict(folder / "0.png")
    assert np.array_equal(cv2.imread(str(mask_path(copy, "ids")), cv2.IMREAD_UNCHANGED), expected.class_ids)
    assert mask_path(copy, "probability").is_file() and not copy.exists()
