from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import singleshot
from singleshot.errors import UsageError
from singleshot.prediction.backends.pt2 import Pt2Backend
from singleshot.prediction.exported import ExportedDetector, ExportedSegmenter, exported_predictor
from singleshot.preprocess import inner_size_hw
from tests.exporting import made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    return {"onnx": made.write_onnx(folder), "pt2": made.write_pt2(folder), "openvino": made.write_openvino(folder)}


def same(found: singleshot.Detections, wanted: singleshot.Detections) -> None:
    assert found.size_hw == wanted.size_hw and abs(len(found) - len(wanted)) <= 1
    count = min(len(found), len(wanted), 20)
    assert np.allclose(found.scores[:count], wanted.scores[:count], atol=1e-3)
    assert np.allclose(found.boxes_xyxy[0], wanted.boxes_xyxy[0], atol=0.05)
    assert found.class_names[0] == wanted.class_names[0]


@pytest.mark.parametrize("kind", ["onnx", "pt2", "openvino"])
def test_an_export_predicts_what_the_weights_do(files: dict[str, Path], kind: str):
    model = singleshot.load(files[kind])
    assert isinstance(model, ExportedDetector) and isinstance(model, singleshot.Detector)
    assert model.label_map.names == made.NAMES and model.input_size_hw == made.SIZE_HW
    images = made.pictures(4)
    found = model.predict(images, threshold=0.0)
    for one, wanted in zip(found, made.detector().predict(images, threshold=0.0), strict=True):
        same(one, wanted)
    assert len(model.predict(images[0], threshold=1.0)) == 0 and model.predict([]) == []


def test_an_onnx_file_runs_in_openvino_on_demand(files: dict[str, Path]):
    image = made.pictures(1)[0]
    found = singleshot.load(files["onnx"], backend="openvino").predict(image, threshold=0.0)
    same(found, made.detector().predict(image, threshold=0.0))


def test_a_backend_that_cannot_run_a_file_is_refused_with_the_one_that_can(files: dict[str, Path], tmp_path: Path):
    with pytest.raises(UsageError, match="onnx does not run such a file; pt2 does"):
        singleshot.load(files["pt2"], backend="onnx")
    with pytest.raises(UsageError, match="no backend is called 'tensorrt'"):
        singleshot.load(files["onnx"], backend="tensorrt")
    with pytest.raises(UsageError, match="singleshot export --format onnx"):
        singleshot.load(made.write_weights(tmp_path), backend="onnx")


def test_a_whole_detector_keeps_its_raw_answer_and_its_thresholds(files: dict[str, Path]):
    model = singleshot.load(files["onnx"])
    assert isinstance(model, ExportedDetector)
    with pytest.raises(UsageError, match="--raw"):
        model.raw_detections(model.preprocess(made.pictures(1)))
    with pytest.raises(UsageError, match="built in"):
        model.with_postprocess(nms_iou=0.1)


def test_a_letterboxed_detector_that_clips_before_suppression_cuts_at_the_images_edge_as_the_weights_do():
    # What hangs over the picture's edge is cut off there; boxes that differ only beyond it are then suppressed.
    network = made.network("letterbox")
    config = replace(network.config, postprocess=replace(network.config.postprocess, clip_before_nms=True))
    own = made.SSD(config).eval()
    own.load_state_dict(network.state_dict())
    program = made.DetectorProgram(own, made.LoopSuppression())
    record = made.record(of=own)
    model = exported_predictor(Direct(program, record))
    images = [made.pictures(4)[place] for place in (3, 3, 1, 3)]  # wide, wide, high, wide
    sizes_hw = [(image.shape[0], image.shape[1]) for image in images]
    assert len({inner_size_hw(size_hw, made.SIZE_HW, "letterbox") for size_hw in sizes_hw}) == 2
    found, wanted = model.predict(images, threshold=0.0), made.Detector(own).predict(images, threshold=0.0)
    for one, other, (height, width) in zip(found, wanted, sizes_hw, strict=True):
        assert len(one) and abs(len(one) - len(other)) <= 2
        assert (one.boxes_xyxy <= np.array([width, height, width, height]) + 0.01).all()
        assert np.allclose(one.scores[:50], other.scores[:50], atol=1e-4)
        assert np.allclose(one.boxes_xyxy[:50], other.boxes_xyxy[:50], atol=0.05)


class Direct:
    """A backend that runs the program as it is."""

    def __init__(self, program: Any, record: Any) -> None:
        self.program, self.record = program, record

    def run(self, images: np.ndarray) -> dict[str, Any]:
        with made.torch.no_grad():
            outputs = self.program(made.torch.from_numpy(np.ascontiguousarray(images)))
        return {name: each.numpy() for name, each in zip(self.program.output_names, outputs, strict=True)}


def test_a_raw_export_goes_through_the_compiled_pass(tmp_path: Path):
    model = singleshot.load(made.write_onnx(tmp_path, "raw"))
    assert isinstance(model, ExportedDetector)
    image = made.pictures(1)[0]
    same(model.predict(image, threshold=0.0), made.detector().predict(image, threshold=0.0))
    few, wanted = (
        each.with_postprocess(class_agnostic_nms=True, max_detections=5) for each in (model, made.detector())
    )
    same(few.predict(image, threshold=0.0), wanted.predict(image, threshold=0.0))


def test_an_exported_segmenter_segments_with_probabilities_at_the_images_size():
    record = made.record(of=made.segmenter_network())
    model = exported_predictor(Pt2Backend(made.segmenter_program(), record, record.output_names))
    assert isinstance(model, ExportedSegmenter)
    for image in made.pictures(2):
        found, wanted = (each.predict(image, probabilities=True) for each in (model, made.segmenter()))
        assert np.array_equal(found.class_ids, wanted.class_ids)
        assert found.probabilities is not None and np.allclose(found.probabilities, wanted.probabilities, atol=1e-4)
