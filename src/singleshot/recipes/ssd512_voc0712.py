"""SSD512 on Pascal VOC 07+12 as the Caffe reference trains it (Liu et al. 2016, the released SSD512*).

    singleshot train ssd512_voc0712 --weights vgg16-reducedfc --data VOCdevkit --train-split 07+12 --val-split none

Score: not yet measured here. Published: 79.8 mAP on VOC2007 test (11 points), from an ImageNet backbone. See
`ssd300_voc0712` for that backbone, precision and decoding.
"""

from __future__ import annotations

from dataclasses import replace

from singleshot.recipes.ssd300_voc0712 import RECIPE as SSD300

RECIPE = replace(SSD300, model="vgg512")
