from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from singleshot import preprocess
from singleshot.detection.postprocess import nms
from singleshot.detection.ssd import SSD, SSDConfig, config_for
from singleshot.exporting.program import (
    DetectorProgram,
    LoopSuppression,
    OperatorSuppression,
    SegmenterProgram,
    folded,
    frame_of,
    loop,
    normalise,
    positions,
    sample,
    to_input,
)
from singleshot.images import read_image
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.preprocess import Preprocess
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as fcn_config
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


@pytest.mark.parametrize(
    "network",
    [
        made.network("warp"),
        changed(clip_before_nms=True),
        changed(nms_iou=0.2),
        changed(class_agnostic_nms=True),
        changed(class_agnostic_nms=True, max_detections=25),
    ],
)
def test_the_graph_finds_what_the_compiled_pass_finds(network: SSD):
    image = made.pictures(3)[2]  # of the input size: no resize between the two
    wanted = Detector(network).predict(image, threshold=0.0)
    boxes, scores, class_ids = whole(network, image)
    assert len(wanted) > 20
    assert np.array_equal(class_ids, wanted.class_ids)
    assert np.allclose(boxes, wanted.boxes_xyxy, atol=1e-3) and np.allclose(scores, wanted.scores, atol=1e-5)


def test_boxes_of_a_letterboxed_image_are_in_its_own_pixels():
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
def test_a_segmenters_map_has_the_images_size_and_the_segmenters_classes(fit: str):
    network = made.segmenter_network(fit)
    for image in made.pictures(4):
        with torch.no_grad():
            class_ids, logits = SegmenterProgram(network)(torch.from_numpy(image)[None])
        wanted = Segmenter(network).predict(image).class_ids
        assert class_ids.dtype == torch.uint8 and class_ids.shape == (1, *image.shape[:2])
        assert logits.shape == (1, 3, 64, 96)
        assert (class_ids[0].numpy() == wanted).mean() > 0.99


def graph_input(image: np.ndarray, wanted: Preprocess) -> np.ndarray:
    batch = torch.from_numpy(image)[None]
    return to_input(batch, wanted, frame_of(batch, wanted))[0].numpy()


@pytest.mark.parametrize("fit", ["warp", "letterbox"])
@pytest.mark.parametrize("size_hw", [(300, 300), (96, 160), (333, 517)])
def test_the_graph_resizes_as_opencv_does_to_a_level_in_two_thousand_bytes(fit, size_hw, shared):
    wanted = Preprocess(size_hw, fit=fit)
    for name in ("road1.jpg", "chelsea.png", "astronaut.png"):
        image = read_image(shared / "data" / "photos" / name)
        off = np.abs(graph_input(image, wanted) - preprocess.to_input(image, wanted).astype(np.float32))
        assert off.max() <= 1 and (off > 0).mean() < 4e-3


def test_an_image_of_the_input_size_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert np.array_equal(graph_input(image, Preprocess((40, 50))), image)


def test_halving_is_the_mean_of_four_cut_off_as_opencv_rounds():
    image = np.array([[[10], [13]], [[14], [12]]], dtype=np.uint8).repeat(3, axis=2)
    assert graph_input(image, Preprocess((1, 1))).ravel().tolist() == [12, 12, 12]  # 49 / 4 and a half, cut off


@pytest.mark.parametrize("picture_hw", [(1, 1), (1, 999), (375, 1242), (1242, 375), (5, 3), (300, 600), (301, 600)])
def test_the_inner_size_of_a_letterbox_is_the_one_of_preprocess(picture_hw):
    wanted = Preprocess((300, 300), fit="letterbox")
    frame = frame_of(torch.zeros(1, *picture_hw, 3, dtype=torch.uint8), wanted)
    expected = preprocess.inner_size_hw(picture_hw, (300, 300), "letterbox")
    assert (int(frame.inner_height), int(frame.inner_width)) == expected


def test_the_margin_of_a_letterbox_has_the_mean_colour():
    image = np.full((10, 40, 3), 200, dtype=np.uint8)
    seen = graph_input(image, Preprocess((20, 20), mean_rgb=(1.0, 2.0, 3.0), fit="letterbox"))
    assert (seen[:5] == 200).all() and (seen[5:] == [1, 2, 3]).all()


def test_normalising_is_that_of_preprocess_for_both_orders_of_channels():
    images = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    for order in ("rgb", "bgr"):
        wanted = Preprocess((4, 5), (1.0, 2.0, 3.0), (2.0, 4.0, 8.0), order)
        assert torch.allclose(normalise(images.float(), wanted), preprocess.normalise(images, wanted))


def test_enlarging_scores_is_torchs_bilinear_enlargement():
    scores = torch.randn(1, 3, 5, 7)
    size_hw, number = (13, 11), torch.tensor
    rows = sample(scores, 2, positions(13, number(5), number(13)))
    found = sample(rows, 3, positions(11, number(7), number(11)))
    wanted = torch.nn.functional.interpolate(scores, size=size_hw, mode="bilinear", align_corners=False)
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("nms_iou", [0.3, 0.45, 0.7])
def test_the_loop_is_greedy_suppression(nms_iou: float):
    rng = np.random.default_rng(1)
    corner, size = rng.random((4, 200, 2)), rng.random((4, 200, 2)) * 0.4
    boxes = np.concatenate([corner, corner + size], axis=2).astype(np.float32)
    scores = -np.sort(-rng.random((4, 200))).astype(np.float32)
    kept = loop(torch.from_numpy(boxes), torch.from_numpy(scores), nms_iou).numpy()
    for row in range(4):
        assert np.array_equal(np.flatnonzero(kept[row]), np.sort(nms(boxes[row], scores[row], nms_iou)))


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (31, 33), (32, 5), (65, 200), (96, 0)])
def test_the_loop_is_greedy_wherever_a_block_ends(counts: tuple[int, int]):
    rng = np.random.default_rng(2)
    corner, size = rng.random((2, 200, 2)), rng.random((2, 200, 2)) * 0.5
    boxes = np.concatenate([corner, corner + size], axis=2).astype(np.float32)
    scores = -np.sort(-rng.random((2, 200))).astype(np.float32) + 0.01
    for row, count in enumerate(counts):
        scores[row, count:] = 0
    kept = loop(torch.from_numpy(boxes), torch.from_numpy(scores), 0.3).numpy()
    for row, count in enumerate(counts):
        wanted = np.sort(nms(boxes[row, :count], scores[row, :count], 0.3))
        assert np.array_equal(np.flatnonzero(kept[row]), wanted)


def test_a_long_chain_of_overlapping_candidates_is_settled_one_by_one():
    left = torch.arange(100.0) * 0.5  # each overlaps its two neighbours by a third, so every second one stays
    boxes = torch.stack([left, torch.zeros(100), left + 1, torch.ones(100)], dim=1)[None]
    kept = loop(boxes, torch.linspace(1, 0.1, 100)[None], 0.3)
    assert kept[0].tolist() == [index % 2 == 0 for index in range(100)]


def test_an_overlap_of_exactly_the_threshold_is_kept_and_absent_rows_suppress_nothing():
    boxes = torch.tensor([[[0.0, 0, 2, 1], [1.0, 0, 3, 1], [0.0, 0, 2, 1]]])  # the first two share 1 of 3
    assert loop(boxes, torch.tensor([[0.9, 0.8, 0.0]]), 1 / 3).tolist() == [[True, True, False]]
    assert loop(boxes, torch.tensor([[0.9, 0.8, 0.7]]), 0.33).tolist() == [[True, False, False]]
    assert loop(boxes, torch.zeros(1, 3), 0.33).tolist() == [[False, False, False]]


def test_the_greatest_come_first_and_of_equals_the_earlier():
    values = torch.tensor([[0.25, 0.5, 0.0, 0.5, 0.25, 0.5]])
    best, places = LoopSuppression().greatest(values, 4)
    assert best.tolist() == [[0.5, 0.5, 0.5, 0.25]] and places.tolist() == [[1, 3, 5, 0]]
    assert torch.equal(OperatorSuppression().greatest(values, 4)[0], best)


def test_the_operator_run_by_torch_is_the_loop():
    boxes = torch.tensor([[[0.0, 0, 2, 2], [0.0, 0, 2, 1.9], [5.0, 5, 6, 6]]])
    scores = torch.tensor([[0.9, 0.8, 0.7]])
    for way in (LoopSuppression(), OperatorSuppression()):
        assert way.suppress(boxes, scores, 0.45).tolist() == [[pytest.approx(0.9), 0.0, pytest.approx(0.7)]]


def with_statistics(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.randn(layer.num_features) * 0.1
            layer.running_var = torch.rand(layer.num_features) + 0.5
    return module.eval()


@pytest.mark.parametrize("flavour", ["lite320-fine", "lite320"])
def test_a_folded_detector_has_no_normalisation_left_and_answers_the_same(flavour: str):
    config: SSDConfig = config_for(flavour, ("a", "b"), (96, 96))
    plain = with_statistics(SSD(config))
    changed = folded(copy.deepcopy(plain))
    assert not [layer for layer in changed.modules() if isinstance(layer, nn.BatchNorm2d)]
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        for ours, theirs in zip(changed(images), plain(images), strict=True):
            assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_a_folded_segmenter_answers_the_same():
    plain = with_statistics(FCN(fcn_config("fcn8s-fine", ("a", "b"), (32, 64))))
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        assert torch.allclose(folded(copy.deepcopy(plain))(images), plain(images), atol=1e-4)


def test_a_normalisation_behind_something_else_stays():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    assert isinstance(folded(module)[2], nn.BatchNorm2d)  # pyright: ignore[reportIndexIssue]


def test_a_network_alone_takes_rgb_whatever_the_weights_read_and_has_its_weights_in_rows():
    from singleshot.exporting.program import NetworkProgram
    from singleshot.prediction.backends.sidecar import input_of

    plain = copy.deepcopy(made.network()).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    plain.config = replace(plain.config, preprocess=replace(plain.config.preprocess, channel_order="bgr"))
    image = made.pictures(3)[2]
    model = Detector(plain)
    wanted = model.forward(model.preprocess([image]))
    program = NetworkProgram(plain)
    with torch.no_grad():
        found = program(input_of([image], plain.config.preprocess))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)
    assert all(each.is_contiguous() for each in program.parameters()) and not program.training
