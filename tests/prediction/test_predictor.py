from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from singleshot import weights
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import ConfigError, DataError, InputMissingError, UsageError
from singleshot.prediction.load import load
from singleshot.prediction.predictor import Detector, as_array
from singleshot.structures import Detections


@pytest.fixture(scope="module")
def detector() -> Detector:
    """An untrained one; a threshold near zero lets through what its random weights say."""
    torch.manual_seed(0)
    network = SSD(config_for("lite320-fine", ("car", "bus"), input_size_hw=(96, 128))).eval()
    return Detector(network, {"command": "none"}, bf16=False).with_postprocess(score_threshold=0.0)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = [(60, 90), (96, 128), (131, 77)]
    return [cv2.resize(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), (w, h)) for h, w in sizes]


def same(one: Detections, other: Detections) -> bool:
    return (
        np.array_equal(one.class_ids, other.class_ids)
        and np.allclose(one.boxes_xyxy, other.boxes_xyxy, atol=1e-3)
        and np.allclose(one.scores, other.scores, atol=1e-6)
        and one.size_hw == other.size_hw
    )


def test_a_path_its_text_an_array_and_a_pil_image_give_the_same(detector: Detector, images: list, tmp_path: Path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), cv2.cvtColor(images[0], cv2.COLOR_RGB2BGR))
    wanted = detector.predict(images[0], threshold=0.0)
    assert len(wanted) > 0
    assert wanted.size_hw == (60, 90)
    for source in (path, str(path), Image.fromarray(images[0]), np.asfortranarray(images[0])):
        assert same(detector.predict(source, threshold=0.0), wanted)


def test_a_list_gives_what_its_images_give_one_by_one_in_order(detector: Detector, images: list):
    single = [detector.predict(image, threshold=0.0) for image in images]
    for batch_size in (1, 2, 8):
        found = detector.predict(images, threshold=0.0, batch_size=batch_size)
        assert len(found) == len(images)
        assert all(same(one, other) for one, other in zip(found, single, strict=True))
    assert all(
        same(one, other) for one, other in zip(detector.predict(tuple(images), threshold=0.0), single, strict=True)
    )
    assert [result.size_hw for result in single] == [(60, 90), (96, 128), (131, 77)]


def test_no_images_give_no_results(detector: Detector):
    assert detector.predict([]) == []


def test_an_image_without_detections_gives_empty_columns(detector: Detector, images: list):
    found = detector.predict(images[0], threshold=1.0)
    assert (len(found), found.boxes_xyxy.shape, found.class_names.shape) == (0, (0, 4), (0,))


def test_the_threshold_only_drops(detector: Detector, images: list):
    everything = detector.predict(images[0], threshold=0.0)
    middle = float(np.median(everything.scores))
    kept = detector.predict(images[0], threshold=middle)
    count = int((everything.scores >= middle).sum())
    assert 0 < count < len(everything)
    assert len(kept) == count
    assert same(kept, everything[:count])


def test_a_class_may_have_a_threshold_of_its_own(detector: Detector, images: list):
    everything = detector.predict(images[0], threshold=0.0)
    limit = float(np.median(everything.scores[everything.class_ids == 1]))
    found = detector.predict(images[0], threshold={"": 0.0, "bus": limit})
    kept = (everything.class_ids == 0) | (everything.scores >= np.float32(limit))
    assert len(found) == kept.sum() < len(everything)
    assert [len(each) for each in detector.predict(images[:1], threshold={"car": 1.0, "bus": 1.0})] == [0]
    with pytest.raises(UsageError, match="Did you mean bus"):
        detector.predict(images[0], threshold={"buus": 0.5})
    with pytest.raises(UsageError, match="0 to 1"):
        detector.predict(images[0], threshold=50.0)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_no_images_is_refused(detector: Detector, images: list, batch_size: int):
    with pytest.raises(UsageError, match="batch_size"):
        detector.predict(images, batch_size=batch_size)
    with pytest.raises(UsageError, match="batch_size"):
        next(iter(detector.stream(images, batch_size=batch_size)))


WRONG_TYPES = """
import sys
import numpy as np
import singleshot

image = np.zeros((64, 96, 3), np.uint8)
model = singleshot.load(sys.argv[1])
name = model.label_map.names[0]
calls = {
    "load(None)": lambda: singleshot.load(None),
    "load(bytes)": lambda: singleshot.load(b"best.safetensors"),
    "load(device=0)": lambda: singleshot.load(sys.argv[1], device=0),
    **{f"batch_size={x!r}": lambda x=x: model.predict(image, batch_size=x) for x in (None, 1.5, "4")},
    **{f"stream batch_size={x!r}": lambda x=x: next(model.stream([image], batch_size=x)) for x in (1.5, "4")},
    **{f"threshold={x!r}": lambda x=x: model.predict(image, threshold=x) for x in ("0.5,car=0.3", [0.5], {name: None})},
    "classes of text": lambda: next(model.stream([image], classes=name)),
}
for label, call in calls.items():
    try:
        call()
    except singleshot.SingleshotError as error:
        print(label, "->", error)
"""


def test_arguments_of_a_wrong_type_are_refused_in_one_line(detector: Detector, tmp_path: Path):
    """In a process of its own, without the type checks of these tests."""
    weights.save(tmp_path / "w.safetensors", detector.network, {})
    command = [sys.executable, "-c", WRONG_TYPES, str(tmp_path / "w.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 12 and all(line.endswith(".") for line in lines), lines
    assert any(line.startswith("threshold='0.5,car=0.3'") and "Give a number of 0 to 1" in line for line in lines)
    assert f"Give a list: [{detector.label_map.names[0]!r}]" in lines[-1]


def test_the_default_threshold_is_a_half(detector: Detector, images: list):
    assert (detector.predict(images[0]).scores >= 0.5).all()


def test_results_are_sorted_float32_of_the_detectors_classes(detector: Detector, images: list):
    found = detector.predict(images[2], threshold=0.0)
    assert found.scores.dtype == found.boxes_xyxy.dtype == np.float32
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.class_names) <= {"car", "bus"}


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((3, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
        np.zeros((1, 4, 4, 3), dtype=np.uint8),
    ],
)
def test_what_is_no_image_is_refused_alone_and_in_a_list(detector: Detector, array: object):
    for source in (array, [array]):
        with pytest.raises(UsageError, match="is not an image"):
            detector.predict(source)


@pytest.mark.parametrize("thing", [7, None, b"bytes", {"path": "a.jpg"}])
def test_things_that_are_no_images_are_refused_by_their_type(thing: object):
    # Without the checker of annotations, which is there in tests alone.
    with pytest.raises(UsageError, match=f"{type(thing).__name__} is not an image"):
        inspect.unwrap(as_array)(thing)


def test_files_that_are_missing_or_no_images_are_named(detector: Detector, tmp_path: Path):
    with pytest.raises(InputMissingError, match=r"none\.jpg"):
        detector.predict(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("<html>")
    with pytest.raises(DataError, match=r"text\.jpg"):
        detector.predict([tmp_path / "text.jpg"])


def test_other_forms_of_pil_images_become_rgb():
    for mode, colour in (("L", 7), ("RGBA", (7, 7, 7, 255)), ("1", 0), ("P", 0)):
        array = as_array(Image.new(mode, (5, 4), colour))
        assert array.shape == (4, 5, 3)
        assert array.dtype == np.uint8


def test_other_thresholds_make_another_detector_with_the_same_weights(detector: Detector, images: list):
    few = detector.with_postprocess(max_detections=3)
    assert len(few.predict(images[0], threshold=0.0)) == 3
    assert len(detector.predict(images[0], threshold=0.0)) > 3
    assert same(few.predict(images[0], threshold=0.0), detector.predict(images[0], threshold=0.0)[:3])
    ours, theirs = dict(detector.network.named_parameters()), dict(few.network.named_parameters())
    assert all(ours[name].data_ptr() == theirs[name].data_ptr() for name in ours)
    assert few.provenance == {"command": "none"}


def test_a_setting_that_postprocessing_does_not_have_is_refused(detector: Detector):
    with pytest.raises(TypeError, match="nms_iuo"):
        detector.with_postprocess(nms_iuo=0.5)
    for wrong in ({"max_detections": 1.5}, {"class_agnostic_nms": "yes"}, {"nms_iou": "0.5"}, {"nms_iou": None}):
        with pytest.raises(ConfigError, match=rf"postprocess\.{next(iter(wrong))}"):
            detector.with_postprocess(**wrong)
    assert detector.with_postprocess(max_detections=np.int64(3)).network.config.postprocess.max_detections == 3


def test_a_saved_detector_is_loaded_with_names_and_answers_the_same(detector: Detector, images: list, tmp_path: Path):
    weights.save(tmp_path / "w.safetensors", detector.network, {"score": 0.5})
    loaded = load(str(tmp_path / "w.safetensors"), device="cpu", bf16=False)
    assert isinstance(loaded, Detector)
    assert loaded.label_map.names == ("car", "bus")
    assert loaded.input_size_hw == (96, 128)
    assert loaded.provenance == {"score": 0.5}
    wanted = detector.predict(images[0], threshold=0.0)
    found = loaded.predict(images[0], threshold=0.0)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)


FORKS = """
import faulthandler, multiprocessing, sys
import numpy as np, torch
from singleshot.prediction.load import load

torch.set_num_threads(2)
detector = load(sys.argv[1], device="cpu", bf16=False)
images = list(np.load(sys.argv[2]).values())
expected = detector.predict(images, threshold=0.0)

def predict():
    faulthandler.dump_traceback_later(90, exit=True)  # says where it hangs
    answers = detector.predict(images, threshold=0.0)
    faulthandler.cancel_dump_traceback_later()
    return answers

with multiprocessing.get_context("fork").Pool(1) as pool:
    answers = pool.apply_async(predict).get(timeout=100)
for answer, wanted in zip(answers, expected, strict=True):
    assert len(wanted) and np.array_equal(answer.class_ids, wanted.class_ids)
    np.testing.assert_allclose(answer.boxes_xyxy, wanted.boxes_xyxy, atol=1e-3)
    np.testing.assert_allclose(answer.scores, wanted.scores, atol=1e-6)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_process_forked_after_a_prediction_answers_too(detector: Detector, images: list, tmp_path: Path) -> None:
    # In an interpreter of its own: other tests' threads may hold locks here, which a forked process never gets.
    weights.save(tmp_path / "w.safetensors", detector.network, {})
    np.savez(tmp_path / "images.npz", *images)
    command = [sys.executable, "-c", FORKS, str(tmp_path / "w.safetensors"), str(tmp_path / "images.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
