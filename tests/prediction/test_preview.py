from __future__ import annotations

import copy
import gc
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from singleshot.detection.ssd import SSD, config_for
from singleshot.drawing import caption, draw
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.prediction.preview import GROUND, LONGEST_PX, Preview, as_png
from singleshot.segmentation import fcn
from singleshot.structures import Detections

STRIP = caption("any", 9).shape[0]
NO_NAMES = np.empty(0, dtype=object)


def pixels_of(png: bytes | None) -> np.ndarray:
    assert png is not None
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def detector() -> Detector:
    """An untrained one; a threshold near zero lets through what its random weights say."""
    torch.manual_seed(0)
    network = SSD(config_for("lite320-fine", ("car", "bus"), input_size_hw=(96, 128))).eval()
    return Detector(network).with_postprocess(score_threshold=0.0, max_detections=3)


def test_a_notebook_shows_the_image_with_the_detections_however_it_was_given(
    detector: Detector, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    pil = Image.fromarray(image)
    results = [detector.predict(source, threshold=0.0) for source in ("a.png", Path("a.png"), image, pil)]
    monkeypatch.chdir("/")  # a relative path is one of the folder in which it was given
    results += detector.predict([image, pil], threshold=0.0)
    for result in results:
        assert len(result) == 3
        assert np.array_equal(pixels_of(result._repr_png_()), draw(image, result))


def test_what_is_chosen_of_a_result_is_shown_alone(detector: Detector, image: np.ndarray) -> None:
    result = detector.predict(image, threshold=0.0)
    for part in (result[0], result[1:], result.above(float(result.scores[1]))):
        assert np.array_equal(pixels_of(part._repr_png_()), draw(image, part))


def test_a_result_without_detections_is_its_image_and_says_so(detector: Detector, image: np.ndarray) -> None:
    shown = pixels_of(detector.predict(image, threshold=1.0)._repr_png_())
    assert np.array_equal(shown[STRIP:], image) and np.array_equal(shown[:STRIP], caption("nothing detected", 90))


def test_a_segmentation_is_shown_as_it_is_drawn(image: np.ndarray) -> None:
    torch.manual_seed(0)
    segmenter = Segmenter(fcn.FCN(fcn.config_for("fcn8s-lite", ("road", "car"), (64, 96))).eval())
    result = segmenter.predict(image)
    assert np.array_equal(pixels_of(result._repr_png_()), draw(image, result))
    assert result.preview is not None and segmenter.predict(image, probabilities=True).preview is not None


def test_a_result_keeps_no_image_and_says_when_it_is_gone(detector: Detector, image: np.ndarray) -> None:
    own = image.copy()
    result = detector.predict(own, threshold=0.0)
    del own
    gc.collect()
    shown = pixels_of(result._repr_png_())
    ground = np.full((60, 90, 3), GROUND, np.uint8)
    assert np.array_equal(shown[STRIP:], draw(ground, result))
    assert np.array_equal(shown[:STRIP], caption("the image is no longer there, or has changed", 90))


def test_a_file_that_is_gone_damaged_or_of_another_size_is_not_drawn_on(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for spoil in (path.unlink, lambda: path.write_bytes(b"no image"), lambda: cv2.imwrite(str(path), np.zeros((9, 9)))):
        cv2.imwrite(str(path), np.zeros((60, 90, 3)))
        result = detector.predict(path, threshold=0.0)
        spoil()
        assert (pixels_of(result._repr_png_())[STRIP:] == GROUND).any()


def test_copies_of_a_result_keep_a_file_and_lose_an_array(
    detector: Detector, image: np.ndarray, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    of_file, of_array = detector.predict(tmp_path / "a.png"), detector.predict(image)
    for copied in (pickle.loads(pickle.dumps(of_file)), copy.deepcopy(of_file)):
        assert copied._repr_png_() == of_file._repr_png_()
    for copied in (pickle.loads(pickle.dumps(of_array)), copy.deepcopy(of_array)):
        assert pixels_of(copied._repr_png_())[STRIP:].min() >= 0 and copied.preview == Preview(None)


def test_a_result_of_no_known_image_is_shown_as_text(detector: Detector, image: np.ndarray) -> None:
    result = replace(detector.predict(image), preview=None)
    assert result._repr_png_() is None and repr(result).startswith("Detections(")
    none = np.empty(0, np.float32)
    assert Detections(none.reshape(0, 4), none, none.astype(np.int64), NO_NAMES, (6, 9))._repr_png_() is None


def test_a_frame_of_a_stream_shows_itself_for_as_long_as_it_is_kept(detector: Detector, image: np.ndarray) -> None:
    (frame,) = detector.stream([image], threshold=0.0)
    assert np.array_equal(pixels_of(frame._repr_png_()), draw(image, frame.result))


def test_a_large_image_is_reduced_and_a_small_one_is_not() -> None:
    assert pixels_of(as_png(np.zeros((1500, 3000, 3), np.uint8))).shape == (LONGEST_PX // 2, LONGEST_PX, 3)
    assert pixels_of(as_png(np.zeros((1, 5000, 3), np.uint8))).shape == (1, LONGEST_PX, 3)
    assert pixels_of(as_png(np.zeros((6, 9, 3), np.uint8))).shape == (6, 9, 3)
