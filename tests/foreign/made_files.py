"""Made files in other projects' formats: published names and shapes, numbers from the recipe of the golden files."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GAIN = {"torchvision_ssd300_vgg16": 0.006, "torchvision_ssdlite320_mobilenet_v3_large": 1.0}
VGG_CHANNELS = ((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256))
VGG_CHANNELS += ((17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512), (26, 512, 512), (28, 512, 512))


def made_tensor(name: str, shape: list[int], head_gain: float, seed: str = "") -> Tensor:
    """The recipe of `shared/golden/README.md`; another `seed` gives other numbers of the same kind."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    x = np.random.RandomState(zlib.crc32((name + seed).encode()) & 0xFFFFFFFF).standard_normal(shape)
    x = x.astype(np.float32)
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
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def torchvision_state(shared: Path, golden: str, slots: int = 21, seed: str = "") -> dict[str, Tensor]:
    """A state dict of torchvision's model with that many slots."""
    shapes = json.loads((shared / "golden" / f"{golden}_state_dict.json").read_text())
    last = 1 if "lite" in golden else 0  # SSDlite's heads have a filter of their own before the last layer
    for name, shape in shapes.items():
        parts = name.removeprefix("head.classification_head.module_list.").split(".")
        if name.startswith("head.classification_head.") and len(parts) == 2 + last:
            shape[0] = shape[0] // 21 * slots
    return {name: made_tensor(name, shape, GAIN[golden], seed) for name, shape in shapes.items()}


def vgg_list(prefix: str, fc: bool = True) -> dict[str, Tensor]:
    """Zeros under the names of ssd.pytorch's list of layers."""
    rows = [(place, (out, channels, 3, 3)) for place, channels, out in VGG_CHANNELS]
    rows += [(31, (1024, 512, 3, 3)), (33, (1024, 1024, 1, 1))] if fc else []
    state = {f"{prefix}{place}.weight": torch.zeros(shape) for place, shape in rows}
    return state | {f"{prefix}{place}.bias": torch.full((shape[0],), float(place)) for place, shape in rows}


def port_state(names: tuple[str, str, str, str, str], side: int, slots: int = 21) -> dict[str, Tensor]:
    """A detector of ssd.pytorch's family: prefixes of trunk, extras, scale, class and box heads. Biases tell places."""
    trunk, extras, scale, classes, boxes = names
    rows = [(1024, 256, 1), (256, 512, 3), (512, 128, 1), (128, 256, 3), (256, 128, 1), (128, 256, 3)]
    rows += [(256, 128, 1), (128, 256, 3)]
    sources, shapes = [512, 1024, 512, 256, 256, 256], [4, 6, 6, 6, 4, 4]
    if side == 512:
        rows += [(256, 128, 1), (128, 256, 4)]
        sources, shapes = [*sources, 256], [4, 6, 6, 6, 6, 4, 4]
    state = vgg_list(trunk) | {scale: torch.full((512,), 20.0)}
    for place, (channels, out, kernel) in enumerate(rows):
        state[f"{extras}{place}.weight"] = torch.zeros(out, channels, kernel, kernel)
        state[f"{extras}{place}.bias"] = torch.full((out,), 100.0 + place)
    for place, (channels, count) in enumerate(zip(sources, shapes, strict=True)):
        for prefix, width in ((classes, slots), (boxes, 4)):
            state[f"{prefix}{place}.weight"] = torch.zeros(count * width, channels, 3, 3)
            state[f"{prefix}{place}.bias"] = torch.full((count * width,), 200.0 + place)
    return state


SSD_PYTORCH = ("vgg.", "extras.", "L2Norm.weight", "conf.", "loc.")
LUFFICC = (
    "backbone.vgg.",
    "backbone.extras.",
    "backbone.l2_norm.weight",
    "box_head.predictor.cls_headers.",
    "box_head.predictor.reg_headers.",
)
