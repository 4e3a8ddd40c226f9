"""How a segmenter's run starts from weights that are there: from a trunk, a detector's trunk, or another segmenter.

Tensors are taken over by name and shape, class rows by the name of the class. VGG's published trunks come thinned out
for SSD, whose fc6 and fc7 are other layers than FCN's: those two start new, and the table says so. Channel order,
mean and deviation come along, because the weights expect them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from singleshot import weights
from singleshot.backbones.freezing import freeze_blocks
from singleshot.errors import ConfigError
from singleshot.prediction.locate import find_weights
from singleshot.segmentation.fcn import FCN, FCNConfig, config_for
from singleshot.structures import Dataset
from singleshot.training.optimizer import is_trunk
from singleshot.training.recipe import Recipe
from singleshot.weights import BackboneFile, SegmenterFile, WeightsFile

# By name and not by width: a feature layer may be as wide as there are classes.
_SCORES = re.compile(r"\.(score\w*|scores\.\d+)$")


@dataclass(frozen=True)
class MaskStart:
    """A segmenter to train.

    Args:
        network: with what was taken over, and the rest as its papers start it.
        table: what was taken over, as text; empty for a run from nothing.
        provenance: of the weights it starts from.
    """

    network: FCN
    table: str = ""
    provenance: Mapping[str, Any] | None = None


def start(recipe: Recipe, data: Dataset) -> MaskStart:
    """The segmenter of a recipe for a data set's classes, from the weights that the recipe names or from nothing.

    Raises:
        ConfigError: the weights have another trunk than the recipe's model, or more blocks are to be frozen than
            there are.
        InputMissingError, UnreachableError, DataError: as `find_weights` and `weights.read_any` say.
    """
    names, colours = data.label_map.names, data.colours
    config = config_for(recipe.model, names, recipe.input_size_hw, colours, recipe.fit)
    if recipe.weights is None:
        return MaskStart(FCN(config))
    path = find_weights(recipe.weights)
    began = _from_file(weights.read_any(path), config, path)
    freeze_blocks(began.network, began.network.trunk, recipe.freeze)
    return replace(began, provenance={"weights": recipe.weights, **(began.provenance or {})})


def resumed(recipe: Recipe, config: Any, provenance: Mapping[str, Any] | None) -> MaskStart:
    """The segmenter of a run that goes on, as `starting.resumed` makes a detector."""
    began = MaskStart(FCN(FCNConfig.from_json_dict(config)), provenance=provenance)
    freeze_blocks(began.network, began.network.trunk, recipe.freeze)
    return began


def _from_file(file: WeightsFile | BackboneFile | SegmenterFile, config: FCNConfig, path: Path) -> MaskStart:
    source = file.config if isinstance(file, BackboneFile) else file.network.config
    if source.trunk != config.trunk:
        what = f"{path} has a {source.trunk} trunk and {config.flavour} is made on {config.trunk}"
        raise ConfigError(what, remedy=f"Choose a model on {source.trunk} by --model")
    seen = source.preprocess
    preprocess = replace(
        config.preprocess, mean_rgb=seen.mean_rgb, std_rgb=seen.std_rgb, channel_order=seen.channel_order
    )
    network = FCN(replace(config, preprocess=preprocess))
    tensors = file.tensors if isinstance(file, BackboneFile) else file.network.state_dict()
    # SSD's VGG lies one level deeper, beside its extra layers.
    theirs = {name.replace("trunk.vgg.", "trunk."): tensor for name, tensor in tensors.items()}
    if isinstance(file, SegmenterFile):
        # Without its scores, whose shapes may fit by chance, and with the rows that mean the same.
        theirs = {name: each for name, each in theirs.items() if not _SCORES.search(name.rpartition(".")[0])}
        theirs |= _class_rows(file.network, network)
        if file.network.config.class_names != config.class_names:
            # Trained upsampling mixes each class with each: it is for these classes in this order, or starts bilinear.
            theirs = {name: each for name, each in theirs.items() if not name.startswith("head.enlarge.")}
    table = _take_over(network, theirs)
    if isinstance(file, SegmenterFile):
        table += f"\n{_class_line(file.network.config, config)}"
    return MaskStart(network, table, {"sha256": file.sha256, **file.provenance})


def _take_over(network: FCN, tensors: Mapping[str, Tensor]) -> str:
    """Copy every tensor whose name and shape the network has, in place; the table of what became of them."""
    state = network.state_dict()
    loaded = {name for name, tensor in tensors.items() if name in state and state[name].shape == tensor.shape}
    network.load_state_dict({name: tensors[name] if name in loaded else state[name] for name in state})
    lines = [f"{'':14}{'loaded':>7}{'new':>6}"]
    for part, inside in (("trunk", True), ("scores", False)):
        names = [name for name in state if is_trunk(name) == inside]
        new = [name for name in names if name not in loaded]
        layers = list(dict.fromkeys(name.rpartition(".")[0].rpartition(".")[2] for name in new))
        remark = f"  new: {', '.join(layers)}" if 0 < len(layers) <= 4 else ""
        lines.append(f"{part:14}{len(names) - len(new):7}{len(new):6}{remark}".rstrip())
    return "\n".join(lines)


def _class_rows(source: FCN, network: FCN) -> dict[str, Tensor]:
    """The layers that score classes, for the new classes: rows of classes with the same name are the source's.

    A layer of another width is not among them, and none is where no class has a name of the source's.
    """
    theirs, ours = source.config.class_names, network.config.class_names
    pairs = [(ours.index(name), place) for place, name in enumerate(theirs) if name in ours]
    found: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d) or not _SCORES.search(name):
            continue
        for kind in ("weight", "bias"):
            key = f"{name}.{kind}"
            old, new = source.state_dict().get(key), network.state_dict()[key].clone()
            if old is not None and old.shape[1:] == new.shape[1:] and pairs:
                own, taken = (list(places) for places in zip(*pairs, strict=True))
                new[own] = old[taken]
                found[key] = new
    return found


def _class_line(source: FCNConfig, config: FCNConfig) -> str:
    """The table's line on classes: how many the source knows by name, and how many start new."""
    same = [name for name in config.class_names if name in source.class_names]
    known = f"  known: {', '.join([*same[:6], *(['…'] if len(same) > 6 else [])])}" if same else ""
    return f"{'classes':14}{len(same):7}{len(config.class_names) - len(same):6}{known}"
