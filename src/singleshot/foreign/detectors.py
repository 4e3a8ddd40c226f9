"""Whole detectors of torchvision, ssd.pytorch and lufficc/SSD: which of our configs they are, and their names.

Each format is a config (default boxes, preprocessing and thresholds as that project has them) and a table of names.
How many classes there are is read off the first class head, so that one function serves any fine-tuned copy too.
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
from singleshot.foreign.renaming import renamed
from singleshot.foreign.vgg_trunks import LAYERS, OURS, PLACES, numbered

Format = Literal["torchvision-ssd300", "torchvision-lite320", "ssd.pytorch", "lufficc-300", "lufficc-512"]

# Where each format keeps its first class head, from whose size the number of classes follows.
FIRST_HEAD: dict[Format, str] = {
    "torchvision-ssd300": "head.classification_head.module_list.0.weight",
    "torchvision-lite320": "head.classification_head.module_list.0.1.weight",
    "ssd.pytorch": "conf.0.weight",
    "lufficc-300": "box_head.predictor.cls_headers.0.weight",
    "lufficc-512": "box_head.predictor.cls_headers.0.weight",
}
_FLAVOUR = {
    "torchvision-ssd300": "ssd300-torchvision",
    "torchvision-lite320": "lite320",
    "ssd.pytorch": "vgg300",
    "lufficc-300": "vgg300",
    "lufficc-512": "vgg512-float",
}


def slots_of(tensors: Mapping[str, Tensor], kind: Format, path: Path) -> int:
    """How many columns the class logits of a file have, background included. Raises DataError if that is not clear."""
    head = tensors.get(FIRST_HEAD[kind])
    boxes = config_for(_FLAVOUR[kind], ("any",)).anchors[0].boxes_per_cell
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
    """The network with a file's weights, in evaluation mode.

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
    config = replace(config_for(_FLAVOUR[kind], tuple(class_names)), unnamed_slots=unnamed_slots)
    if kind == "ssd.pytorch":
        # Its `Detect` keeps 200 of each class, before and after NMS, and has no limit over all classes.
        limits = Postprocess(candidates_per_class=200, max_detections=200 * len(class_names))
        return replace(config, clip_anchors="all", postprocess=limits)
    if kind.startswith("lufficc"):
        # Every box above the threshold enters NMS; 100 a picture are kept.
        boxes = sum(row.boxes for row in config.anchors)
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


def _ports(trunk: str, extras: str, scale: str, classes: str, boxes: str, maps: int) -> dict[str, str]:
    """ssd.pytorch's layout, which its descendants kept under other names: extra layers are one list without ReLUs."""
    names = numbered(trunk) | {"trunk.conv4_3_norm.scale": scale}
    for place in range(maps - 2):
        names |= {f"trunk.extras.{place}.reduce": f"{extras}{2 * place}"}
        names |= {f"trunk.extras.{place}.widen": f"{extras}{2 * place + 1}"}
    return names | _heads(classes, boxes, maps)


def _torchvision_ssd300(maps: int) -> dict[str, str]:
    """Its trunk ends at conv4_3 and goes on in the first extra layer, whose list starts anew there."""
    names = {"trunk.conv4_3_norm.scale": "backbone.scale_weight"}
    for layer, place in zip(LAYERS, PLACES, strict=True):
        later = layer.startswith("conv5")
        names[OURS + layer] = f"backbone.extra.0.{place - 23}" if later else f"backbone.features.{place}"
    names |= {f"{OURS}fc6": "backbone.extra.0.7.1", f"{OURS}fc7": "backbone.extra.0.7.3"}
    for place in range(maps - 2):
        names |= {f"trunk.extras.{place}.reduce": f"backbone.extra.{place + 1}.0"}
        names |= {f"trunk.extras.{place}.widen": f"backbone.extra.{place + 1}.2"}
    return names | _torchvision_heads(maps)


def _torchvision_lite320(maps: int) -> dict[str, str]:
    """Its trunk is cut in two inside the tapped block: behind that block's widening."""
    tapped = next(place for place, row in enumerate(LARGE) if row.tapped)
    names = {"trunk.stem": "backbone.features.0.0", "trunk.last": f"backbone.features.1.{len(LARGE) - tapped}"}
    width = 16
    for place, row in enumerate(LARGE):
        parts = ["expand"] if row.expanded != width else []
        parts += ["filter", *(["weigh"] if row.squeeze else []), "project"]
        width = row.out
        for step, part in enumerate(parts):
            if place < tapped:
                theirs = f"backbone.features.0.{place + 1}.block.{step}"
            elif place > tapped:
                theirs = f"backbone.features.1.{place - tapped}.block.{step}"
            else:
                theirs = f"backbone.features.0.{tapped + 1}" if part == "expand" else f"backbone.features.1.0.{step}"
            ours = f"trunk.blocks.{place}.{part}"
            pairs = (("squeeze", "fc1"), ("excite", "fc2")) if part == "weigh" else (("", ""),)
            names |= {".".join(filter(None, (ours, a))): ".".join(filter(None, (theirs, b))) for a, b in pairs}
    names |= {f"trunk.extras.{place}": f"backbone.extra.{place}" for place in range(maps - 2)}
    return names | _torchvision_heads(maps)


def _torchvision_heads(maps: int) -> dict[str, str]:
    return _heads("head.classification_head.module_list.", "head.regression_head.module_list.", maps)


def _heads(classes: str, boxes: str, maps: int) -> dict[str, str]:
    names = {f"class_heads.{place}": f"{classes}{place}" for place in range(maps)}
    return names | {f"box_heads.{place}": f"{boxes}{place}" for place in range(maps)}
