from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import DataError, UsageError
from singleshot.prediction.choosing import choice
from singleshot.prediction.frames import Frame, Seen, Unreadable
from singleshot.prediction.predictor import Detector
from singleshot.prediction.stages import Pipeline
from singleshot.prediction.streaming import Work, chunked, crew, run
from singleshot.prediction.tiles import Tiling
from singleshot.structures import Detections
from tests.prediction.videos import SIZE_HW, make, scene


@pytest.fixture(scope="module")
def model() -> Detector:
    torch.manual_seed(0)
    return Detector(SSD(config_for("lite320-fine", ["car", "bus"], (64, 96))).eval())


def test_a_video_gives_what_predict_gives_frame_by_frame(model: Detector, tmp_path: Path) -> None:
    frames = list(model.stream(make(tmp_path / "a.mp4", 9), threshold=0.0))
    assert [seen.frame.index for seen in frames] == list(range(9))
    for seen in frames:
        expected = model.predict(seen.frame.image, threshold=0.0)
        assert isinstance(seen.result, Detections) and len(seen.result) == len(expected) > 0
        np.testing.assert_allclose(seen.result.scores, expected.scores, atol=1e-4)
        # Pictures that go through the network together differ in the last bits, so near-equal scores may change places.
        away = np.abs(seen.result.boxes_xyxy[:, None] - expected.boxes_xyxy[None]).max(axis=2)
        assert away.min(axis=1).max() < 1e-2 and away.min(axis=0).max() < 1e-2


def test_an_exported_detector_is_asked_as_a_whole(model: Detector) -> None:
    class Exported(Detector):
        backend = "a program that takes pictures of the input size"

        def raw(self, images: torch.Tensor) -> None:
            raise AssertionError("a whole detector gives no raw answer")

        def see(self, images: torch.Tensor, sizes_hw: list[tuple[int, int]]) -> list[Detections]:
            assert images.shape[1:] == (64, 96, 3)
            return [model.predict(scene(0), threshold=0.0) for _ in sizes_hw]

    seen = list(Exported(model.network).stream([scene(0), scene(1)], threshold=0.0))
    assert len(seen) == 2 and all(isinstance(each.result, Detections) and len(each.result) for each in seen)


def test_arrays_folders_and_lists_are_sources_too(model: Detector, tmp_path: Path) -> None:
    images = (scene(index) for index in range(5))
    assert [seen.frame.source for seen in model.stream(images)] == [f"array {index}" for index in range(5)]
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(tmp_path / name), scene(0))
    assert [Path(seen.frame.source).name for seen in model.stream(tmp_path)] == ["1.png", "2.png"]
    assert len(list(model.stream([tmp_path / "2.png"], drawing=True))) == 1
    assert list(model.stream([])) == []
    for nonsense in (None, True, [scene(0), "a.jpg"]):
        with pytest.raises(UsageError):
            list(model.stream(nonsense))


def test_a_damaged_video_ends_with_its_fault_after_the_last_readable_frame(model: Detector, tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seen = []
    with pytest.raises(DataError, match="truncated"):
        for each in model.stream(path):
            seen.append(each)
    assert len(seen) >= 5


def test_tracks_tiles_and_drawing_go_through_the_same_stages(model: Detector, tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", 6)
    options = {"threshold": 0.0, "track": True, "tiling": Tiling((40, 40)), "drawing": True, "classes": ["bus"]}
    for seen in model.stream(path, **options):
        assert isinstance(seen.result, Detections) and seen.result.track_ids is not None
        assert set(seen.result.class_names) <= {"bus"}
        assert seen.drawn is not None and seen.drawn.shape == seen.frame.image.shape


def test_leaving_a_stream_early_gives_pytorch_its_threads_back(model: Detector) -> None:
    before = torch.get_num_threads()
    stream = model.stream(scene(0) for _ in range(1000))
    next(stream)
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert torch.get_num_threads() == before


def test_what_cannot_be_read_keeps_its_place_in_the_stream(model: Detector) -> None:
    bad = Unreadable("b.jpg", DataError("broken"))
    items = [Frame(scene(0), "a.jpg"), bad, Frame(scene(1), "c.jpg"), bad, bad, bad]
    out = list(run(Pipeline(chunked(items, 2), Work(model, choice(model.label_map), drawing=True).stages())))
    assert [isinstance(each, Seen) for each in out] == [True, False, True, False, False, False] and out[1] is bad


def test_large_frames_travel_alone_and_small_ones_together() -> None:
    small, large = Frame(np.zeros((*SIZE_HW, 3), np.uint8), "s"), Frame(np.zeros((2100, 2000, 3), np.uint8), "l")
    assert [len(chunk) for chunk in chunked([small] * 5, 4)] == [4, 1]
    assert [len(chunk) for chunk in chunked([large, large, small], 4)] == [1, 1, 1]
    assert list(chunked([])) == []


def test_a_network_on_a_cpu_gets_a_worker_a_core(model: Detector) -> None:
    workers, threads = crew(model)
    assert 1 <= workers <= 4 and threads is not None and threads >= 1
