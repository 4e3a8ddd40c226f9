"""CamVid (SegNet's 11 classes, 480x360), a light segmenter from random weights on two cores.

    singleshot train fcn8s_camvid --data camvid --out runs/fcn8s_camvid
    singleshot evaluate runs/fcn8s_camvid/best.safetensors --data camvid --split val --metric miou
    singleshot evaluate runs/fcn8s_camvid/best.safetensors --data camvid --split test --metric miou

Measured on two cores of an AMD EPYC (Zen 4, bf16), 2026-11-23, on 294 of the 701 images (184 for training): mIoU
0.666 on val and 0.541 on test after 25 minutes, 7319 steps.

Six of the eleven classes together have 2 % of the pixels, and mIoU counts all classes equally: the loss weights them
up. `--model fcn8s-lite` trains the MobileNetV3 backbone by the same recipe, more slowly.
"""

from __future__ import annotations

from singleshot.data.augment.augment import Augmentation
from singleshot.data.augment.sampling import WHOLE, CropSampler
from singleshot.segmentation.loss import PixelLossConfig
from singleshot.training.optimizer import OptimizerConfig, Schedule
from singleshot.training.recipe import Recipe

RECIPE = Recipe(
    model="fcn8s-fine",
    input_size_hw=(288, 384),
    epochs=None,
    minutes=25.0,
    batch_size=8,
    optimizer=OptimizerConfig(kind="adamw", lr=2e-3, weight_decay=0.05, clip_norm=10.0, bias_lr=1.0),
    schedule=Schedule(kind="cosine", warmup_steps=100),
    augmentation=Augmentation(
        expand_probability=0.25,
        max_expand=1.5,
        samplers=(WHOLE, CropSampler(scale=(0.4, 1.0), aspect_ratio=(0.75, 1.34))),
        interpolations=("linear",),
    ),
    pixel_loss=PixelLossConfig(class_weights="log"),
    ema_decay=0.998,
    validate_every=10,
    train_subset=0,
)
