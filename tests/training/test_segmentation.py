"""The loss of a batch that ranks share; the task as a whole is tried as a run in test_run_masks.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from singleshot.preprocess import Preprocess
from singleshot.segmentation.loss import PixelLossConfig
from singleshot.structures import VOID, Batch
from singleshot.training.ranks import Ranks
from singleshot.training.segmentation import SegmentationTask


class Sharing(Ranks):
    """One of two ranks; of the sum over both it is told what the other one has."""

    def __init__(self, of_other: float) -> None:
        super().__init__()
        self.world, self.of_other = 2, of_other

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor + self.of_other


def task(ranks: Ranks, class_weights: Tensor | None) -> SegmentationTask:
    made: Any = SegmentationTask.__new__(SegmentationTask)
    made.ranks, made.weights = ranks, class_weights
    made.network = SimpleNamespace(config=SimpleNamespace(preprocess=Preprocess(size_hw=(4, 4))))
    made.recipe = SimpleNamespace(pixel_loss=PixelLossConfig())
    return made


def made_batch(masks: Tensor) -> Batch[Tensor]:
    images = torch.randint(0, 255, (*masks.shape, 3), dtype=torch.uint8)
    names = tuple(f"{place}" for place in range(len(masks)))
    blank, sizes_hw = (masks == VOID).all(dim=2).all(dim=1), torch.tensor([masks.shape[1:]] * len(masks))
    return Batch(images, masks, names, torch.arange(len(masks)), sizes_hw, blank)


def rows(batch: Batch[Tensor], start: int, stop: int) -> Batch[Tensor]:
    return batch[start:stop]


@pytest.mark.parametrize("class_weights", [None, torch.tensor([1.0, 7.0])])
@pytest.mark.parametrize("parts", [1, 2])
def test_the_mean_over_ranks_is_the_loss_of_the_whole_batch(class_weights: Tensor | None, parts: int) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(3, 2, 1)
    masks = torch.randint(0, 2, (4, 4, 4), dtype=torch.uint8)
    masks[0] = VOID  # the first rank has fewer pixels that count
    masks[1, 1:] = VOID
    batch = made_batch(masks)
    alone = task(Ranks(), class_weights)
    wanted = alone.losses(module, batch)["pixel"]
    means = []
    for rank in (0, 1):
        mine, other = rows(batch, 2 * rank, 2 * rank + 2), rows(batch, 2 - 2 * rank, 4 - 2 * rank)
        sharing = task(Sharing(float(alone._weight(other.targets))), class_weights)
        if parts == 1:
            means.append(sharing.losses(module, mine)["pixel"])
        else:
            whole = sharing.whole(mine)
            halves = [sharing.losses(module, rows(mine, place, place + 1), whole)["pixel"] for place in (0, 1)]
            means.append(halves[0] + halves[1])
    torch.testing.assert_close(torch.stack(means).mean(), wanted)
    uneven = torch.stack([alone.losses(module, rows(batch, place, place + 2))["pixel"] for place in (0, 2)]).mean()
    assert not torch.isclose(uneven, wanted, rtol=1e-4)  # what a plain mean over ranks would be


def test_a_batch_that_is_void_everywhere_teaches_nothing_and_is_no_nan() -> None:
    batch = made_batch(torch.full((1, 4, 4), VOID, dtype=torch.uint8))
    assert task(Sharing(0.0), None).losses(nn.Conv2d(3, 2, 1), batch)["pixel"].item() == 0.0
