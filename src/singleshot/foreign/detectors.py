"""Whole detectors of torchvision, ssd.pytorch and lufficc/SSD: our config for each, and the names of their tensors.

Each format is a config (anchors, preprocessing and thresholds of that project) and a table of names. The number of
classes follows from the first class head, so that fine-tuned copies are read too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from singleshot.backbones.mobilenet import LARGE
from singleshot.detection.postprocess import Postprocess
from singleshot.detection.ssd import SSD, SSDConfig, config_for
from singleshot.errors import DataError
from singleshot.foreign.torch_file import renamed
from singleshot.foreign.vgg_backbones import INDICES, LAYERS, OURS, numbered

Format = Literal["torchvision-ssd300", "torchvision-lite320", "ssd.pytorch", "lufficc-300", "lufficc-512"]

# The first class head of each format, from whose size the number of classes follows.
FIRST_HEAD: dict[Format, str] = {
    "torchvision-ssd300": "head.classification_head.module_list.0.weight",
    "torchvision-lite320": "head.classification_head.module_list.0.1.weight",
    "ssd.pytorch": "conf.0.weight",
    "lufficc-300": "box_head.predictor.cls_headers.0.weight",
    "lufficc-512": "box_head.predictor.cls_headers.0.weight",
}
_MODEL = {
    "torchvision-ssd300": "ssd300-torchvision",
    "torchvision-lite320": "lite320",
    "ssd.pytorch": "vgg300",
    "lufficc-300": "vgg300",
    "lufficc-512": "vgg512-float",
}


def slots_of(tensors: Mapping[str, Tensor], kind: Format, path: Path) -> int:
    """Return the number of columns of a file's class logits, background included. Raises DataError if it is unclear."""
    head = tensors.get(FIRST_HEAD[kind])
    boxes = config_for(_MODEL[kind], ("any",)).anchors[0].anchors_per_cell
    if head is None or head.ndim != 4 or head.shape[0] % boxes or head.shape[0] // boxes < 2:
        found = "is missing" if head is None else f"is {tuple(head.shape)}"
        raise DataError(
            f"not a detector of {kind}: {FIRST_HEAD[kind]} {found}",
            kind="bad-weights",
            remedy="Check that NAME and file belong together",
            file=path,
        )
    return head.shape[0] // boxes


def detector_of(
    tensors: Mapping[str, Tensor], kind: Format, class_names: Sequence[str], unnamed_slots: tuple[int, ...], path: Path
) -> SSD:
    """Build the network with a file's weights, in evaluation mode.

    Args:
        tensors: by the file's names.
        kind: its format.
        class_names: of the slots that have a name, in order, without the background.
        unnamed_slots: see `SSDConfig`.
        path: the file, for messages.

    Raises:
        DataError: a tensor is missing, unknown or of another shape.
    """
    with torch.device("meta"):
        network = SSD(_config(kind, class_names, unnamed_slots))
    state = network.state_dict()
    found = renamed(tensors, _prefixes(kind, len(network.class_heads)), state, path)
    network.load_state_dict(
        {name: tensor.to(state[name].dtype, copy=True) for name, tensor in found.items()}, assign=True
    )
    return network.eval()


def _config(kind: Format, class_names: Sequence[str], unnamed_slots: tuple[int, ...]) -> SSDConfig:
    config = replace(config_for(_MODEL[kind], tuple(class_names)), unnamed_slots=unnamed_slots)
    if kind == "ssd.pytorch":
        # Its `Detect` keeps 200 of each class, before and after NMS, and has no limit over all classes.
        limits = Postprocess(candidates_per_class=200, max_detections=200 * len(class_names))
        return replace(config, clip_anchors="all", postprocess=limits)
    if kind.startswith("lufficc"):
        # Every box above the threshold enters NMS; 100 per image are kept.
        boxes = sum(level.num_anchors for level in config.anchors)
        limits = Postprocess(candidates_per_class=boxes, max_detections=100)
        rows = config.anchors
        if kind == "lufficc-512":  # the last map's larger size there is 537.65, and 537.6 elsewhere
            rows = (*rows[:-1], replace(rows[-1], max_size=537.65))
        return replace(config, clip_anchors="all", anchors=rows, postprocess=limits)
    return config


def _prefixes(kind: Format, maps: int) -> dict[str, str]:
    if kind == "torchvision-ssd300":
        return _torchvision_ssd300(maps)
    if kind == "torchvision-lite320":
        return _torchvision_lite320(maps)
    if kind == "ssd.pytorch":
        return _ports("vgg.", "extras.", "L2Norm.weight", "conf.", "loc.", maps)
    heads = "box_head.predictor."
    return _ports(
        "backbone.vgg.",
        "backbone.extras.",
        "backbone.l2_norm.weight",
        f"{heads}cls_headers.",
        f"{heads}reg_headers.",
        maps,
    )


def _ports(backbone: str, extras: str, scale: str, classes: str, boxes: str, maps: int) -> dict[str, str]:
    """ssd.pytorch's layout, which its descendants kept under other names: extra layers are one list without ReLUs."""
    names = numbered(backbone) | {"trunk.conv4_3_norm.scale": scale}
    for index in range(maps - 2):
        names |= {f"trunk.extras.{index}.reduce": f"{extras}{2 * index}"}
        names |= {f"trunk.extras.{index}.widen": f"{extras}{2 * index + 1}"}
    return names | _heads(classes, boxes, maps)


def _torchvision_ssd300(maps: int) -> dict[str, str]:
    """Its backbone ends at conv4_3 and continues in the first extra layer, whose list counts from 0 again."""
    names = {"trunk.conv4_3_norm.scale": "backbone.scale_weight"}
    for layer, index in zip(LAYERS, INDICES, strict=True):
        later = layer.startswith("conv5")
        names[OURS + layer] = f"backbone.extra.0.{index - 23}" if later else f"backbone.features.{index}"
    names |= {f"{OURS}fc6": "backbone.extra.0.7.1", f"{OURS}fc7": "backbone.extra.0.7.3"}
    for index in range(maps - 2):
        names |= {f"trunk.extras.{index}.reduce": f"backbone.extra.{index + 1}.0"}
        names |= {f"trunk.extras.{index}.widen": f"backbone.extra.{index + 1}.2"}
    return names | _torchvision_heads(maps)


def _torchvision_lite320(maps: int) -> dict[str, str]:
    """Its backbone is cut in two inside the tapped block: behind that block's expansion."""
    tapped = next(index for index, row in enumerate(LARGE) if row.tapped)
    names = {"trunk.stem": "backbone.features.0.0", "trunk.last": f"backbone.features.1.{len(LARGE) - tapped}"}
    width = 16
    for index, row in enumerate(LARGE):
        parts = ["expand"] if row.expanded != width else []
        parts += ["filter", *(["weigh"] if row.squeeze else []), "project"]
        width = row.out
        for step, part in enumerate(parts):
            if index < tapped:
                other = f"backbone.features.0.{index + 1}.block.{step}"
            elif index > tapped:
                other = f"backbone.features.1.{index - tapped}.block.{step}"
            else:
                other = f"backbone.features.0.{tapped + 1}" if part == "expand" else f"backbone.features.1.0.{step}"
            ours = f"trunk.blocks.{index}.{part}"
            pairs = (("squeeze", "fc1"), ("excite", "fc2")) if part == "weigh" else (("", ""),)
            names |= {".".join(filter(None, (ours, a))): ".".join(filter(None, (other, b))) for a, b in pairs}
    names |= {f"trunk.extras.{index}": f"backbone.extra.{index}" for index in range(maps - 2)}
    return names | _torchvision_heads(maps)


def _torchvision_heads(maps: int) -> dict[str, str]:
    return _heads("head.classification_head.module_list.", "head.regression_head.module_list.", maps)


def _heads(classes: str, boxes: str, maps: int) -> dict[str, str]:
    names = {f"class_heads.{index}": f"{classes}{index}" for index in range(maps)}
    return names | {f"box_heads.{index}": f"{boxes}{index}" for index in range(maps)}
