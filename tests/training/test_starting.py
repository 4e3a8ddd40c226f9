from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from singleshot import weights
from singleshot.backbones.freezing import blocks
from singleshot.backbones.vgg import atrous_vgg16
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import ConfigError, DataError, InputMissingError
from singleshot.preprocess import Preprocess
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as fcn_config
from singleshot.storage import sealed
from singleshot.training.optimizer import OptimizerConfig, build
from singleshot.training.recipe import Recipe
from singleshot.training.starting import flavour_of, start
from singleshot.weights import BackboneConfig

SMALL = (96, 128)
NAMES = ("car", "bus", "cat")


def recipe(path: Path | None, model: str = "lite320-fine", **changes: object) -> Recipe:
    found = Recipe(model=model, weights=None if path is None else str(path))
    return replace(found, **changes)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    network = SSD(config_for("lite320-fine", NAMES, SMALL))
    config = replace(network.config, preprocess=replace(network.config.preprocess, channel_order="bgr"))
    network.config = config
    path = tmp_path_factory.mktemp("start") / "w.safetensors"
    weights.save(path, network, {"made_by": "test", "licence": "none"})
    return path


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen convolutions, as of a network that never had fc6 and fc7."""
    torch.manual_seed(2)
    tensors = {f"trunk.vgg.{name}": tensor for name, tensor in atrous_vgg16().state_dict().items() if "fc" not in name}
    path = tmp_path_factory.mktemp("start") / "t.safetensors"
    config = BackboneConfig("vgg16", Preprocess(mean_rgb=(3.0, 2.0, 1.0), channel_order="bgr"))
    weights.save_backbone(path, config, tensors, {"training_data": "research only"})
    return path


def test_from_nothing_there_is_no_table():
    began = start(recipe(None, input_size_hw=SMALL), NAMES)
    assert began.table == "" and began.provenance is None and began.network.frozen == []


def test_from_a_trunk_the_trunk_is_taken_over_and_the_rest_is_new(trunk: Path):
    began = start(recipe(trunk, "vgg300"), NAMES)
    file = weights.read(trunk)
    state = began.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in file.tensors.items())
    rows = {row.part: (row.loaded, row.new, row.left_out) for row in began.rows}
    assert rows == {"trunk": (26, 4, 0), "extra layers": (0, 17, 0), "class heads": (0, 12, 0), "box heads": (0, 12, 0)}
    assert "new: fc6, fc7" in began.table
    preprocess = began.network.config.preprocess
    assert (preprocess.channel_order, preprocess.mean_rgb) == ("bgr", (3.0, 2.0, 1.0))
    assert began.provenance["training_data"] == "research only" and began.provenance["sha256"] == file.sha256


def test_from_a_detector_the_rows_of_classes_with_the_same_name_are_copied_whatever_their_place(detector: Path):
    began = start(recipe(detector), ("dog", "cat", "car", "owl"))
    source, network = weights.load(detector).network, began.network
    for theirs, ours, row in zip(source.class_heads, network.class_heads, network.config.anchors, strict=True):
        old = theirs.weight.view(row.boxes_per_cell, 4, -1)  # background, car, bus, cat
        new = ours.weight.view(row.boxes_per_cell, 5, -1)  # background, dog, cat, car, owl
        assert torch.equal(new[:, 0], old[:, 0])
        assert torch.equal(new[:, 2], old[:, 3]) and torch.equal(new[:, 3], old[:, 1])
        assert not torch.equal(new[:, 1], old[:, 1]) and not torch.equal(new[:, 1], old[:, 2])
    for theirs, ours in zip(source.box_heads, network.box_heads, strict=True):
        assert torch.equal(theirs.weight, ours.weight)
    classes = began.rows[-1]
    assert (classes.part, classes.loaded, classes.new, classes.left_out) == ("classes", 2, 2, 1)
    assert "known: cat, car" in began.table
    assert network.config.preprocess.channel_order == "bgr" and network.config.input_size_hw == SMALL


def test_the_same_classes_give_the_same_network_and_another_size_keeps_the_weights(detector: Path):
    same = start(recipe(detector), NAMES).network
    source = weights.load(detector).network
    assert same.config == source.config
    images = torch.randn(1, 3, *SMALL)
    with torch.inference_mode():
        assert torch.equal(same.eval()(images).class_logits, source(images).class_logits)
    larger = start(recipe(detector, input_size_hw=(128, 192)), NAMES).network
    assert larger.config.input_size_hw == (128, 192) and len(larger.anchors_cxcywh) > len(source.anchors_cxcywh)
    assert all(torch.equal(a, b) for a, b in zip(larger.parameters(), source.parameters(), strict=True))


def test_separable_heads_and_unnamed_slots_are_followed(tmp_path: Path):
    config = replace(config_for("lite320", ("car", "cat")), unnamed_slots=(2,))
    source = SSD(config)
    weights.save(tmp_path / "w", source, {})
    network = start(recipe(tmp_path / "w", "lite320"), ("cat",)).network
    assert network.config.unnamed_slots == () and network.columns == 2
    old = source.class_heads[0][1].weight.view(6, 4, -1)  # background, car, nothing, cat
    new = network.class_heads[0][1].weight.view(6, 2, -1)
    assert torch.equal(new[:, 1], old[:, 3]) and torch.equal(new[:, 0], old[:, 0])
    assert torch.equal(network.class_heads[0][0][0].weight, source.class_heads[0][0][0].weight)


def test_another_trunk_is_refused_with_what_to_choose(trunk: Path, detector: Path):
    with pytest.raises(ConfigError, match="Choose a model on vgg16"):
        start(recipe(trunk, "lite320-fine"), NAMES)
    with pytest.raises(ConfigError, match="residual-fine trunk"):
        start(recipe(detector, "lite320"), NAMES)
    with pytest.raises(InputMissingError):
        start(recipe(trunk.parent / "none.safetensors"), NAMES)


def test_the_flavour_is_known_from_the_record_alone(trunk: Path, detector: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sealed, "digest_of", None)  # nothing is hashed for it
    assert flavour_of(trunk) == "vgg300" and flavour_of(detector) == "lite320-fine"
    with pytest.raises(InputMissingError):
        flavour_of(trunk.parent / "none.safetensors")


def test_from_a_segmenter_no_model_is_guessed(tmp_path: Path):
    weights.save(tmp_path / "s", FCN(fcn_config("fcn8s-lite", ("road", "sky"), (64, 96))), {})
    with pytest.raises(DataError, match="Name one by --model"):
        flavour_of(tmp_path / "s")


def test_what_of_the_file_does_not_fit_is_counted_as_left_out(detector: Path):
    first, *others = config_for("lite320-fine", NAMES, SMALL).anchors
    fewer = replace(first, ratios=first.ratios[:-1])  # two boxes a cell less: that map's heads fit no more
    began = start(recipe(detector, anchors=(fewer, *others), input_size_hw=SMALL), NAMES)
    rows = {row.part: row for row in began.rows}
    for part in ("class heads", "box heads"):
        assert rows[part].new == rows[part].left_out > 0, part


def test_frozen_blocks_get_no_gradient_and_keep_their_statistics(detector: Path):
    network = start(recipe(detector, freeze=2), NAMES).network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = build(network, OptimizerConfig(lr=0.1))
    raw = network(torch.randn(2, 3, *SMALL))
    (raw.class_logits.square().mean() + raw.box_offsets.square().mean()).backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not [name for name in changed if name.startswith(("trunk.stem.", "trunk.stages.0."))]
    assert any(name.startswith("trunk.stages.1.") and "running_mean" in name for name in changed)


def test_vggs_blocks_end_at_its_pools(trunk: Path):
    network = start(recipe(trunk, "vgg300", freeze=1), NAMES).network
    names = {layer: name for name, layer in network.trunk.vgg.named_children()}
    found = [[names[layer] for layer in part] for part in blocks(network.trunk)]
    assert found[0] == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"]
    assert found[4][-1] == "pool5" and found[5] == ["fc6", "relu6", "fc7", "relu7"] and len(found) == 6
    still = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[2] for name in still} == {"conv1_1", "conv1_2"}
    with pytest.raises(ConfigError, match="7 blocks are to be frozen and the trunk has 6"):
        start(recipe(trunk, "vgg300", freeze=7), NAMES)


def test_freezing_needs_weights_to_start_from():
    with pytest.raises(ConfigError, match="freeze is 1"):
        Recipe(freeze=1)
