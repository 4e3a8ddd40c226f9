from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from singleshot.errors import ParityError, UsageError
from singleshot.exporting import parity as exporting_parity
from singleshot.exporting.parity import BOUNDS, Parity, compare, telling_threshold
from singleshot.exporting.program import DetectorProgram, LoopSuppression
from tests.exporting import made


class Answers:
    """A backend that gives the program's answers, changed."""

    def __init__(self, form: str = "both", **change: Any) -> None:
        self.record = made.record()
        self.change = change
        self.program = DetectorProgram(made.network(), LoopSuppression(), form)  # pyright: ignore[reportArgumentType]

    def run(self, images: np.ndarray) -> Mapping[str, Any]:
        with torch.no_grad():
            outputs = self.program(torch.from_numpy(np.ascontiguousarray(images)))
        found = {name: each.numpy() for name, each in zip(self.program.output_names, outputs, strict=True)}
        return found | {name: change(found[name]) for name, change in self.change.items()}


def found(images: list[np.ndarray], precision: Any = "fp32", **change: Any) -> Parity:
    return compare(made.detector(), Answers(**change), Answers(**change), images, precision)


def test_the_same_program_is_within_bounds():
    parity = found(made.pictures(4))
    parity.require()
    assert parity.pictures == 4 and parity.compared > 100 and parity.raw < 1e-4 and parity.agreement > 0.97


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boxes_xyxy": lambda boxes: boxes + 1.0}, "box_px"),
        ({"scores": lambda scores: np.where(scores > 0, scores * 0.9, 0)}, "score"),
        ({"class_ids": lambda ids: (ids + 1) % 3}, "agreement"),
        ({"counts": lambda counts: np.minimum(counts, 3)}, "agreement"),
        ({"class_logits": lambda logits: logits * 1.01}, "raw"),
        ({"box_offsets": lambda offsets: np.full_like(offsets, np.nan)}, "raw inf"),
    ],
)
def test_h1_an_answer_that_differs_is_refused_with_what_differs_and_by_how_much(change: dict, said: str):
    with pytest.raises(ParityError, match=said) as caught:
        found(made.pictures(2), **change).require()
    assert caught.value.exit_code == 70


@pytest.mark.parametrize("name", ["boxes_xyxy", "scores"])
def test_h1_an_answer_that_is_no_number_is_refused_wherever_it_stands(name: str):
    def spoilt(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[0, 3] = np.nan
        return values

    parity = found(made.pictures(2), **{name: spoilt})
    with pytest.raises(ParityError, match="nan above"):
        parity.require()


def test_h1_what_the_loaded_file_says_counts_as_much_as_what_the_graph_says():
    """A graph that is right at a picture's own size and wrong at the input's."""

    class Elsewhere(Answers):
        def run(self, images: np.ndarray) -> Mapping[str, Any]:
            outputs = dict(super().run(images))
            if images.shape[1:3] == made.SIZE_HW:
                outputs["boxes_xyxy"] = outputs["boxes_xyxy"] + 20
            return outputs

    parity = compare(made.detector(), Elsewhere(), Answers(), made.pictures(2), "fp32")  # none is of the input's size
    assert parity.box_px < 0.5 and parity.agreement < 0.6
    assert parity.failures() and "agreement" in parity.failures()[0]


def test_h1_nothing_compared_is_nothing_proven():
    with pytest.raises(UsageError, match=r"nothing is detected in the 1 pictures.*--check-pictures"):
        Parity(1, 0, 0.0, 0.0, 0.0, 1.0, BOUNDS["fp32"]).require()


def test_a_telling_threshold_lets_the_best_scores_pass():
    quiet, images = made.detector().with_postprocess(score_threshold=1.0), made.pictures(2)
    assert all(len(each) == 0 for each in quiet.predict(images, threshold=0.0))
    threshold = telling_threshold(quiet, images)
    told = quiet.with_postprocess(score_threshold=threshold, nms_iou=1.0)
    assert sum(len(each) for each in told.predict(images, threshold=0.0)) >= 50
    assert telling_threshold(quiet, []) == 0.0


def _large(count: int) -> list[np.ndarray]:
    return [np.kron(image, np.ones((4, 4, 1), np.uint8)) for image in made.pictures(count)]


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_one_unsure_detection_of_a_thousand_may_be_off_in_int8_alone(precision: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporting_parity, "SURE", 1.1)  # none of them is

    def one_off(boxes: np.ndarray) -> np.ndarray:
        calls.append(len(boxes))
        if len(calls) == 2:  # the first is the probe's
            boxes = boxes.copy()
            boxes[0, 0] = 0.0
        return boxes

    calls: list[int] = []
    parity = found(_large(8), precision, boxes_xyxy=one_off)
    assert parity.compared > 200
    assert any("box_px" in each for each in parity.failures()) == (precision != "int8")
    assert parity.let_pass == (int(parity.compared * 0.01) if precision == "int8" else 0)
    assert ("but for" in str(parity)) == (precision == "int8")


def test_a_sure_detection_is_off_in_no_precision():
    def best_off(boxes: np.ndarray) -> np.ndarray:
        boxes = boxes.copy()
        boxes[0, 0] = 0.0
        return boxes

    with pytest.raises(ParityError, match="box_px"):
        found(_large(4), "int8", boxes_xyxy=best_off).require()


def test_int8_that_is_broken_throughout_is_refused():
    with pytest.raises(ParityError, match="box_px"):
        found(_large(2), "int8", boxes_xyxy=lambda boxes: boxes * 0.0).require()


def test_no_number_is_out_of_bounds():
    nan = float("nan")
    assert len(Parity(1, 1, nan, nan, nan, nan, BOUNDS["fp32"]).failures()) == 4
    assert Parity(1, 0, 0.0, 0.0, 0.0, 1.0, BOUNDS["fp32"]).failures() == []


def test_images_without_detections_agree():
    quiet = made.Detector(made.network()).with_postprocess(score_threshold=1.0)
    parity = compare(quiet, Answers(counts=lambda counts: counts * 0), Answers(), made.pictures(1), "fp32")
    assert (parity.compared, parity.agreement, parity.box_px) == (0, 1.0, 0.0)


def test_the_report_has_a_line_for_each_figure_with_its_bound():
    text = str(found(made.pictures(1)))
    assert text.count("\n") == 4 and "0.5" in text and "pixels" in text


def test_bounds_grow_as_precision_falls():
    order = [BOUNDS[name] for name in ("fp32", "fp16", "bf16", "int8")]
    assert order == sorted(order, key=lambda bounds: (bounds.raw, bounds.box_px, bounds.score, -bounds.agreement))
    assert (BOUNDS["fp32"].raw, BOUNDS["fp32"].box_px, BOUNDS["fp32"].score) == (1e-3, 0.5, 1e-2)
