"""What a detection network answers, before anyone has made sense of it. Loss and postprocess are functions of it."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class RawDetections(NamedTuple):
    """The network's only return type, in training and in evaluation.

    Args:
        class_logits: (B, A, C + 1) before the softmax; column 0 is background, column k + 1 is class k.
        box_offsets: (B, A, 4) in the code of `coding`: centre shift and growth against each anchor.
    """

    class_logits: Float[Tensor, "B A K"]
    box_offsets: Float[Tensor, "B A 4"]
