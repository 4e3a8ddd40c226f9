"""SSD300 as the 2017 posts trained it, with its differences from the reference.

    singleshot train ssd300_2017 --weights vgg16-imagenet --data VOCdevkit --train-split 2017 --val-split none

Score: not yet measured here. Published by the posts: 74.7 mAP on their own training samples and 68.71 on VOC2012
test, from an ImageNet backbone: `--weights vgg16-imagenet`, or `--weights vgg16-reducedfc` for Caffe's version;
without it the run starts from random weights. It computes in fp32 and decodes exactly, as the posts did.

Differences: more default boxes with linearly spaced scales (`vgg300-2017`), TensorFlow's padding, matching by IoU > 0.5
without the bipartite step, each image's loss divided by its own matches, ground truth not clipped at a crop, shuffled
channels with probability 0.5, and Adam with TensorFlow 1's epsilon of 0.1.
"""

from __future__ import annotations

from singleshot.data.augment.augment import POST_2017
from singleshot.detection.loss import LossConfig
from singleshot.training.optimizer import OptimizerConfig, Schedule
from singleshot.training.recipe import Recipe

RECIPE = Recipe(
    model="vgg300-2017",
    epochs=200,
    batch_size=8,
    precision="fp32",
    fast_decode=False,
    optimizer=OptimizerConfig(kind="adam-tf1", lr=1e-3, epsilon=0.1, weight_decay=5e-4, bias_lr=1.0),
    schedule=Schedule(kind="exponential", warmup_steps=0, gamma=0.97),
    augmentation=POST_2017,
    loss=LossConfig(matching="per-prediction", normaliser="image"),
    ema_decay=None,
    metric="voc07",
)
