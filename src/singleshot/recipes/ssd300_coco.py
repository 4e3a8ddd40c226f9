r"""SSD300 on COCO as the Caffe reference trains it (Liu et al. 2016, the released SSD300* for COCO).

    singleshot train ssd300_coco --weights vgg16-reducedfc --data coco --train-split trainval35k --val-split none \
        --out runs/ssd300_coco
    singleshot evaluate runs/ssd300_coco/best.safetensors --data coco --split minival2014 --metric coco

Score: not yet measured here. Published: 25.1 AP, 43.1 AP50, 25.8 AP75 on COCO test-dev2015, from an ImageNet backbone.
Source: weiliu89/caffe, branch `ssd`, `examples/ssd/ssd_coco.py`.

See `ssd300_voc0712` for that backbone, precision and decoding.
Differences from the VOC recipe: smaller default boxes (7 % and 15 % of the image on the first map) and a longer
schedule. Crowds are not trained on.
"""

from __future__ import annotations

from dataclasses import replace

from singleshot.recipes.ssd300_voc0712 import RECIPE as SSD300
from singleshot.training.optimizer import Schedule

RECIPE = replace(
    SSD300,
    model="vgg300-coco",
    steps=400_000,
    schedule=Schedule(kind="steps", warmup_steps=0, boundaries=(280_000, 360_000)),
    metric="voc12",
)
