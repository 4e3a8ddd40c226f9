"""Box coding: the language in which the network speaks about boxes.

SSD never predicts a box. It predicts how far a box is from an anchor (paper, equation 2): the centre moves by a
fraction of the anchor's size, the size grows by a power of e, and both are divided by a variance so that targets
spread over about one unit.

    boxes  → encode → offsets    what training aims at
    boxes  ← decode ← offsets    what inference reads back

Every box here is (cx, cy, w, h) in fractions of the network's input, with w, h > 0. The variances are the
reference's 0.1 and 0.2 (the 2017 post's factors 10 and 5).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

CENTRE_VARIANCE = 0.1
SIZE_VARIANCE = 0.2
# exp() of an untrained network's answer must stay finite. No box is 62.5 times its anchor, so this changes no
# answer that could be right (torchvision clamps at the same place).
MAX_GROWTH = math.log(1000.0 / 16.0)


def encode(boxes_cxcywh: Float[Tensor, "*B 4"], anchors_cxcywh: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 4"]:
    """Offsets that carry each anchor onto its box; `decode(encode(b, a), a) == b`.

    A box without width or height has no offsets: the result is −inf. Readers refuse such boxes.

    >>> anchor = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    >>> encode(anchor, anchor)
    tensor([[0., 0., 0., 0.]])
    """
    shift = (boxes_cxcywh[..., :2] - anchors_cxcywh[..., :2]) / anchors_cxcywh[..., 2:]
    growth = (boxes_cxcywh[..., 2:] / anchors_cxcywh[..., 2:]).log()
    return torch.cat([shift / CENTRE_VARIANCE, growth / SIZE_VARIANCE], dim=-1)


def decode(offsets: Float[Tensor, "*B A 4"], anchors_cxcywh: Float[Tensor, "A 4"]) -> Float[Tensor, "*B A 4"]:
    """The boxes (cx, cy, w, h) that the offsets speak of; the inverse of `encode` for growth up to 62.5 times.

    >>> decode(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.5, 0.5, 0.2, 0.2]]))
    tensor([[0.5200, 0.5000, 0.2000, 0.2000]])
    """
    centre = anchors_cxcywh[..., :2] + offsets[..., :2] * CENTRE_VARIANCE * anchors_cxcywh[..., 2:]
    size = anchors_cxcywh[..., 2:] * (offsets[..., 2:] * SIZE_VARIANCE).clamp(max=MAX_GROWTH).exp()
    return torch.cat([centre, size], dim=-1)
