from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from singleshot.detection.ssd import SSD
from singleshot.errors import DataError
from singleshot.foreign.detectors import detector_of, slots_of
from singleshot.prediction.predictor import Detector
from singleshot.preprocess import normalise
from tests.foreign.made_files import LUFFICC, SSD_PYTORCH, port_state, torchvision_state

FILE = Path("theirs.pth")
TORCHVISION = [
    ("torchvision-ssd300", "torchvision_ssd300_vgg16"),
    ("torchvision-lite320", "torchvision_ssdlite320_mobilenet_v3_large"),
]


def names(count: int) -> list[str]:
    return [f"class {place}" for place in range(count)]


def picture(side: int) -> Tensor:
    """The golden picture, 0…255: not whole numbers, so the network is asked and not the detector."""
    return torch.from_numpy(np.random.RandomState(7).rand(3, side, side).astype(np.float32)) * 255


def ask(network: SSD) -> tuple[Tensor, Tensor]:
    preprocess = network.config.preprocess
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean_rgb, preprocess.std_rgb))
    with torch.inference_mode():
        return network(((picture(preprocess.size_hw[0]) - mean) / std)[None])


@pytest.mark.parametrize(("kind", "golden"), TORCHVISION)
def test_torchvisions_weights_give_its_logits_offsets_and_detections(kind, golden, shared):
    tensors = torchvision_state(shared, golden)
    assert slots_of(tensors, kind, FILE) == 21
    network = detector_of(tensors, kind, names(20), (), FILE)
    expected = np.load(shared / "golden" / f"{golden}.npz")
    raw = ask(network)
    for answer, key in ((raw.class_logits, "full_cls_logits"), (raw.box_offsets, "full_bbox_regression")):
        assert np.abs(answer[0].numpy() - expected[key]).max() <= 1e-4 * np.abs(expected[key]).max()
    side = network.config.input_size_hw[0]
    found = Detector(network).postprocess(raw, [(side, side)])[0]
    assert_matched(found, expected, network.config.postprocess.score_threshold)


def assert_matched(found, expected, threshold: float) -> None:
    """Each of their detections is one of ours: same class, IoU > 0.99, score within 1e-3; and the other way round."""
    theirs = expected["boxes"], expected["scores"], expected["labels"] - 1
    ours = found.boxes_xyxy, found.scores, found.class_ids
    assert len(theirs[0]) > 20
    for (boxes, scores, ids), others in ((theirs, ours), (ours, theirs)):
        last = others[1].min() if len(others[1]) else 1.0
        for box, score, class_id in zip(boxes, scores, ids, strict=True):
            same = (others[2] == class_id) & (np.abs(others[1] - score) < 1e-3)
            if not same_box(box, others[0][same]).any():
                # Only at the very end of the list may one side have kept another: the count or the threshold cut it.
                assert score < max(last, threshold) + 1e-3


def same_box(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU above 0.99. Clipping leaves boxes of no area at the picture's edge: those lie within a tenth of a pixel."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.clip(sides, 0, None).prod(1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - common
    return np.where(union > 0, common > 0.99 * union, np.abs(boxes - box).max(1, initial=0) < 0.1)


@pytest.mark.parametrize(("kind", "golden"), TORCHVISION)
@pytest.mark.parametrize("slots", [91, 3])
def test_other_seeds_and_class_counts_keep_every_tensor(kind, golden, slots, shared):
    tensors = torchvision_state(shared, golden, slots=slots, seed="another")
    assert slots_of(tensors, kind, FILE) == slots
    state = detector_of(tensors, kind, names(slots - 1), (), FILE).state_dict()
    assert len(state) == len(tensors)
    # The order of both is the order of the layers, so the tables of names can be checked without them.
    for ours, theirs in zip(state.values(), tensors.values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("kind", "layout", "side", "candidates", "kept"),
    [("ssd.pytorch", SSD_PYTORCH, 300, 200, 4000), ("lufficc-300", LUFFICC, 300, 8732, 100),
     ("lufficc-512", LUFFICC, 512, 24564, 100)],
)  # fmt: skip
def test_ports_of_ssd_pytorch_map_to_our_layers_boxes_and_thresholds(kind, layout, side, candidates, kept):
    tensors = port_state(layout, side)
    assert slots_of(tensors, kind, FILE) == 21
    network = detector_of(tensors, kind, names(20), (), FILE)
    state = network.state_dict()
    assert (state["trunk.vgg.conv5_3.bias"] == 28).all() and (state["trunk.vgg.fc7.bias"] == 33).all()
    assert (state["trunk.extras.0.reduce.bias"] == 100).all() and (state["trunk.extras.3.widen.bias"] == 107).all()
    assert (state["class_heads.5.bias"] == 205).all() and (state["box_heads.0.bias"] == 200).all()
    assert (state["trunk.conv4_3_norm.scale"] == 20).all()
    config = network.config
    assert config.clip_anchors == "all" and config.input_size_hw == (side, side)
    assert config.preprocess.mean_rgb == (123.0, 117.0, 104.0) and config.preprocess.channel_order == "rgb"
    assert (config.postprocess.candidates_per_class, config.postprocess.max_detections) == (candidates, kept)
    assert not config.postprocess.clip_before_nms
    if side == 512:
        assert config.anchors[-1].max_size == 537.65 and config.anchors[0].min_size == 35.84


def test_images_are_normalised_as_torchvision_does(shared):
    golden = "torchvision_ssdlite320_mobilenet_v3_large"
    network = detector_of(torchvision_state(shared, golden), "torchvision-lite320", names(20), (), FILE)
    white = normalise(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8), network.config.preprocess)
    assert white.flatten().tolist() == [1.0, 1.0, 1.0]
    assert network.config.postprocess.clip_before_nms and network.config.postprocess.nms_iou == 0.55


def test_e4_e5_another_format_or_another_number_of_layers_is_refused(shared):
    tensors = port_state(SSD_PYTORCH, 300)
    with pytest.raises(DataError, match=r"not a detector of torchvision-ssd300: .* is missing"):
        slots_of(tensors, "torchvision-ssd300", FILE)
    with pytest.raises(DataError, match="not the network that was expected"):
        detector_of(port_state(LUFFICC, 300), "lufficc-512", names(20), (), FILE)
    with pytest.raises(DataError, match=r"conf\.0\.bias is \(84,\) and not \(12,\)|conf\.0\.weight is"):
        detector_of(tensors, "ssd.pytorch", names(2), (), FILE)
    del tensors["loc.5.bias"]
    with pytest.raises(DataError, match=r"loc\.5\.bias is missing"):
        detector_of(tensors, "ssd.pytorch", names(20), (), FILE)
    with pytest.raises(DataError, match=r"is \(7,"):
        slots_of({"conf.0.weight": torch.zeros(7, 512, 3, 3)}, "ssd.pytorch", FILE)
