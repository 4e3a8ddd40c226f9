from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import DataError, UsageError
from singleshot.prediction import camera
from singleshot.prediction.choosing import choice
from singleshot.prediction.frames import Frame, ImageError, ImageResult
from singleshot.prediction.predictor import Detector
from singleshot.prediction.stream import StreamOptions, chunks, pipeline, results
from singleshot.prediction.tiles import Tiling
from singleshot.structures import Detections, Inputs
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


def test_a_stream_passes_the_three_steps_of_its_predictor_whatever_its_raw_output_is(model: Detector) -> None:
    class Exported(Detector):
        def forward(self, inputs: Inputs) -> str:
            assert inputs.images.shape[1:] == (64, 96, 3)
            return "finished boxes"

        def postprocess(self, raw: str, sizes_hw: list[tuple[int, int]]) -> list[Detections]:
            assert raw == "finished boxes"
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
    bad = ImageError("b.jpg", DataError("broken"))
    items = [Frame(scene(0), "a.jpg"), bad, Frame(scene(1), "c.jpg"), bad, bad, bad]
    options = StreamOptions(choice(model.label_map), drawing=True, batch_size=2)
    out = list(results(pipeline(model, items, options)))
    assert [isinstance(each, ImageResult) for each in out] == [True, False, True, False, False, False] and out[1] is bad


def test_large_frames_travel_alone_and_small_ones_together() -> None:
    small, large = Frame(np.zeros((*SIZE_HW, 3), np.uint8), "s"), Frame(np.zeros((2100, 2000, 3), np.uint8), "l")
    assert [len(chunk.items) for chunk in chunks([small] * 5, 4)] == [4, 1]
    assert [len(chunk.items) for chunk in chunks([large, large, small], 4)] == [1, 1, 1]
    assert list(chunks([], 4)) == []


def test_a_network_on_a_cpu_gets_a_worker_a_core(model: Detector) -> None:
    workers, threads = model.worker_counts()
    assert 1 <= workers <= 4 and threads is not None and threads >= 1


def test_pil_images_are_frames_like_arrays_with_the_rules_for_files(model: Detector) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    image = Image.fromarray(rgb)
    for source in (image, [image, image], iter([rgb, image])):
        frames = list(model.stream(source, threshold=0.0))
        assert frames and all(np.array_equal(frame.frame.image, rgb) for frame in frames)
    assert list(model.stream([], threshold=0.0)) == []


@pytest.mark.parametrize("source", [object(), [1.5], ["a.jpg", np.zeros((4, 4, 3), np.uint8)], [None, "a.jpg"], {}])
def test_a_mixed_source_or_none_at_all_is_refused_in_one_line_or_is_empty(model: Detector, source: object) -> None:
    if source == {}:
        assert list(model.stream(source)) == []
        return
    with pytest.raises(UsageError, match=r"is not a source|is not an image"):
        list(model.stream(source))


def test_bytes_are_no_source_and_no_numbers_of_cameras(model: Detector) -> None:
    for source in (b"x", bytearray(b"x"), [b"x"]):
        with pytest.raises(UsageError, match=r"bytes.* not a source"):
            list(model.stream(source))


def test_a_cameras_result_is_of_its_newest_frame_when_it_is_asked_for(
    model: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = itertools.count()

    class Capture:
        def isOpened(self) -> bool:  # noqa: N802
            return True

        def read(self) -> tuple[bool, np.ndarray]:
            time.sleep(0.005)
            return True, np.full((64, 96, 3), next(shown) % 256, np.uint8)

        def release(self) -> None:
            pass

    honest = camera.frames
    monkeypatch.setattr(camera, "frames", lambda index: honest(index, open_capture=lambda _index: Capture()))
    results = model.stream(0)
    next(results)
    for _ in range(2):
        time.sleep(0.3)  # whoever takes the results is slow
        before = next(shown)
        assert int(next(results).frame.image[0, 0, 0]) >= before - 5
    results.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_leaving_a_silent_camera_takes_under_a_second(model: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    class Capture:
        first = True

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def read(self) -> tuple[bool, np.ndarray]:
            if not self.first:
                ended.wait(20)
            self.first = False
            return True, np.zeros((64, 96, 3), np.uint8)

        def release(self) -> None:
            pass

    honest = camera.frames
    monkeypatch.setattr(camera, "frames", lambda index: honest(index, open_capture=lambda _index: Capture()))
    results = model.stream(0)
    next(results)
    start = time.monotonic()
    results.close()  # pyright: ignore[reportAttributeAccessIssue]
    ended.set()
    assert time.monotonic() - start < 1
