"""What a detection network answers, before anyone has made sense of it. Loss and postprocess are functions of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class RawDetections(NamedTuple):
    """The network's only return type, in training and in evaluation.

    Args:
        class_logits: (B, A, C + 1) before the softmax; column 0 is background, column k + 1 is class k.
            A network with unnamed slots (`SSDConfig`) has their columns too, until `fold_unnamed`.
        box_offsets: (B, A, 4) in the code of `coding`: centre shift and growth against each anchor.
    """

    class_logits: Float[Tensor, "B A K"]
    box_offsets: Float[Tensor, "B A 4"]


def fold_unnamed(raw: RawDetections, unnamed_slots: Sequence[int]) -> RawDetections:
    """The same answer without the columns that name no class; the probabilities of all others stay what they were.

    Their share of the softmax goes to the background, because e^l_background is replaced by the sum of their e^l.

    Args:
        raw: the answer, (B, A, K).
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
