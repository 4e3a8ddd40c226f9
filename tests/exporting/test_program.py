from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from singleshot.detection.ssd import SSD
from singleshot.exporting.program import DetectorProgram, SegmenterProgram
from singleshot.exporting.suppression import LoopSuppression
from singleshot.prediction.predictor import Detector, Segmenter
from tests.exporting import made


def whole(network: SSD, image: np.ndarray) -> tuple[np.ndarray, ...]:
    with torch.no_grad():
        outputs = DetectorProgram(network, LoopSuppression())(torch.from_numpy(image)[None])
    boxes, scores, class_ids, counts = (each.numpy() for each in outputs)
    count = int(counts[0])
    assert (scores[0, count:] == 0).all() and (boxes[0, count:] == 0).all() and (class_ids[0, count:] == 0).all()
    return boxes[0, :count], scores[0, :count], class_ids[0, :count]


def changed(**limits: object) -> SSD:
    """The test's network with other thresholds."""
    return Detector(made.network()).with_postprocess(**limits).network


@pytest.mark.parametrize("network", [made.network("warp"), changed(clip_before_nms=True), changed(nms_iou=0.2)])
def test_the_graph_finds_what_the_compiled_pass_finds(network: SSD):
    image = made.pictures(3)[2]  # of the input size: no resize between the two
    wanted = Detector(network).predict(image, threshold=0.0)
    boxes, scores, class_ids = whole(network, image)
    assert len(wanted) > 20
    assert np.array_equal(class_ids, wanted.class_ids)
    assert np.allclose(boxes, wanted.boxes_xyxy, atol=1e-3) and np.allclose(scores, wanted.scores, atol=1e-5)


def test_boxes_of_a_letterboxed_picture_are_in_its_own_pixels():
    network = Detector(made.network("letterbox")).with_postprocess(clip_before_nms=True).network
    for image in made.pictures(4):
        wanted = Detector(network).predict(image, threshold=0.05)
        boxes, scores, _ = whole(network, image)
        kept = boxes[scores >= 0.05]
        assert abs(len(kept) - len(wanted)) <= 2
        assert boxes[:, 0].min() >= 0 and boxes[:, 2].max() <= image.shape[1] + 1e-3
        assert boxes[:, 3].max() <= image.shape[0] + 1e-3


def test_nothing_above_the_threshold_is_no_detection():
    boxes, scores, class_ids = whole(changed(score_threshold=1.0), made.pictures(1)[0])
    assert len(boxes) == len(scores) == len(class_ids) == 0


def test_no_more_than_the_limits_are_kept():
    assert len(whole(changed(max_detections=7), made.pictures(1)[0])[0]) == 7
    assert len(whole(changed(candidates_per_class=2), made.pictures(1)[0])[0]) <= 2 * len(made.NAMES)


def test_unnamed_slots_take_part_in_the_softmax_and_are_never_seen():
    config = replace(made.network().config, class_names=("car", "light"), unnamed_slots=(2,))
    network = SSD(config).eval()
    network.load_state_dict(made.network().state_dict())
    image = made.pictures(3)[2]
    wanted = Detector(network).predict(image, threshold=0.0)
    _, scores, class_ids = whole(network, image)
    assert set(class_ids.tolist()) <= {0, 1}
    assert np.allclose(scores, wanted.scores, atol=1e-5)


def test_raw_and_both_name_their_outputs_in_order():
    program = DetectorProgram(made.network(), LoopSuppression(), "both")
    with torch.no_grad():
        outputs = program(torch.from_numpy(made.pictures(1)[0])[None])
    assert len(outputs) == len(program.output_names) == 6
    assert program.output_names[4:] == DetectorProgram(made.network(), LoopSuppression(), "raw").output_names


@pytest.mark.parametrize("fit", ["warp", "letterbox"])
def test_a_segmenters_map_has_the_pictures_size_and_the_segmenters_classes(fit: str):
    network = made.segmenter_network(fit)
    for image in made.pictures(4):
        with torch.no_grad():
            class_ids, logits = SegmenterProgram(network)(torch.from_numpy(image)[None])
        wanted = Segmenter(network).predict(image).class_ids
        assert class_ids.dtype == torch.uint8 and class_ids.shape == (1, *image.shape[:2])
        assert logits.shape == (1, 3, 64, 96)
        assert (class_ids[0].numpy() == wanted).mean() > 0.99
