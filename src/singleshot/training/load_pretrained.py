"""How a run starts from weights: what is loaded, what starts new, and a report that says so.

From a backbone alone, the backbone is loaded. From a whole detector or segmenter everything that fits is, and in the
layers that score classes the rows of each class that both have, found by its name: another number of classes, another
order or another input size is no obstacle. A segmenter may start from a detector's backbone. Channel order, mean and
deviation of the input come along, because the weights expect them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from singleshot import weights
from singleshot.data import anchor_fit
from singleshot.detection import ssd
from singleshot.detection.ssd import MODELS, SSD, SSDConfig
from singleshot.errors import ConfigError, DataError
from singleshot.prediction.load import find_weights
from singleshot.segmentation import fcn
from singleshot.segmentation.fcn import FCN, FCNConfig
from singleshot.segmentation.fcn import MODELS as SEGMENTERS
from singleshot.starts import shipped
from singleshot.structures import Sample
from singleshot.training.optimizer import is_backbone
from singleshot.training.recipe import Recipe
from singleshot.weights import BackboneFile, SegmenterFile, WeightsFile

Source: TypeAlias = WeightsFile | BackboneFile | SegmenterFile
AnyConfig = TypeVar("AnyConfig", SSDConfig, FCNConfig)
DEFAULT_MODEL = "vgg300"
"""Of a run that starts from a backbone and names no model."""
NEW_FC6_SCALE = 1 / 14


@dataclass(frozen=True)
class LoadRow:
    """One line of a report: how many tensors of a part were loaded, are new, and were left out, with a remark."""

    part: str
    loaded: int
    new: int
    left_out: int
    remark: str = ""


@dataclass(frozen=True)
class LoadReport:
    """What was loaded into a network; as text, a table."""

    rows: tuple[LoadRow, ...]

    def __str__(self) -> str:
        lines = [f"{'':14}{'loaded':>7}{'new':>6}{'left out':>10}"]
        for row in self.rows:
            lines.append(f"{row.part:14}{row.loaded:7}{row.new:6}{row.left_out:10}  {row.remark}".rstrip())
        return "\n".join(lines)


@dataclass(frozen=True)
class Start:
    """A network to train.

    Args:
        network: with what was loaded, and the rest initialised as its papers say.
        report: what was loaded; None for a run from random weights and for one that is resumed.
        provenance: of the weights that it starts from, for the files that the run will write.
        notes: a line about the shipped backbone, if that is the start, and one about anchors, if they were fitted.
    """

    network: SSD | FCN
    report: LoadReport | None = None
    provenance: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def new_network(
    recipe: Recipe,
    class_names: Sequence[str],
    colours: Sequence[tuple[int, int, int]] = (),
    samples: Sequence[Sample] = (),
) -> Start:
    """Build the network of a recipe, from the weights that the recipe names or from random ones.

    Args:
        recipe: names model, input, normalisation, weights and how many blocks to freeze.
        class_names: in the order of class ids.
        colours: (C, 3) RGB of a segmenter's classes; empty for colours of our own.
        samples: the training split, to which the anchors of `recipe.anchors == "auto"` are fitted.

    Raises:
        ConfigError: the weights have another backbone than the recipe's model, or more blocks are to be frozen than
            there are.
        InputMissingError, UnreachableError, DataError: as `find_weights` and `weights.read` say.
    """
    source, path, notes = None, Path(), ()
    if recipe.weights is not None:
        path = find_weights(recipe.weights)
        source = weights.read_any(path) if recipe.is_segmentation else weights.read(path)
        if recipe.weights == shipped.BACKBONE:
            title, licence = source.provenance["title"], source.provenance["licence"]
            other = "--weights none starts from random weights"
            notes = (f"starting from the pre-trained backbone {title} ({licence}); {other}",)
    # A detector that is trained on keeps the anchors and the input size that its weights have learned with.
    continues = isinstance(source, WeightsFile) and source.network.config.model == recipe.model
    size_hw = recipe.input_size_hw
    if size_hw == "auto":
        size_hw = None if continues else _size_in_proportion(recipe, samples)
        if size_hw is not None:
            notes = (*notes, f"input of {size_hw[0]}x{size_hw[1]} pixels, in the usual proportions of the images")
    if recipe.is_segmentation:
        config = fcn.config_for(recipe.model, class_names, size_hw, colours, recipe.fit)
        network = FCN(config if source is None else _with_input_of(config, source, path))
    else:
        own = None if recipe.anchors == "auto" else recipe.anchors
        config = ssd.config_for(recipe.model, class_names, size_hw, fit=recipe.fit, anchors=own)
        config = replace(config, norm=recipe.norm, scores=recipe.scores or config.scores)
        if source is not None:
            config = _with_input_of(config, source, path)
        if isinstance(source, WeightsFile):
            config = _with_settings_of(config, source.network.config, recipe)
        if recipe.anchors == "auto" and not continues:
            found = anchor_fit.report(samples, config)
            config = replace(config, anchors=found.suggested)
            text = (
                f"anchors fitted to the training split: {1 - found.unreached_fitted:.0%} of {len(found.best_iou)} "
                f"objects match one (IoU {anchor_fit.IOU_THRESHOLD:g} or more), {1 - found.unreached:.0%} match one of "
                f"the model's own"
            )
            notes = (*notes, text)
        network = SSD(config)
    if source is None:
        return Start(network, notes=notes)
    report = load_pretrained(network, source)
    network.freeze_blocks(recipe.freeze)
    return Start(network, report, {"weights": recipe.weights, "sha256": source.sha256, **source.provenance}, notes)


def resumed_network(recipe: Recipe, config: Any, provenance: Mapping[str, Any] | None) -> Start:
    """Build the network of a run that is resumed, by its stored config and origin; its weights are still to come.

    Raises ConfigError for a config of another version.
    """
    network = weights.config_of(config, "segmentation" if recipe.is_segmentation else "detection").build()
    network.freeze_blocks(recipe.freeze)
    return Start(network, provenance=provenance)


def load_pretrained(network: SSD | FCN, source: Source) -> LoadReport:
    """Copy what fits by name and shape, and class rows by class name, in place.

    Args:
        network: each of its `class_layers` has rows of classes, by `class_rows`.
        source: a weights file that was read.

    Returns how many tensors were loaded, are new and were left out, by part of the network, and the same of classes.
    """
    given = source.tensors if isinstance(source, BackboneFile) else source.network.state_dict()
    state = network.state_dict()
    if not any(name.startswith("trunk.vgg.") for name in state):  # SSD's VGG is one level deeper than FCN's
        given = {name.replace("trunk.vgg.", "trunk."): tensor for name, tensor in given.items()}
    fitting, classes = dict(given), None
    if isinstance(source, BackboneFile):
        _scale_down_new_fc6(network, given)
    elif type(source.network) is type(network):
        # Without its class rows, whose shapes may fit by chance, and with those of the same classes.
        old_names, new_names = source.network.config.class_names, network.config.class_names
        of_classes = {f"{layer}.{kind}" for layer in source.network.class_layers for kind in ("weight", "bias")}
        fitting = {name: tensor for name, tensor in given.items() if name not in of_classes}
        fitting |= _class_rows(source.network, network)
        if old_names != new_names:  # trained upsampling mixes each class with each: it is for them in their order
            fitting = {name: tensor for name, tensor in fitting.items() if not name.startswith("head.enlarge.")}
        same = [name for name in new_names if name in old_names]
        known = ", ".join([*same[:6], *(["…"] if len(same) > 6 else [])])
        counts = len(same), len(new_names) - len(same), len(old_names) - len(same)
        classes = LoadRow("classes", *counts, f"known: {known}" if same else "")
    loaded = {name for name, tensor in fitting.items() if name in state and state[name].shape == tensor.shape}
    network.load_state_dict({name: fitting[name] if name in loaded else state[name] for name in state})

    rows = []
    for part in dict.fromkeys(map(_part, state)):
        names = [name for name in state if _part(name) == part]
        new = [name for name in names if name not in loaded]
        left_out = [name for name in given if _part(name) == part and name not in loaded]
        # The layer's own name, such as fc6 or lateral, without the numbers of those within it.
        names_of_new = ([word for word in name.split(".")[:-1] if not word.isdigit()] for name in new)
        layers = list(dict.fromkeys(words[-1] for words in names_of_new if words))
        remark = f"new: {', '.join(layers)}" if part == "backbone" and 0 < len(layers) <= 4 else ""
        rows.append(LoadRow(part, len(names) - len(new), len(new), len(left_out), remark))
    return LoadReport((*rows, classes) if classes else tuple(rows))


def model_of(path: Path) -> str:
    """Return the model that a run from this weights file trains if it names none: the file's own.

    It is read from the file's record alone, as `new_network` reads and checks the whole.

    Raises DataError for a segmenter, whose model must be named, and for a file that is no weights file.
    """
    record = weights.peek(path)
    if record.get("task") == "segmentation":
        message = "a segmenter, and no model was named to train"
        raise DataError(message, kind="other-task", remedy="Name one by --model, such as fcn8s-lite", file=path)
    config = record.get("config")
    model = config.get("flavour") if isinstance(config, dict) else None
    return model if model in MODELS else DEFAULT_MODEL


def _size_in_proportion(recipe: Recipe, samples: Sequence[Sample]) -> tuple[int, int] | None:
    """Return the input size with as many pixels as the model's own, in the usual proportions of the images.

    Sides are multiples of 16, the longer one at most three times the other. None where the model is not known or no
    image's size is.
    """
    sizes = np.array([sample.size_hw for sample in samples if sample.size_hw is not None], dtype=np.float64)
    if not len(sizes) or (recipe.model not in MODELS and recipe.model not in SEGMENTERS):
        return None
    ratio = float(np.exp(np.median(np.log(sizes[:, 0] / sizes[:, 1]))).clip(1 / 3, 3))
    detector = recipe.model in MODELS
    pixels = MODELS[recipe.model].anchors.side ** 2 if detector else math.prod(SEGMENTERS[recipe.model].size_hw)
    height = math.sqrt(pixels * ratio)
    return max(16, 16 * round(height / 16)), max(16, 16 * round(pixels / height / 16))


def _with_input_of(config: AnyConfig, source: Source, path: Path) -> AnyConfig:
    """Return the config with the source's channel order, mean and deviation.

    Raises ConfigError for another backbone.
    """
    known = source.config if isinstance(source, BackboneFile) else source.network.config
    if config.trunk != known.trunk:
        message = f"{path} has a {known.trunk} backbone and {config.flavour} needs {config.trunk}"
        raise ConfigError(
            message, remedy=f"Choose a model on {known.trunk} by --model, or other --weights (none: random ones)"
        )
    preprocess = replace(
        config.preprocess,
        mean_rgb=known.preprocess.mean_rgb,
        std_rgb=known.preprocess.std_rgb,
        channel_order=known.preprocess.channel_order,
    )
    return replace(config, preprocess=preprocess)


def _with_settings_of(config: SSDConfig, source: SSDConfig, recipe: Recipe) -> SSDConfig:
    """Return the config of a detector that continues from `source`: what belongs to its weights is the source's."""
    if recipe.model != source.flavour:
        return config
    config = replace(config, clip_anchors=source.clip_anchors, norm=source.norm, postprocess=source.postprocess)
    config = replace(config, scores=recipe.scores or source.scores)
    if config.class_names == source.class_names:
        config = replace(config, display_threshold=source.display_threshold)
    if recipe.anchors not in (None, "auto") or recipe.input_size_hw not in (None, "auto", source.input_size_hw):
        return config
    preprocess = replace(config.preprocess, size_hw=source.input_size_hw)
    return replace(config, anchors=source.anchors, preprocess=preprocess)


def _scale_down_new_fc6(network: SSD | FCN, given: Mapping[str, Tensor]) -> None:
    """Start a new fc6 behind VGG's convolutions at a fraction of its usual size, in place; SSD's alone.

    On images of 0…255 the maps of conv5_3 have a root mean square of about ten (9.8 on blood cells), which He's rule
    would carry on into fc7, the extra layers and all heads but one: gradients in the thousands at the first step. The
    published fc7 has outputs of about one.
    """
    name = "trunk.vgg.fc6.weight"
    if name in network.state_dict() and name not in given:
        with torch.no_grad():
            network.get_parameter(name).mul_(NEW_FC6_SCALE)


def _class_rows(source: SSD | FCN, network: SSD | FCN) -> dict[str, Tensor]:
    """Return the network's class layers with the source's rows of the classes that both have.

    A layer with another number of anchors a cell or of inputs is not among them, and none is without a common class.
    """
    pairs = [(row, source.class_rows[name]) for name, row in network.class_rows.items() if name in source.class_rows]
    if not pairs:
        return {}
    own, taken = (list(rows) for rows in zip(*pairs, strict=True))
    old, new = source.state_dict(), network.state_dict()
    found: dict[str, Tensor] = {}
    for layer, anchors in network.class_layers.items():
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if source.class_layers.get(layer) == anchors and old[name].shape[1:] == new[name].shape[1:]:
                inputs = new[name].shape[1:]
                mixed = new[name].clone().view(anchors, -1, *inputs)
                mixed[:, own] = old[name].view(anchors, -1, *inputs)[:, taken]
                found[name] = mixed.view(new[name].shape)
    return found


def _part(name: str) -> str:
    if is_backbone(name):
        return "backbone"
    parts = {"class_heads": "class heads", "box_heads": "box heads", "head": "scores"}
    return parts.get(name.partition(".")[0], "extra layers")
