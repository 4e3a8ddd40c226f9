from __future__ import annotations

import pytest
import torch

from singleshot.detection.mining import hardest


def case(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 100, 5, generator=generator) * 3, torch.rand(3, 100, generator=generator) < 0.7


@pytest.mark.parametrize("seed", range(4))
def test_they_have_the_greatest_losses_as_background(seed: int) -> None:
    logits, eligible = case(seed)
    loss = torch.where(eligible, -logits.log_softmax(-1)[..., 0], -torch.inf)
    counts = torch.tensor([0, 7, 1000])
    expected = []
    for b, count in enumerate(counts.tolist()):
        best = loss[b].sort(descending=True).indices[: min(count, int(eligible[b].sum()))]
        expected += sorted((b * 100 + best).tolist())
    assert hardest(logits, eligible, counts).tolist() == expected


def test_ties_go_to_the_earlier_anchor() -> None:
    logits, eligible = torch.zeros(1, 10, 2), torch.ones(1, 10, dtype=torch.bool)
    eligible[0, 1], logits[0, 8, 1] = False, 1.0
    assert hardest(logits, eligible, torch.tensor([3])).tolist() == [0, 2, 8]


def test_confident_anchors_are_told_apart_where_a_softmax_in_float32_says_zero() -> None:
    logits = torch.zeros(1, 3, 2)
    logits[0, :, 0] = torch.tensor([40.0, 30.0, 35.0])
    assert (logits.log_softmax(-1)[..., 0] == 0).all()
    assert hardest(logits, torch.ones(1, 3, dtype=torch.bool), torch.tensor([1])).tolist() == [1]


def test_an_answer_that_is_not_a_number_is_chosen_first_so_that_the_loss_shows_it() -> None:
    logits = torch.randn(1, 50, 3)
    logits[0, 33, 2] = torch.nan
    assert hardest(logits, torch.ones(1, 50, dtype=torch.bool), torch.tensor([1])).tolist() == [33]


@pytest.mark.parametrize("counts", [[0, 0, 0], [5, 5, 5]])
def test_without_candidates_or_wishes_there_are_none(counts: list[int]) -> None:
    logits, _ = case(0)
    assert hardest(logits, torch.zeros(3, 100, dtype=torch.bool), torch.tensor(counts)).shape == (0,)
