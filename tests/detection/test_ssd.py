from __future__ import annotations

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from singleshot.detection.coding import RawDetections, fold_unnamed
from singleshot.detection.ssd import MODELS, SSD, SSDConfig, _as_rows, config_for
from singleshot.errors import ConfigError
from singleshot.preprocess import Preprocess

NAMES = ("cat", "dog", "owl")


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(count))


@pytest.mark.parametrize(
    ("flavour", "classes", "count"),
    [
        ("vgg300", 20, 26_285_486),
        ("vgg512", 20, 27_188_676),
        ("vgg300-coco", 80, 34_305_206),
        ("vgg512-coco", 80, 36_038_196),
        ("ssd300-torchvision", 90, 35_641_826),
    ],
)
def test_parameter_counts_are_the_published_ones(flavour, classes, count):
    with torch.device("meta"):
        model = SSD(config_for(flavour, names(classes)))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("flavour", MODELS)
def test_every_model_answers_once_for_every_default_box(flavour):
    with torch.device("meta"), torch.no_grad():
        model = SSD(config_for(flavour, NAMES)).eval()
        raw = model(torch.empty(2, 3, *model.config.input_size_hw))
    count = len(model.anchors_cxcywh)
    assert raw.class_logits.shape == (2, count, 4 if model.config.scores == "softmax" else 3)
    assert raw.box_offsets.shape == (2, count, 4)
    assert model.anchors_cxcywh.device.type == "cpu"


def made_weight(name: str, shape: list[int], head_gain: float) -> torch.Tensor:
    seed = zlib.crc32(name.encode()) & 0xFFFFFFFF
    x = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        x = 1 + 0.1 * np.abs(x)
    elif name.endswith("running_mean"):
        x = 0.1 * x
    elif name.endswith("scale_weight"):
        x = 20 + x
    elif len(shape) == 1:
        x = 0.1 * x + name.endswith("weight")
    else:
        x = x * (head_gain if name.startswith("head.") else 1.4) / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(x.astype(np.float32))


@pytest.mark.parametrize(
    ("flavour", "golden", "head_gain", "grid"),
    [
        ("ssd300-torchvision", "torchvision_ssd300_vgg16", 0.006, (29, 31)),
        ("lite320", "torchvision_ssdlite320_mobilenet_v3_large", 1.0, (29, 31)),
    ],
)
def test_torchvisions_networks_are_answered_by_ours(flavour, golden, head_gain, grid, shared):
    shapes = json.loads((shared / "golden" / f"{golden}_state_dict.json").read_text())
    expected = np.load(shared / "golden" / f"{golden}.npz")
    model = SSD(config_for(flavour, names(20))).eval()
    ours = model.state_dict()
    assert [list(tensor.shape) for tensor in ours.values()] == list(shapes.values())
    pairs = zip(shapes.items(), ours.items(), strict=True)
    model.load_state_dict(
        {
            mine: made_weight(theirs, shape, head_gain) if tensor.is_floating_point() else tensor
            for (theirs, shape), (mine, tensor) in pairs
        }
    )
    side = model.config.input_size_hw[0]
    picture = torch.from_numpy(np.random.RandomState(7).rand(3, side, side).astype(np.float32)) * 255
    mean, std = (
        torch.tensor(values).reshape(3, 1, 1)
        for values in (model.config.preprocess.mean_rgb, model.config.preprocess.std_rgb)
    )
    images = ((picture - mean) / std)[None]
    np.testing.assert_allclose(images[0, :, :: grid[0], :: grid[1]], expected["normalised_input"], atol=1e-4)
    with torch.no_grad():
        raw = model(images)
    for answer, key in ((raw.class_logits, "full_cls_logits"), (raw.box_offsets, "full_bbox_regression")):
        largest = np.abs(expected[key]).max()
        np.testing.assert_allclose(answer[0].numpy(), expected[key], rtol=0, atol=1e-4 * largest)


def fine_model() -> SSD:
    torch.manual_seed(0)
    return SSD(config_for("lite320-fine", NAMES, (128, 192))).eval()


def test_no_images_give_no_answers():
    model = fine_model()
    with torch.no_grad():
        raw = model(torch.zeros(0, 3, 128, 192))
    count = len(model.anchors_cxcywh)
    assert (raw.class_logits.shape, raw.box_offsets.shape) == ((0, count, 4), (0, count, 4))


def test_the_rows_of_an_answer_are_the_rows_of_the_default_boxes():
    model = fine_model()
    with torch.no_grad():
        for heads, width in ((model.class_heads, model.columns), (model.box_heads, 4)):
            for head, row in zip(heads, model.config.anchors, strict=True):
                head.weight.zero_()
                head.bias.copy_(torch.arange(row.anchors_per_cell).repeat_interleave(width))
        raw = model(torch.randn(1, 3, 128, 192))
    shape_of_box = torch.cat(
        [
            torch.arange(row.anchors_per_cell).repeat(row.num_anchors // row.anchors_per_cell)
            for row in model.config.anchors
        ]
    )
    assert torch.equal(raw.class_logits[0], shape_of_box[:, None].expand(-1, 4).float())
    assert torch.equal(raw.box_offsets[0], shape_of_box[:, None].expand(-1, 4).float())


def test_a_cells_answer_belongs_to_the_default_boxes_at_its_place():
    model = fine_model()
    head, row = model.class_heads[0], model.config.anchors[0]
    features = torch.zeros(1, model.trunk.channels[0], *row.size_hw)
    features[0, :, 5, 17] = 1.0  # row 5, column 17
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.weight[:, :, 1, 1] = 1.0  # each cell answers for itself alone
        answer = _as_rows(head(features), model.columns)[0, :, 0]
    spoken = model.anchors_cxcywh[: row.num_anchors][answer > 0]
    assert len(spoken) == row.anchors_per_cell
    torch.testing.assert_close(spoken[:, :2], torch.tensor([[17.5 / 24, 5.5 / 16]]).expand(len(spoken), 2))


def test_the_answer_is_the_same_in_channels_last():
    model, images = fine_model(), torch.randn(2, 3, 128, 192)
    with torch.no_grad():
        plain = model(images)
        last = model.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    for ours, theirs in zip(last, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_answer_is_float32_under_autocast_and_in_training():
    model = fine_model().train()
    with torch.autocast("cpu", torch.bfloat16):
        raw = model(torch.randn(2, 3, 128, 192))
    assert {raw.class_logits.dtype, raw.box_offsets.dtype} == {torch.float32}
    (raw.class_logits.square().mean() + raw.box_offsets.square().mean()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_it_can_be_exported_with_a_free_batch_size():
    model = fine_model()
    batch = torch.export.Dim("batch", min=1, max=16)
    program = torch.export.export(model, (torch.randn(2, 3, 128, 192),), dynamic_shapes=({0: batch},), strict=False)
    images = torch.randn(3, 3, 128, 192)
    with torch.no_grad():
        for ours, theirs in zip(program.module()(images), model(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_default_boxes_are_not_saved_with_the_weights():
    assert "anchors_cxcywh" not in fine_model().state_dict()


def test_batch_normalisation_is_one_field():
    config = replace(config_for("vgg300", NAMES), norm="batch")
    with torch.device("meta"):
        state = SSD(config).state_dict()
    assert "trunk.vgg.norm4_3.running_mean" in state and "trunk.vgg.conv4_3.bias" not in state


@pytest.mark.parametrize("flavour", MODELS)
def test_a_config_survives_json(flavour):
    config = config_for(flavour, NAMES)
    assert SSDConfig.from_json_dict(json.loads(json.dumps(config.to_json_dict()))) == config


def test_a_config_with_an_unknown_or_missing_field_is_refused():
    data = config_for("vgg300", NAMES).to_json_dict()
    with pytest.raises(ConfigError, match="unknown fields: dropout"):
        SSDConfig.from_json_dict(data | {"dropout": 0.5})
    del data["trunk"]
    with pytest.raises(ConfigError, match="missing fields: trunk"):
        SSDConfig.from_json_dict(data)


def test_a_misspelt_model_gets_a_suggestion():
    with pytest.raises(ConfigError, match="Did you mean vgg300"):
        config_for("vgg-300", NAMES)
    with pytest.raises(ConfigError, match="Known ones: vgg300, vgg512"):
        config_for("something else", NAMES)


def test_a_detector_without_classes_is_refused():
    with pytest.raises(ConfigError, match="at least one class"):
        config_for("vgg300", ())


def test_an_input_too_small_for_its_maps_is_refused():
    with pytest.raises(ConfigError, match="64x64 is too small"):
        config_for("vgg300", NAMES, (64, 64))


def test_default_boxes_of_another_input_are_refused():
    config = replace(config_for("lite320-fine", NAMES), preprocess=Preprocess((160, 160)))
    with pytest.raises(ConfigError, match="anchors are for feature maps of 40x40"):
        SSD(config)


def test_a_backbone_with_another_backbones_extra_layers_is_refused():
    with pytest.raises(ConfigError, match="no extra layers called built-in"):
        SSD(replace(config_for("vgg300", NAMES), extras="built-in"))


def test_unnamed_slots_widen_the_logits_and_leave_the_ids_of_classes_alone():
    config = replace(config_for("lite320-fine", NAMES, (128, 192)), unnamed_slots=(2, 5))
    assert (config.columns, config.class_columns) == (6, (1, 3, 4))
    assert SSD(config).columns == 6
    for wrong in ((0,), (6,), (2, 2), (5, 2), (-1,)):
        with pytest.raises(ConfigError, match="unnamed_slots"):
            replace(config, unnamed_slots=wrong)


def test_folding_unnamed_slots_keeps_every_named_probability():
    torch.manual_seed(0)
    raw = RawDetections(torch.randn(2, 7, 6) * 5, torch.randn(2, 7, 4))
    folded = fold_unnamed(raw, (2, 5))
    full = raw.class_logits.softmax(-1)
    torch.testing.assert_close(folded.class_logits.softmax(-1)[..., 1:], full[..., [1, 3, 4]])
    torch.testing.assert_close(folded.class_logits.softmax(-1)[..., 0], full[..., [0, 2, 5]].sum(-1))
    assert fold_unnamed(raw, ()) is raw
    empty = RawDetections(torch.zeros(0, 7, 6), torch.zeros(0, 7, 4))
    assert fold_unnamed(empty, (1,)).class_logits.shape == (0, 7, 5)


def test_frozen_layers_stay_in_evaluation_while_the_rest_trains():
    model = fine_model()
    model.freeze([model.trunk.stem])
    model.train()
    assert not any(layer.training for layer in model.trunk.stem.modules())
    assert model.trunk.stages[0].training and model.training
    assert not any(parameter.requires_grad for parameter in model.trunk.stem.parameters())


def test_fields_that_came_later_are_stored_only_where_they_are_used():
    old = config_for("vgg300", NAMES)
    later = {"scores", "padding", "display_threshold"}
    assert not later & set(old.to_json_dict()) and "shapes" not in old.to_json_dict()["anchors"][0]
    ours = replace(config_for("mobilenetv2-300", NAMES), display_threshold=(0.3, 0.4, 0.5))
    stored = json.loads(json.dumps(ours.to_json_dict()))
    assert later <= set(stored) and len(stored["anchors"][1]["shapes"]) == 6
    assert SSDConfig.from_json_dict(stored) == ours


def test_display_thresholds_are_one_for_all_or_one_for_each_class():
    config = config_for("vgg300", NAMES)
    assert config.display_thresholds == (0.5, 0.5, 0.5)
    assert replace(config, display_threshold=(0.1, 0.2, 0.3)).display_thresholds == (0.1, 0.2, 0.3)
    with pytest.raises(ConfigError, match="2 display thresholds for 3 classes"):
        replace(config, display_threshold=(0.1, 0.2))
    with pytest.raises(ConfigError, match="display_threshold"):
        replace(config, display_threshold=1.5)


def test_a_sigmoid_has_no_background_column_and_starts_at_one_percent_a_class():
    torch.manual_seed(0)
    network = SSD(config_for("mobilenetv2-300", NAMES, (64, 64))).eval()
    assert network.config.class_columns == (0, 1, 2) and network.class_rows == dict(zip(NAMES, range(3), strict=True))
    for head in network.class_heads:
        torch.testing.assert_close(head.get_parameter("bias").sigmoid(), torch.full_like(head.bias, 0.01))
    with pytest.raises(ConfigError, match="no unnamed slots"):
        replace(network.config, unnamed_slots=(1,))
