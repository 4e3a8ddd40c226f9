"""KITTI road, FCN-8s as the 2017 post trained it: 576x160, Adam 1e-4, dropout, trained bilinear heads.

    singleshot train fcn8s_kitti_road --data data_road --weights vgg16-imagenet --out runs/fcn8s_kitti_road
    singleshot evaluate runs/fcn8s_kitti_road/best.safetensors --data data_road --split val --metric maxf

Score: not yet measured here. The post states none; KittiSeg's FCN-8s claims MaxF above 0.96 on a validation split in
the image plane. Differences from the post: areas that KITTI does not evaluate are not trained as background, and every
sixth image of a category is for validation, where the post drew a tenth at random. 500 epochs took the post two hours
on a GTX 1080 Ti (16 s per epoch).
"""

from __future__ import annotations

from singleshot.data.augment.augment import NONE
from singleshot.training.optimizer import OptimizerConfig, Schedule
from singleshot.training.recipe import Recipe

RECIPE = Recipe(
    model="fcn8s-2017",
    input_size_hw=(160, 576),
    epochs=500,
    batch_size=20,
    drop_last=False,
    optimizer=OptimizerConfig(kind="adam", lr=1e-4, weight_decay=0.0, bias_lr=1.0),
    schedule=Schedule(kind="constant", warmup_steps=0),
    augmentation=NONE,
    pixel_metric="maxf",
    ema_decay=None,
    validate_every=5,
    train_subset=0,
)
