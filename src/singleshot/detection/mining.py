"""Hard negatives on a CPU: the background anchors that the network is most mistaken about, in one compiled pass.

Of some thousand background anchors in a picture some dozens train. To find them, every anchor must be ranked, and
that is where a loss on a CPU spends its time: a softmax of all anchors, two sorts, and a graph for all of it. The rank
needs less. The loss of a background anchor is log(1 + s) with s = Σ e^(l_k − l_0) over the classes k ≥ 1; it grows
with s, so that s itself can be compared, and the k-th greatest of a row is found without sorting it.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from singleshot.compiled import compiled
from singleshot.detection.exponential import HIGHEST, LOWEST, exponentiate
from singleshot.detection.greatest import greatest

# Anchors that are worked on together: their logits and the work space fit into the first cache.
BLOCK = 32


def hardest(
    class_logits: Float[Tensor, "B A K"], eligible: Bool[Tensor, "B A"], counts: Int[Tensor, " B"]
) -> Int[Tensor, " S"]:
    """The `counts[b]` most mistaken of each picture's eligible anchors, or all of them where they are fewer.

    Args:
        class_logits: (B, A, C + 1), on the CPU; column 0 is background.
        eligible: (B, A) anchors that may be chosen.
        counts: (B,) how many are wanted, at least 0.

    Returns their rows in the (B·A, ·) tables, rising. Ties go to the earlier anchor; an anchor that is wrong by more
    than 80 nats, or not finite, ranks as one that is wrong by 80.
    """
    logits = class_logits.detach().float().contiguous().numpy()
    return torch.from_numpy(_hardest(logits, eligible.numpy(), counts.numpy()))


@compiled
def _hardest(logits, eligible, counts):  # noqa: ANN001, ANN202
    batch, total, _ = logits.shape
    rows = np.empty(min(counts.sum(), batch * total), np.int64)
    mistakes = np.empty(total, np.float32)
    # Bits of positive floats are ordered as the floats are, and integers have no NaN.
    bits = mistakes.view(np.int32)
    filled = 0
    for b in range(batch):
        if counts[b] == 0:
            continue
        _mistakes(logits[b], mistakes)
        candidates = np.nonzero(eligible[b])[0]
        for place in greatest(bits[candidates], counts[b]):
            rows[filled] = b * total + candidates[place]
            filled += 1
    return rows[:filled]


@compiled
def _mistakes(logits, mistakes):  # noqa: ANN001, ANN202
    """Write s of each of the (A, K) anchors."""
    total, width = logits.shape
    values = np.empty((BLOCK, width), np.float32)
    whole, power = np.empty(BLOCK * width, np.float32), np.empty(BLOCK * width, np.float32)
    for start in range(0, total, BLOCK):
        block = logits[start : start + BLOCK]
        for i in range(len(block)):
            row, out, background = block[i], values[i], block[i, 0]
            for k in range(width):
                above = row[k] - background
                above = above if above < HIGHEST else HIGHEST
                out[k] = above if above > LOWEST else LOWEST
        used = len(block) * width
        exponentiate(values.reshape(-1)[:used], whole[:used], power[:used])
        sums = mistakes[start : start + BLOCK]
        for i in range(len(block)):
            out, s = values[i], np.float32(0)
            for k in range(1, width):
                s += out[k]
            sums[i] = s
