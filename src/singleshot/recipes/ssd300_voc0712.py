"""SSD300 on Pascal VOC 07+12 as the Caffe reference trains it (Liu et al. 2016, the released SSD300*).

    singleshot train ssd300_voc0712 --weights vgg16-reducedfc --data VOCdevkit --train-split 07+12 --val-split none

Score: not yet measured here. Published: 77.2 mAP on VOC2007 test (11 points), from an ImageNet backbone.
Source: weiliu89/caffe, branch `ssd`, `examples/ssd/ssd_pascal.py`.

That score requires a backbone trained on ImageNet. `--weights vgg16-reducedfc` downloads it once (80 MB) or takes the
file of `singleshot weights import vgg16-reducedfc`; without it the run starts from random weights.
The recipe computes in fp32 and decodes exactly, as the reference does. The scale of the L2 norm decays too.
"""

from __future__ import annotations

from singleshot.data.augment.augment import CAFFE
from singleshot.detection.loss import LossConfig
from singleshot.training.optimizer import OptimizerConfig, Schedule
from singleshot.training.recipe import Recipe

RECIPE = Recipe(
    model="vgg300",
    epochs=None,
    steps=120_000,
    batch_size=32,
    precision="fp32",
    fast_decode=False,
    optimizer=OptimizerConfig(
        kind="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4, decayed="weights-and-scales", bias_lr=2.0
    ),
    schedule=Schedule(kind="steps", warmup_steps=0, boundaries=(80_000, 100_000)),
    augmentation=CAFFE,
    loss=LossConfig(),
    ema_decay=None,
    metric="voc07",
    validate_every=10,
)
