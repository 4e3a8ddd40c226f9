"""VGG-16 as others store it, as the trunk that SSD uses.

Thirteen convolutions are the same everywhere and differ in their names. The two large fully connected layers are
either there in full (ImageNet's classifier), and are thinned out as the SSD paper does, or thinned out already, or
absent; what is absent starts new.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from singleshot.backbones.vgg import CONVOLUTIONS, atrous_vgg16, decimate_fc6, decimate_fc7
from singleshot.errors import DataError
from singleshot.foreign.renaming import renamed

LAYERS = [f"conv{stage}_{place}" for stage, widths in enumerate(CONVOLUTIONS, 1) for place in range(1, len(widths) + 1)]
"""conv1_1 … conv5_3."""
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Their places in a plain list of convolutions, ReLUs and pools, as torchvision and ssd.pytorch number them."""
FC6_PLACE, FC7_PLACE = 31, 33
"""Of the thinned layers in ssd.pytorch's list."""
OURS = "trunk.vgg."


def imagenet_trunk(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """ImageNet's classifier as torchvision or timm names it: convolutions, and fc6 and fc7 thinned out.

    A file of the convolutions alone gives those alone. Raises DataError where anything else does not fit.
    """
    prefixes = {f"{OURS}{layer}": f"features.{place}" for layer, place in zip(LAYERS, PLACES, strict=True)}
    dense = next((names for names in DENSE if f"{names[0]}.weight" in tensors), None)
    trunk = renamed(tensors, prefixes, _wanted(LAYERS), path, ignored=("classifier.", "pre_logits.", "head."))
    if dense is None:
        return trunk
    for layer, name, thinned in zip(("fc6", "fc7"), dense, (decimate_fc6, decimate_fc7), strict=True):
        weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
        inputs = 25088 if layer == "fc6" else 4096
        if weight is None or bias is None or weight.shape[0] != 4096 or weight.numel() != 4096 * inputs:
            raise DataError(f"{name} is not VGG-16's {layer}", kind="bad-weights", file=path)
        if bias.shape != (4096,):
            raise DataError(f"{name}.bias is {tuple(bias.shape)} and not (4096,)", kind="bad-weights", file=path)
        shape = (4096, 512, 7, 7) if layer == "fc6" else (4096, 4096, 1, 1)
        trunk[f"{OURS}{layer}.weight"], trunk[f"{OURS}{layer}.bias"] = thinned(weight.reshape(shape), bias)
    return trunk


DENSE = (("classifier.0", "classifier.3"), ("pre_logits.fc1", "pre_logits.fc2"))
"""Names of the full fc6 and fc7: torchvision's and timm's."""


def reduced_trunk(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The thinned VGG-16 that ssd.pytorch starts from: bare numbers for names, fc6 and fc7 among them."""
    return renamed(tensors, numbered(""), _wanted([*LAYERS, "fc6", "fc7"]), path)


def numbered(prefix: str) -> dict[str, str]:
    """The names of ssd.pytorch's list and its descendants, for `renamed`; `prefix` ends with a dot or is empty."""
    places = (*PLACES, FC6_PLACE, FC7_PLACE)
    return {f"{OURS}{layer}": f"{prefix}{place}" for layer, place in zip([*LAYERS, "fc6", "fc7"], places, strict=True)}


def _wanted(layers: list[str]) -> dict[str, Tensor]:
    with torch.device("meta"):
        state = atrous_vgg16().state_dict()
    return {f"{OURS}{name}": tensor for name, tensor in state.items() if name.partition(".")[0] in layers}
