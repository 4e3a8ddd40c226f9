from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from singleshot import weights
from singleshot.backbones.vgg import atrous_vgg16
from singleshot.data.masks import folders as mask_folders
from singleshot.detection.ssd import SSD, SSDConfig, config_for
from singleshot.errors import ConfigError, DataError, InputMissingError
from singleshot.prediction.load import find_weights
from singleshot.preprocess import Preprocess
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as fcn_config
from singleshot.storage import sealed
from singleshot.structures import Dataset, LabelMap, Sample
from singleshot.training.load_pretrained import Start, load_pretrained, model_of, new_network
from singleshot.training.optimizer import OptimizerConfig, build
from singleshot.training.recipe import Recipe, default_recipe, override
from singleshot.weights import BackboneConfig, SegmenterFile

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
    began = new_network(recipe(None, input_size_hw=SMALL), NAMES)
    assert began.report is None and began.provenance is None and began.network.frozen == []


def test_from_a_backbone_the_backbone_is_taken_over_and_the_rest_is_new(trunk: Path):
    began = new_network(recipe(trunk, "vgg300"), NAMES)
    file = weights.read(trunk)
    state = began.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in file.tensors.items())
    rows = {row.part: (row.loaded, row.new, row.left_out) for row in began.report.rows}
    assert rows == {
        "backbone": (26, 4, 0),
        "extra layers": (0, 17, 0),
        "class heads": (0, 12, 0),
        "box heads": (0, 12, 0),
    }
    assert "new: fc6, fc7" in str(began.report)
    preprocess = began.network.config.preprocess
    assert (preprocess.channel_order, preprocess.mean_rgb) == ("bgr", (3.0, 2.0, 1.0))
    assert began.provenance["training_data"] == "research only" and began.provenance["sha256"] == file.sha256


def test_from_a_detector_the_rows_of_classes_with_the_same_name_are_copied_whatever_their_place(detector: Path):
    began = new_network(recipe(detector), ("dog", "cat", "car", "owl"))
    source, network = weights.load(detector).network, began.network
    for theirs, ours, row in zip(source.class_heads, network.class_heads, network.config.anchors, strict=True):
        old = theirs.weight.view(row.anchors_per_cell, 4, -1)  # background, car, bus, cat
        new = ours.weight.view(row.anchors_per_cell, 5, -1)  # background, dog, cat, car, owl
        assert torch.equal(new[:, 0], old[:, 0])
        assert torch.equal(new[:, 2], old[:, 3]) and torch.equal(new[:, 3], old[:, 1])
        assert not torch.equal(new[:, 1], old[:, 1]) and not torch.equal(new[:, 1], old[:, 2])
    for theirs, ours in zip(source.box_heads, network.box_heads, strict=True):
        assert torch.equal(theirs.weight, ours.weight)
    classes = began.report.rows[-1]
    assert (classes.part, classes.loaded, classes.new, classes.left_out) == ("classes", 2, 2, 1)
    assert "known: cat, car" in str(began.report)
    assert network.config.preprocess.channel_order == "bgr" and network.config.input_size_hw == SMALL


def test_the_same_classes_give_the_same_network_and_another_size_keeps_the_weights(detector: Path):
    same = new_network(recipe(detector), NAMES).network
    source = weights.load(detector).network
    assert same.config == source.config
    images = torch.randn(1, 3, *SMALL)
    with torch.inference_mode():
        assert torch.equal(same.eval()(images).class_logits, source(images).class_logits)
    larger = new_network(recipe(detector, input_size_hw=(128, 192)), NAMES).network
    assert larger.config.input_size_hw == (128, 192) and len(larger.anchors_cxcywh) > len(source.anchors_cxcywh)
    assert all(torch.equal(a, b) for a, b in zip(larger.parameters(), source.parameters(), strict=True))


def test_separable_heads_and_unnamed_slots_are_followed(tmp_path: Path):
    config = replace(config_for("lite320", ("car", "cat")), unnamed_slots=(2,))
    source = SSD(config)
    weights.save(tmp_path / "w", source, {})
    network = new_network(recipe(tmp_path / "w", "lite320"), ("cat",)).network
    assert network.config.unnamed_slots == () and network.columns == 2
    old = source.class_heads[0][1].weight.view(6, 4, -1)  # background, car, nothing, cat
    new = network.class_heads[0][1].weight.view(6, 2, -1)
    assert torch.equal(new[:, 1], old[:, 3]) and torch.equal(new[:, 0], old[:, 0])
    assert torch.equal(network.class_heads[0][0][0].weight, source.class_heads[0][0][0].weight)


def test_another_backbone_is_refused_with_what_to_choose(trunk: Path, detector: Path):
    with pytest.raises(ConfigError, match="Choose a model on vgg16"):
        new_network(recipe(trunk, "lite320-fine"), NAMES)
    with pytest.raises(ConfigError, match="residual-fine backbone"):
        new_network(recipe(detector, "lite320"), NAMES)
    with pytest.raises(InputMissingError):
        new_network(recipe(trunk.parent / "none.safetensors"), NAMES)


def test_the_model_is_known_from_the_record_alone(trunk: Path, detector: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sealed, "digest_of", None)  # nothing is hashed for it
    assert model_of(trunk) == "vgg300" and model_of(detector) == "lite320-fine"
    with pytest.raises(InputMissingError):
        model_of(trunk.parent / "none.safetensors")


def test_from_a_segmenter_no_model_is_guessed(tmp_path: Path):
    weights.save(tmp_path / "s", FCN(fcn_config("fcn8s-lite", ("road", "sky"), (64, 96))), {})
    with pytest.raises(DataError, match="Name one by --model"):
        model_of(tmp_path / "s")


def test_what_of_the_file_does_not_fit_is_counted_as_left_out(detector: Path):
    first, *others = config_for("lite320-fine", NAMES, SMALL).anchors
    fewer = replace(first, ratios=first.ratios[:-1])  # two boxes a cell less: that map's heads fit no more
    began = new_network(recipe(detector, anchors=(fewer, *others), input_size_hw=SMALL), NAMES)
    rows = {row.part: row for row in began.report.rows}
    for part in ("class heads", "box heads"):
        assert rows[part].new == rows[part].left_out > 0, part


def test_frozen_blocks_get_no_gradient_and_keep_their_statistics(detector: Path):
    network = new_network(recipe(detector, freeze=2), NAMES).network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = build(network, OptimizerConfig(lr=0.1))
    raw = network(torch.randn(2, 3, *SMALL))
    (raw.class_logits.square().mean() + raw.box_offsets.square().mean()).backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not [name for name in changed if name.startswith(("trunk.stem.", "trunk.stages.0."))]
    assert any(name.startswith("trunk.stages.1.") and "running_mean" in name for name in changed)


def test_vggs_blocks_end_at_its_pools(trunk: Path):
    network = new_network(recipe(trunk, "vgg300", freeze=1), NAMES).network
    names = {layer: name for name, layer in network.trunk.vgg.named_children()}
    found = [[names[layer] for layer in part] for part in network.backbone.blocks_by_depth()]
    assert found[0] == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"]
    assert found[4][-1] == "pool5" and found[5] == ["fc6", "relu6", "fc7", "relu7"] and len(found) == 6
    still = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[2] for name in still} == {"conv1_1", "conv1_2"}
    with pytest.raises(ConfigError, match="7 blocks are to be frozen and the backbone has 6"):
        new_network(recipe(trunk, "vgg300", freeze=7), NAMES)


def test_freezing_needs_weights_to_start_from():
    with pytest.raises(ConfigError, match="freeze is 1"):
        Recipe(freeze=1)


def small_segmenter(**changes: Any) -> Recipe:
    return Recipe(model="fcn8s-fine", input_size_hw=(48, 64), **changes)


def segmenter_start(recipe: Recipe, split: Dataset) -> Start:
    return new_network(recipe, split.label_map.names, split.colours)


def test_a_segmenter_starts_from_another_one_by_class_name(halves: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = FCN(fcn_config("fcn8s-fine", ["bright", "sky", "dark"], (64, 64)))
    weights.save(tmp_path / "s.safetensors", source, {"data": "other"})
    split = mask_folders.read(halves.root, "train")
    began = segmenter_start(small_segmenter(weights=str(tmp_path / "s.safetensors"), freeze=1), split)
    theirs, ours = source.state_dict(), began.network.state_dict()
    assert torch.equal(ours["trunk.stem.0.0.weight"], theirs["trunk.stem.0.0.weight"])
    assert torch.equal(ours["head.score.weight"], theirs["head.score.weight"][[2, 0]])
    assert began.provenance is not None and began.provenance["data"] == "other"
    rows = {line.split()[0]: line.split()[1:] for line in str(began.report).splitlines()[1:]}
    assert rows["backbone"][1] == "0" and rows["classes"] == ["2", "0", "1", "known:", "dark,", "bright"]
    assert not any(parameter.requires_grad for parameter in began.network.trunk.stem.parameters())
    with pytest.raises(ConfigError, match="blocks are to be frozen"):
        segmenter_start(small_segmenter(weights=str(tmp_path / "s.safetensors"), freeze=99), split)


def test_scores_of_classes_that_the_source_does_not_know_start_new_and_the_table_is_reported(
    halves: Any, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    source = FCN(fcn_config("fcn8s-fine", ["sky", "sea"], (64, 64)))  # as many classes as ours, none of them ours
    weights.save(tmp_path / "s.safetensors", source, {})
    began = segmenter_start(
        small_segmenter(weights=str(tmp_path / "s.safetensors")), mask_folders.read(halves.root, "train")
    )
    assert not torch.equal(began.network.state_dict()["head.score.weight"], source.state_dict()["head.score.weight"])
    rows = {line.split()[0]: line.split()[1:3] for line in str(began.report).splitlines()[1:]}
    assert rows["classes"] == ["0", "2"] and int(rows["scores"][1]) == 2  # its weight and its bias


@pytest.mark.parametrize(("flavour", "width"), [("fcn8s-fine", 32), ("fcn8s-lite", 64)])
def test_features_as_wide_as_there_are_classes_are_taken_over_as_they_are(
    flavour: str, width: int, halves: Any, tmp_path: Path
) -> None:
    names = [f"class {place}" for place in range(width)]
    source = FCN(fcn_config(flavour, names, (64, 64)))
    weights.save(tmp_path / "s.safetensors", source, {})
    split = replace(mask_folders.read(halves.root, "train"), label_map=LabelMap(tuple(reversed(names))), colours=())
    began = segmenter_start(replace(small_segmenter(weights=str(tmp_path / "s.safetensors")), model=flavour), split)
    theirs, ours = source.state_dict(), began.network.state_dict()
    for name in ("head.lateral.0.0.weight", "head.mix.0.0.weight"):
        assert torch.equal(ours[name], theirs[name]), name
    assert torch.equal(ours["head.score.weight"], theirs["head.score.weight"].flip(0))


def test_trained_upsampling_is_taken_over_for_the_same_classes_in_the_same_order_only(tmp_path: Path) -> None:
    with torch.device("meta"):  # 134 million weights, of which the names alone count here
        source = FCN(fcn_config("fcn8s-2017", ["dark", "bright"]))
        file = SegmenterFile(source, {}, "0" * 64)
        taken = [
            str(load_pretrained(FCN(fcn_config("fcn8s-2017", names)), file)).splitlines()[2].split()
            for names in (["dark", "bright"], ["bright", "dark"])
        ]
    assert [row[:3] for row in taken] == [["scores", "9", "0"], ["scores", "6", "3"]]


def test_a_segmenter_starts_from_a_detectors_backbone(halves: Any, tmp_path: Path) -> None:
    source = SSD(config_for("lite320-fine", ["car"], (96, 96)))
    weights.save(tmp_path / "d.safetensors", source, {})
    split = mask_folders.read(halves.root, "train")
    began = segmenter_start(small_segmenter(weights=str(tmp_path / "d.safetensors")), split)
    for name in ("trunk.stem.0.0.weight", "trunk.stages.2.0.first.0.weight", "trunk.lateral.0.0.weight"):
        assert torch.equal(began.network.state_dict()[name], source.state_dict()[name])
    with pytest.raises(ConfigError, match="needs mobilenetv3-large"):
        segmenter_start(replace(small_segmenter(weights=str(tmp_path / "d.safetensors")), model="fcn8s-lite"), split)


def test_the_thirteen_convolutions_of_a_vgg_backbone_file_fit_and_fc6_starts_new(halves: Any, tmp_path: Path) -> None:
    trunk = {f"trunk.vgg.{name}": tensor for name, tensor in atrous_vgg16().state_dict().items() if "conv" in name}
    preprocess = Preprocess(mean_rgb=(104.0, 117.0, 123.0), channel_order="bgr")
    weights.save_backbone(tmp_path / "t.safetensors", BackboneConfig("vgg16", preprocess), trunk, {})
    split = mask_folders.read(halves.root, "train")
    began = segmenter_start(
        replace(small_segmenter(weights=str(tmp_path / "t.safetensors"), freeze=2), model="fcn8s-2017"), split
    )
    assert torch.equal(began.network.state_dict()["trunk.conv5_3.weight"], trunk["trunk.vgg.conv5_3.weight"])
    assert began.network.config.preprocess.channel_order == "bgr"
    assert "new: fc6, fc7" in str(began.report)
    frozen = [name for name, parameter in began.network.named_parameters() if not parameter.requires_grad]
    assert {name.split(".")[1] for name in frozen} == {"conv1_1", "conv1_2", "conv2_1", "conv2_2"}


def thin_samples() -> tuple[Sample, ...]:
    """Objects of 10×40 pixels, of which the model's own anchors cover none."""
    boxes = np.array([[x, 20.0, x + 10.0, 60.0] for x in (8.0, 44.0, 80.0, 110.0)])
    return tuple(
        Sample(f"{index}", Path(f"{index}.png"), (96, 128), boxes, np.zeros(4, np.int64), np.zeros(4, bool))
        for index in range(3)
    )


def test_auto_anchors_are_fitted_to_the_training_split():
    start = new_network(recipe(None, input_size_hw=SMALL, anchors="auto"), NAMES, samples=thin_samples())
    plain = config_for("lite320-fine", NAMES, SMALL)
    config = start.network.config
    assert isinstance(config, SSDConfig) and config.anchors != plain.anchors
    assert [level.anchors_per_cell for level in config.anchors] == [level.anchors_per_cell for level in plain.anchors]
    assert len(start.notes) == 1
    assert re.search(r"of 12 objects match one \(IoU 0\.5 or more\), \d+% match one of the model's own", start.notes[0])


def test_auto_anchors_of_a_detector_that_is_trained_on_are_its_own(detector: Path):
    start = new_network(recipe(detector, anchors="auto"), NAMES, samples=thin_samples())
    source = weights.load(detector).network.config
    assert isinstance(start.network.config, SSDConfig)
    assert start.network.config.anchors == source.anchors and not start.notes


@pytest.mark.parametrize("model", ["lite320-fine2", "fcn8s-fine2"])
def test_a_default_recipe_starts_from_the_backbone_in_the_package_and_says_so(model: str):
    start = new_network(default_recipe(model), NAMES, samples=thin_samples())
    source = weights.read(find_weights("residual-fine2"))
    loaded = start.network.state_dict()
    assert len(source.tensors) > 50
    for name, tensor in source.tensors.items():
        assert torch.equal(loaded[name], tensor.to(loaded[name].dtype)), name
    assert re.match(
        r"starting from the pre-trained backbone residual-fine2, .* \(Apache-2\.0\); --weights none starts",
        start.notes[0],
    )
    assert start.provenance is not None and start.provenance["sha256"] == source.sha256
    assert "new: lateral, smooth" in str(start.report)


def test_auto_anchors_without_any_object_are_the_models_own():
    start = new_network(recipe(None, input_size_hw=SMALL, anchors="auto"), NAMES)
    assert isinstance(start.network.config, SSDConfig)
    assert start.network.config.anchors == config_for("lite320-fine", NAMES, SMALL).anchors


def test_a_recipe_stores_auto_and_reads_it_again():
    stored = Recipe(anchors="auto").to_json()
    assert Recipe.from_json(stored).anchors == "auto"
    with pytest.raises(ConfigError, match="anchors"):
        override(Recipe(), ["anchors=automatic"])


def test_everyday_hands_over_the_rows_of_its_classes_by_name_and_says_which():
    began = new_network(recipe(Path("everyday"), "mobilenetv2-300"), ("dog", "tram", "person"))
    source, network = weights.load(find_weights("everyday")).network, began.network
    for theirs, ours, row in zip(source.class_heads, network.class_heads, network.config.anchors, strict=True):
        old = theirs.weight.view(row.anchors_per_cell, 23, -1)
        new = ours.weight.view(row.anchors_per_cell, 3, -1)
        assert torch.equal(new[:, 0], old[:, 19]) and torch.equal(new[:, 2], old[:, 3])
    assert "known: dog, person" in str(began.report) and began.provenance["licence"] == "Apache-2.0"
    assert network.config.scores == "sigmoid" and network.config.display_threshold == 0.5
    assert began.provenance["weights"] == "everyday" and began.provenance["file_sha256"].startswith("d0a5255b")


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [((480, 640), (272, 368)), ((640, 480), (368, 272)), ((100, 1000), (192, 560)), ((300, 300), (320, 320))],
)
def test_an_automatic_input_has_the_models_pixels_in_the_usual_proportions_of_the_images(
    size_hw: tuple[int, int], expected: tuple[int, int]
):
    odd = [replace(sample, size_hw=(500, 400)) for sample in thin_samples()[:1]]
    samples = [*odd, *(replace(sample, size_hw=size_hw) for sample in thin_samples())]
    start = new_network(recipe(None, input_size_hw="auto"), NAMES, samples=samples)
    assert start.network.config.input_size_hw == expected
    assert start.notes == (f"input of {expected[0]}x{expected[1]} pixels, in the usual proportions of the images",)
    assert abs(expected[0] * expected[1] / 320**2 - 1) < 0.06


def test_an_automatic_input_is_the_models_own_where_no_size_is_known_and_a_known_detectors_own(detector: Path):
    unknown = [replace(sample, size_hw=None) for sample in thin_samples()]
    start = new_network(recipe(None, input_size_hw="auto"), NAMES, samples=unknown)
    assert start.network.config.input_size_hw == (320, 320) and start.notes == ()
    continued = new_network(recipe(detector, input_size_hw="auto"), NAMES, samples=thin_samples())
    assert continued.network.config.input_size_hw == SMALL and continued.notes == ()
    with pytest.raises(ConfigError, match="unknown model"):
        new_network(recipe(None, "lite321", input_size_hw="auto"), NAMES, samples=thin_samples())


def test_an_automatic_input_of_a_segmenter_has_its_models_pixels():
    start = new_network(Recipe(model="fcn8s-fine", input_size_hw="auto"), NAMES, samples=thin_samples())
    height, width = start.network.config.input_size_hw
    own = fcn_config("fcn8s-fine", NAMES).input_size_hw
    assert width / height == pytest.approx(4 / 3, abs=0.05)
    assert height * width == pytest.approx(own[0] * own[1], rel=0.06)
