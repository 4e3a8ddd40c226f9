"""SSDlite320 on COCO as torchvision trains its `ssdlite320_mobilenet_v3_large`.

    singleshot train lite320_coco --data coco --train-split train2017 --val-split none --out runs/lite320_coco
    singleshot evaluate runs/lite320_coco/best.safetensors --data coco --split val2017 --metric coco

Score: not yet measured here. Published: 21.3 AP on COCO val2017, from random weights, on 8 GPUs with 24 images each.
Source: torchvision's `references/detection` (its README's command: 660 epochs, cosine, augmentation `ssdlite`).

Each object takes its best anchor whatever the overlap, negatives are mined from all other anchors, an image without
objects trains nothing, and everything decays, biases and norm layers too. Of SSD's augmentation only the crop and the
mirror are used: colours stay, and nothing is expanded. Crowds are not learned from. What differs: the loss is divided
by the matches of the whole batch and not of each GPU's part, and the cosine falls with each step and not each epoch.
"""

from __future__ import annotations

from singleshot.data.augment.augment import Augmentation
from singleshot.detection.loss import LossConfig
from singleshot.training.optimizer import OptimizerConfig, Schedule
from singleshot.training.recipe import Recipe

RECIPE = Recipe(
    model="lite320",
    epochs=660,
    batch_size=192,
    precision="fp32",
    fast_decode=False,
    optimizer=OptimizerConfig(kind="sgd", lr=0.15, momentum=0.9, weight_decay=4e-5, decayed="all", bias_lr=1.0),
    schedule=Schedule(kind="cosine", warmup_steps=1000, warmup_factor=0.001, floor=0.0),
    augmentation=Augmentation(
        expand_probability=0.0,
        brightness_probability=0.0,
        contrast_probability=0.0,
        saturation_probability=0.0,
        hue_probability=0.0,
        interpolations=("linear",),
    ),
    loss=LossConfig(matching="force-best", negative_iou=None),
    ema_decay=None,
    validate_every=10,
)
