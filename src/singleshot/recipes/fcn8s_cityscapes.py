"""Cityscapes (2975 images, 19 classes), Berkeley's FCN-8s at half size on an ImageNet backbone.

    singleshot train fcn8s_cityscapes --data cityscapes --weights vgg16-imagenet --out runs/fcn8s_cityscapes
    singleshot evaluate runs/fcn8s_cityscapes/best.safetensors --data cityscapes --split val --metric miou

Score: not yet measured here; published for FCN-8s on the test server: 65.3 IoU of classes, 85.7 of categories.
The loss is the mean over pixels, with a rate to match; the reference sums over pixels at 1e-14 and trains in stages.
"""

from __future__ import annotations

from singleshot.data.augment.augment import Augmentation
from singleshot.data.augment.sampling import WHOLE, CropSampler
from singleshot.training.optimizer import OptimizerConfig, Schedule
from singleshot.training.recipe import Recipe

RECIPE = Recipe(
    model="fcn8s",
    input_size_hw=(512, 1024),
    epochs=100,
    batch_size=4,
    optimizer=OptimizerConfig(kind="adamw", lr=1e-4, weight_decay=0.05, clip_norm=10.0),
    schedule=Schedule(kind="cosine", warmup_steps=500),
    augmentation=Augmentation(
        expand_probability=0.0,
        samplers=(WHOLE, CropSampler(scale=(0.5, 1.0), aspect_ratio=(0.8, 1.25))),
        interpolations=("linear",),
    ),
    ema_decay=0.999,
    validate_every=5,
    train_subset=0,
)
