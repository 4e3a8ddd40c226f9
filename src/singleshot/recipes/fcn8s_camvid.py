"""CamVid (SegNet's 11 classes, 480x360), a light segmenter from the backbone in the package.

    singleshot train fcn8s_camvid --data camvid --out runs/fcn8s_camvid
    singleshot evaluate runs/fcn8s_camvid/best.safetensors --data camvid --split val --metric miou
    singleshot evaluate runs/fcn8s_camvid/best.safetensors --data camvid --split test --metric miou

Measured on one core of an Intel Xeon of 2.8 GHz (fp32), 2026-12-01, on 294 of the 701 images (184 for training): mIoU
0.704 on val and 0.588 on test after 5,000 steps. The recipe of 0.1.0 began with random weights (`--model fcn8s-fine
--weights none`) and had 0.666 and 0.541 after 7,319 steps.

Six of the eleven classes together have 2 % of the pixels, and mIoU counts all classes equally: the loss weights them
up. `--model fcn8s-lite --weights none` trains the MobileNetV3 backbone by the same recipe, more slowly.
"""

from __future__ import annotations

from singleshot.data.augment.augment import Augmentation
from singleshot.data.augment.sampling import WHOLE, CropSampler
from singleshot.segmentation.loss import PixelLossConfig
from singleshot.starts import shipped
from singleshot.training.optimizer import OptimizerConfig, Schedule
from singleshot.training.recipe import Recipe

RECIPE = Recipe(
    model="fcn8s-fine2",
    weights=shipped.BACKBONE,
    input_size_hw=(288, 384),
    epochs=None,
    steps=5000,
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
