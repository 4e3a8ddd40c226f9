"""The network's output and its box coding.

SSD never predicts a box. It predicts how far a box is from an anchor (paper, equation 2): the centre moves by a
fraction of the anchor's size, the size grows by a power of e, and both are divided by a variance so that targets
spread over about one unit.

    boxes  → encode → offsets    the targets of training
    boxes  ← decode ← offsets    the predictions

Every box here is (cx, cy, w, h) in fractions of the network's input, with w, h > 0. The variances are the
reference's 0.1 and 0.2 (the 2017 post's factors 10 and 5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Scores = Literal["softmax", "sigmoid"]
"""How class scores come from logits; a stored property of a detector (`SSDConfig.scores`)."""
CENTRE_VARIANCE = 0.1
SIZE_VARIANCE = 0.2
# exp() of an untrained network's output must stay finite. No box is 62.5 times its anchor, so this changes no
# prediction that could be right (torchvision clamps at the same value).
MAX_GROWTH = math.log(1000.0 / 16.0)


class RawDetections(NamedTuple):
    """The only return type of a detection network, in training and in evaluation. Loss and postprocess take it.

    Args:
        class_logits: (B, A, C + 1) before the softmax; column 0 is background, column k + 1 is class k.
            A network with unnamed slots (`SSDConfig`) has their columns too, until `fold_unnamed`. Where a sigmoid
            scores each class by itself, there is no background: (B, A, C), column k is class k.
        box_offsets: (B, A, 4) centre shift and growth against each anchor, as `encode` defines them.
    """

    class_logits: Float[Tensor, "B A K"]
    box_offsets: Float[Tensor, "B A 4"]


def encode(boxes_cxcywh: Float[Tensor, "*B 4"], anchors_cxcywh: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 4"]:
    """Compute the offsets that carry each anchor onto its box; `decode(encode(b, a), a) == b`.

    A box without width or height has no offsets: the result is −inf. Readers refuse such boxes.

    >>> anchor = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    >>> encode(anchor, anchor)
    tensor([[0., 0., 0., 0.]])
    """
    shift = (boxes_cxcywh[..., :2] - anchors_cxcywh[..., :2]) / anchors_cxcywh[..., 2:]
    growth = (boxes_cxcywh[..., 2:] / anchors_cxcywh[..., 2:]).log()
    return torch.cat([shift / CENTRE_VARIANCE, growth / SIZE_VARIANCE], dim=-1)


def decode(offsets: Float[Tensor, "*B A 4"], anchors_cxcywh: Float[Tensor, "... A 4"]) -> Float[Tensor, "*B A 4"]:
    """Compute the boxes (cx, cy, w, h) of the offsets; the inverse of `encode` for growth up to 62.5 times.

    The anchors may be those of one image, (A, 4), or have the leading axes of the offsets.

    >>> decode(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.5, 0.5, 0.2, 0.2]]))
    tensor([[0.5200, 0.5000, 0.2000, 0.2000]])
    """
    centre = anchors_cxcywh[..., :2] + offsets[..., :2] * CENTRE_VARIANCE * anchors_cxcywh[..., 2:]
    size = anchors_cxcywh[..., 2:] * (offsets[..., 2:] * SIZE_VARIANCE).clamp(max=MAX_GROWTH).exp()
    return torch.cat([centre, size], dim=-1)


def fold_unnamed(raw: RawDetections, unnamed_slots: Sequence[int]) -> RawDetections:
    """Remove the columns that name no class; the probabilities of all others stay as they are.

    Their share of the softmax goes to the background, because e^l_background is replaced by the sum of their e^l.

    Args:
        raw: the network's output, (B, A, K).
        unnamed_slots: columns above 0; see `SSDConfig`. With none, `raw` itself is returned.

    Returns:
        class logits of (B, A, K − slots): background, then the classes by id.

    >>> odds = torch.tensor([[[2.0, 3.0, 1.0, 4.0]]])
    >>> folded = fold_unnamed(RawDetections(odds.log(), torch.zeros(1, 1, 4)), (2,))
    >>> folded.class_logits.softmax(-1).mul(10).round()
    tensor([[[3., 3., 4.]]])
    """
    if not unnamed_slots:
        return raw
    logits = raw.class_logits
    unnamed = [0, *unnamed_slots]
    named = [column for column in range(logits.shape[-1]) if column not in unnamed]
    background = logits[..., unnamed].logsumexp(-1, keepdim=True)
    return RawDetections(torch.cat([background, logits[..., named]], -1), raw.box_offsets)


def class_scores(class_logits: Float[Tensor, "*B K"], scores: Scores) -> Float[Tensor, "*B C"]:
    """Compute the score of each class from logits without unnamed slots (`fold_unnamed`); scores are in 0…1.

    >>> class_scores(torch.tensor([[3.0, 1.0]]).log(), "softmax"), class_scores(torch.tensor([[3.0]]).log(), "sigmoid")
    (tensor([[0.2500]]), tensor([[0.7500]]))
    """
    return class_logits.sigmoid() if scores == "sigmoid" else class_logits.softmax(dim=-1)[..., 1:]
