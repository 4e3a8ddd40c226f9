"""Greedy suppression inside a graph, in the two ways in which graphs can say it.

torch programs have no operator for it: `loop` takes the candidates rank by rank, all classes at once, and stops after
the longest class. That is the greedy rule itself and no approximation, and a matrix of all overlaps, which would cost
a hundred times more where few candidates are left, is never made. ONNX has NonMaxSuppression, which other runtimes
know well: `standing_in` stands for it while the program is traced, and `onnx` puts the operator in its place.

Both take candidates that are sorted, best first, and give them back with the scores of the dropped set to 0.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Suppression(Protocol):
    """How a graph ranks and suppresses."""

    def greatest(self, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The `count` greatest of each row of (…, N) values ≥ 0 and their places; of equal ones the earlier."""
        ...

    def suppress(self, boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
        """The scores (N, M) of N rows of M sorted candidates with boxes (N, M, 4); 0 for those that are dropped."""
        ...


class LoopSuppression:
    """For torch programs."""

    def greatest(self, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """As `Suppression.greatest`. torch's own top-k leaves the order of equal values open.

        The bits of float32 numbers ≥ 0 are in the order of the numbers. Behind them goes the place, counted from the
        end, and all keys differ.
        """
        last = values.shape[-1] - 1
        from_end = last - torch.arange(values.shape[-1])
        keys = values.contiguous().view(torch.int32).long() * 2**32 + from_end
        best = keys.topk(count, dim=-1).values
        places = last - best.bitwise_and(2**32 - 1)
        return values.gather(-1, places), places

    def suppress(self, boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
        """As `Suppression.suppress`."""
        return torch.where(loop(boxes_xyxy, scores, nms_iou), scores, 0.0)


class OperatorSuppression:
    """For ONNX, whose TopK gives the earlier of equal values first by definition."""

    def greatest(self, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """As `Suppression.greatest`."""
        best, places = values.topk(count, dim=-1)
        return best, places

    def suppress(self, boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
        """As `Suppression.suppress`."""
        return standing_in(boxes_xyxy, scores, nms_iou)


def loop(boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
    """Which of N rows of M sorted candidates are kept, (N, M), by a loop that a torch program can hold."""
    x1, y1, x2, y2 = (edge.contiguous() for edge in boxes_xyxy.unbind(-1))
    areas = (x2 - x1) * (y2 - y1)
    longest = (scores > 0).sum(-1).max()

    def unfinished(rank: Tensor, alive: Tensor, *rest: Tensor) -> Tensor:
        return rank < rest[-1]

    def step(rank: Tensor, alive: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        left, top, right, bottom, area, last = rest
        mine = [edge.index_select(1, rank.reshape(1)) for edge in (left, top, right, bottom, area)]
        width = (torch.minimum(right, mine[2]) - torch.maximum(left, mine[0])).clamp(min=0)
        height = (torch.minimum(bottom, mine[3]) - torch.maximum(top, mine[1])).clamp(min=0)
        common = width * height
        hit = (common > nms_iou * (area + mine[4] - common)) & (torch.arange(left.shape[1]) > rank)
        kept = alive & ~(hit & alive.index_select(1, rank.reshape(1)))
        # A loop may not hand on what it was given: every value that does not change is copied.
        return (rank + 1, kept, *(each.clone() for each in (left, top, right, bottom, area, last)))

    start = (torch.zeros((), dtype=torch.int64), scores > 0, x1, y1, x2, y2, areas, longest)
    return torch.ops.higher_order.while_loop(unfinished, step, start, ())[1]


@torch.library.custom_op(
    "singleshot_export::suppress",
    mutates_args=(),
    schema="(Tensor boxes_xyxy, Tensor scores, float nms_iou) -> Tensor",
)
def standing_in(boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
    """What `onnx` turns into NonMaxSuppression; run by torch it gives what `loop` gives."""
    return torch.where(loop(boxes_xyxy, scores, nms_iou), scores, 0.0)


@standing_in.register_fake
def _(boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
    return torch.empty_like(scores)


OPERATOR = torch.ops.singleshot_export.suppress.default
"""The name by which an exporter knows `standing_in`."""
