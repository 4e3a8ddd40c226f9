from __future__ import annotations

import pytest

from singleshot.training.budget import Budget
from singleshot.training.recipe import Recipe


def test_epochs_count_as_their_steps() -> None:
    budget = Budget(Recipe(epochs=4), 5)
    assert [budget.done(steps) for steps in (0, 5, 19, 20, 21)] == [0.0, 0.25, 0.95, 1.0, 1.0]


def test_steps_count_whatever_an_epoch_has() -> None:
    assert Budget(Recipe(epochs=None, steps=8), 3).done(2) == 0.25


def test_minutes_count_from_the_start_of_the_run_and_not_of_its_resumption(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("singleshot.training.budget.time.monotonic", lambda: now)
    budget = Budget(Recipe(epochs=None, minutes=2.0), 3, seconds_before=30.0)
    assert budget.done(10**6) == 0.25
    now = 1060.0
    assert budget.seconds == 90.0 and budget.done(0) == 0.75
    now = 2000.0
    assert budget.done(0) == 1.0


def test_a_run_over_nothing_is_done() -> None:
    assert Budget(Recipe(epochs=1), 0).done(0) == 1.0
