from __future__ import annotations

import math

import pytest

from singleshot.training.schedule import Schedule, factor


def test_the_2017_posts_rate_falls_by_three_percent_an_epoch() -> None:
    schedule = Schedule(kind="exponential", warmup_steps=0, gamma=0.97)
    assert factor(schedule, step=5, epoch=0, progress=0.0) == 1.0
    assert factor(schedule, step=5, epoch=2, progress=0.0) == pytest.approx(0.9409)


def test_cosine_falls_from_one_over_a_half_to_its_floor() -> None:
    schedule = Schedule(kind="cosine", warmup_steps=0, floor=0.0)
    shares = [factor(schedule, step=9, epoch=0, progress=progress) for progress in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([1.0, 0.5, 0.0])


def test_cosine_stays_at_its_floor_beyond_the_end() -> None:
    assert factor(Schedule(warmup_steps=0), step=9, epoch=0, progress=1.5) == pytest.approx(0.01)


def test_warm_up_rises_in_a_straight_line() -> None:
    schedule = Schedule(kind="constant", warmup_steps=10, warmup_factor=0.1)
    rates = [factor(schedule, step=step, epoch=0, progress=0.0) for step in (0, 5, 10, 11)]
    assert rates == pytest.approx([0.1, 0.55, 1.0, 1.0])
    assert all(math.isfinite(rate) for rate in rates)
