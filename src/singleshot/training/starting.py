"""How a run starts from weights that are there: what is taken over, what starts new, and a table that says so.

From a trunk alone, the trunk is taken over. From a whole detector everything is, and in the class heads the rows of
each class that both have, found by its name: another number of classes, another order or another input size is no
obstacle. Channel order, mean and deviation come along, because the weights expect them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from singleshot import weights
from singleshot.backbones.freezing import freeze_blocks
from singleshot.backbones.vgg import VGGPyramid
from singleshot.detection.presets import FLAVOURS
from singleshot.detection.ssd import SSD, SSDConfig, config_for
from singleshot.errors import ConfigError, DataError
from singleshot.prediction.locate import find_weights
from singleshot.training.optimizer import is_trunk
from singleshot.training.recipe import Recipe
from singleshot.weights import BackboneFile, WeightsFile

DEFAULT_FLAVOUR = "vgg300"
"""Of a run that starts from a trunk and names no flavour."""


@dataclass(frozen=True)
class Row:
    """One line of the table: how many tensors of a part were loaded, start new, and were left out, and which."""

    part: str
    loaded: int
    new: int
    left_out: int
    remark: str = ""


@dataclass(frozen=True)
class Start:
    """A network to train.

    Args:
        network: with what was taken over, and the rest as its papers start it.
        rows: the table; none for a run from nothing.
        provenance: of the weights it starts from, for the files that it will write.
    """

    network: SSD
    rows: tuple[Row, ...] = ()
    provenance: Mapping[str, Any] | None = None

    @property
    def table(self) -> str:
        """The table as text, empty for a run from nothing."""
        if not self.rows:
            return ""
        lines = [f"{'':14}{'loaded':>7}{'new':>6}{'left out':>10}"]
        for row in self.rows:
            lines.append(f"{row.part:14}{row.loaded:7}{row.new:6}{row.left_out:10}  {row.remark}".rstrip())
        return "\n".join(lines)


def start(recipe: Recipe, class_names: Sequence[str]) -> Start:
    """The network of a recipe for some classes, from the weights that the recipe names or from nothing.

    Raises:
        ConfigError: the weights have another trunk than the recipe's model, or more blocks are to be frozen than
            there are.
        InputMissingError, UnreachableError, DataError: as `find_weights` and `weights.read` say.
    """
    if recipe.weights is None:
        config = config_for(recipe.model, class_names, recipe.input_size_hw, fit=recipe.fit, anchors=recipe.anchors)
        began = Start(SSD(replace(config, norm=recipe.norm)))
    else:
        path = find_weights(recipe.weights)
        began = _from_file(weights.read(path), recipe, class_names, path)
    freeze_blocks(began.network, began.network.trunk, recipe.freeze)
    return began


def resumed(recipe: Recipe, config: Any, provenance: Mapping[str, Any] | None) -> Start:
    """The network of a run that goes on, by its stored config and origin; its weights are still to come.

    Raises ConfigError for a config of another version.
    """
    began = Start(SSD(weights.config_of(config)), provenance=provenance)
    freeze_blocks(began.network, began.network.trunk, recipe.freeze)
    return began


def flavour_of(path: Path) -> str:
    """The flavour that a run from this weights file trains, if it names none: its own.

    It is read from the file's record alone, as `start` reads and checks the whole.

    Raises DataError for a segmenter, whose model must be named, and for no weights file.
    """
    record = weights.peek(path)
    if record.get("task") == "segmentation":
        what = "a segmenter, and no model was named to train"
        raise DataError(what, kind="other-task", remedy="Name one by --model, such as fcn8s-lite", file=path)
    config = record.get("config")
    flavour = config.get("flavour") if isinstance(config, dict) else None
    return flavour if flavour in FLAVOURS else DEFAULT_FLAVOUR


def _from_file(file: WeightsFile | BackboneFile, recipe: Recipe, class_names: Sequence[str], path: Path) -> Start:
    source = file.config if isinstance(file, BackboneFile) else file.network.config
    config = config_for(recipe.model, class_names, recipe.input_size_hw, fit=recipe.fit, anchors=recipe.anchors)
    if config.trunk != source.trunk:
        raise ConfigError(
            f"{path} has a {source.trunk} trunk and {recipe.model} is made on {config.trunk}",
            remedy=f"Choose a model on {source.trunk} by --model",
        )
    seen = source.preprocess
    preprocess = replace(
        config.preprocess, mean_rgb=seen.mean_rgb, std_rgb=seen.std_rgb, channel_order=seen.channel_order
    )
    config = replace(config, norm=recipe.norm, preprocess=preprocess)
    if isinstance(file, BackboneFile):
        network = SSD(config)
        _quieten(network, file.tensors)
        rows = _take_over(network, file.tensors, file.tensors)
    else:
        network = SSD(_like(file.network.config, config, recipe))
        theirs = file.network.config
        last = [f"{_last_layer(theirs, i)}.{kind}" for i in range(len(theirs.anchors)) for kind in ("weight", "bias")]
        # Without its class rows, whose shape may fit by chance, and with those that mean the same.
        all_of_it = file.network.state_dict()
        state = {name: tensor for name, tensor in all_of_it.items() if name not in last}
        rows = _take_over(network, state | _class_rows(file.network, network), all_of_it)
        rows.append(_class_row(file.network.config, network.config))
    origin = {"weights": recipe.weights, "sha256": file.sha256, **file.provenance}
    return Start(network, tuple(rows), origin)


def _like(source: SSDConfig, config: SSDConfig, recipe: Recipe) -> SSDConfig:
    """The config of a detector that goes on from `source`: what belongs to its weights stays as they know it."""
    if recipe.model != source.flavour:
        return config
    config = replace(config, clip_anchors=source.clip_anchors, norm=source.norm, postprocess=source.postprocess)
    if recipe.anchors is not None or recipe.input_size_hw not in (None, source.input_size_hw):
        return config
    preprocess = replace(config.preprocess, size_hw=source.input_size_hw)
    return replace(config, anchors=source.anchors, preprocess=preprocess)


def _take_over(network: SSD, tensors: Mapping[str, Tensor], in_file: Collection[str]) -> list[Row]:
    """Copy every tensor whose name and shape the network has, in place; what became of each that is in the file."""
    state = network.state_dict()
    loaded = {name for name, tensor in tensors.items() if name in state and state[name].shape == tensor.shape}
    network.load_state_dict({name: tensors[name] if name in loaded else state[name] for name in state})
    rows = []
    for part in ("trunk", "extra layers", "class heads", "box heads"):
        names = [name for name in state if _part(name) == part]
        left_out = [name for name in in_file if _part(name) == part and name not in loaded]
        new = [name for name in names if name not in loaded]
        layers = list(dict.fromkeys(name.rpartition(".")[0].rpartition(".")[2] for name in new))
        remark = f"new: {', '.join(layers)}" if part == "trunk" and 0 < len(layers) <= 4 else ""
        rows.append(Row(part, len(names) - len(new), len(new), len(left_out), remark))
    return rows


def _quieten(network: SSD, tensors: Mapping[str, Tensor]) -> None:
    """Start a new fc6 behind VGG's convolutions at a fraction of its usual size, in place.

    On pictures of 0…255 the maps of conv5_3 have a root mean square of about ten (9.8 on blood cells), which He's rule
    would carry on into fc7, the extra layers and all heads but one: gradients in the thousands at the first step. The
    published fc7 answers with about one.
    """
    if isinstance(network.trunk, VGGPyramid) and "trunk.vgg.fc6.weight" not in tensors:
        with torch.no_grad():
            network.get_parameter("trunk.vgg.fc6.weight").mul_(QUIET)


QUIET = 1 / 14


def _part(name: str) -> str:
    if is_trunk(name):
        return "trunk"
    return {"class_heads": "class heads", "box_heads": "box heads"}.get(name.partition(".")[0], "extra layers")


def _class_rows(source: SSD, network: SSD) -> dict[str, Tensor]:
    """The last layers of the class heads for the new classes.

    Rows of the background and of classes with the same name are the source's, the others start as the network has
    them. A head that has another number of boxes or inputs is not among them.
    """
    theirs, ours = source.state_dict(), network.state_dict()
    pairs = [(0, 0)]
    for class_id, name in enumerate(network.config.class_names):
        if name in source.config.class_names:
            column = source.config.class_columns[source.config.class_names.index(name)]
            pairs.append((class_id + 1, column))
    own, taken = (list(columns) for columns in zip(*pairs, strict=True))
    found: dict[str, Tensor] = {}
    rows = zip(network.config.anchors, source.config.anchors, strict=False)
    for place, (row, their_row) in enumerate(rows):
        for name in (f"{_last_layer(network.config, place)}.{kind}" for kind in ("weight", "bias")):
            if name not in theirs or row.boxes_per_cell != their_row.boxes_per_cell:
                continue
            inside = ours[name].shape[1:]
            if theirs[name].shape[1:] == inside:
                mixed = ours[name].clone().view(row.boxes_per_cell, network.columns, *inside)
                mixed[:, own] = theirs[name].view(row.boxes_per_cell, source.columns, *inside)[:, taken]
                found[name] = mixed.view(ours[name].shape)
    return found


def _last_layer(config: SSDConfig, place: int) -> str:
    return f"class_heads.{place}.1" if config.heads == "separable" else f"class_heads.{place}"


def _class_row(source: SSDConfig, config: SSDConfig) -> Row:
    same = [name for name in config.class_names if name in source.class_names]
    new = [name for name in config.class_names if name not in source.class_names]
    remark = ", ".join([*same[:6], *(["…"] if len(same) > 6 else [])])
    return Row("classes", len(same), len(new), len(source.class_names) - len(same), f"known: {remark}" if same else "")
