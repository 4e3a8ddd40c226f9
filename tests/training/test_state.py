from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from singleshot.errors import DataError
from singleshot.training import checkpoint
from singleshot.training.optimizer import EMA, OptimizerConfig, build
from singleshot.training.recipe import Recipe
from singleshot.training.state import Budget, Progress, facts_of, restore, tensors_of


class Parts:
    """A network in training, two steps taken."""

    def __init__(self, kind: Any = "adamw", steps: int = 2) -> None:
        torch.manual_seed(1)
        self.network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        self.optimizer = build(self.network, OptimizerConfig(kind=kind))
        self.mean = EMA(self.network, 0.9)
        self.progress = Progress()
        for step in range(steps):
            self.step(step)

    def step(self, step: int) -> None:
        torch.manual_seed(step)
        loss = self.network(torch.randn(2, 3, 8, 8)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.mean.update(self.network)
        self.progress.count(step + 1, 2, 1, 0.5)
        self.progress.sums["class"] = self.progress.sums.get("class", torch.zeros(())) + loss.detach()

    def save(self, root: Path) -> checkpoint.Checkpoint:
        tensors = tensors_of(self.progress, self.network, self.optimizer, self.mean)
        facts = facts_of(self.progress, self.optimizer, self.mean)
        return checkpoint.read(checkpoint.write(root, self.progress.step, tensors, facts))


@pytest.mark.parametrize("kind", ["sgd", "adam", "adam-tf1", "adamw"])
def test_what_is_restored_takes_the_same_next_step_bit_for_bit(tmp_path: Path, kind: str) -> None:
    first = Parts(kind)
    saved = first.save(tmp_path)
    second = Parts(kind, steps=0)
    second.progress = restore(saved, second.network, second.optimizer, second.mean)
    assert replace(second.progress, sums={}) == replace(first.progress, sums={})
    assert second.progress.sums.keys() == first.progress.sums.keys() == {"class"}
    assert torch.equal(second.progress.sums["class"], first.progress.sums["class"])
    for parts in (first, second):
        parts.step(2)
    one, two = (tensors_of(p.progress, p.network, p.optimizer, p.mean) for p in (first, second))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert facts_of(first.progress, first.optimizer, first.mean) == facts_of(
        second.progress, second.optimizer, second.mean
    )


def test_a_new_epoch_begins_at_nought_and_keeps_what_belongs_to_the_run() -> None:
    progress = Parts().progress
    progress.end_epoch(0.5)
    assert (progress.epoch, progress.step, progress.images, progress.training_seconds) == (1, 2, 4, 1.0)
    assert (progress.position, progress.epoch_images, progress.epoch_seconds, progress.sums) == (0, 0, 0.0, {})


def test_another_network_is_refused_with_the_checkpoints_name(tmp_path: Path) -> None:
    saved = Parts().save(tmp_path)
    other = nn.Sequential(nn.Conv2d(3, 5, 3))
    optimizer = build(other, OptimizerConfig())
    with pytest.raises(DataError, match="does not fit this run") as raised:
        restore(saved, other, optimizer, EMA(other, 0.9))
    assert raised.value.file == saved.path


def test_fp16s_loss_scale_goes_on_where_it_was(tmp_path: Path) -> None:
    scaler = GradScaler("cpu", init_scale=2.0**9)
    first = Parts()
    facts = facts_of(first.progress, first.optimizer, first.mean, scaler)
    tensors = tensors_of(first.progress, first.network, first.optimizer, first.mean)
    saved = checkpoint.read(checkpoint.write(tmp_path, 2, tensors, facts))
    second, other = Parts(steps=0), GradScaler("cpu")
    assert other.state_dict() != scaler.state_dict()
    restore(saved, second.network, second.optimizer, second.mean, other)
    assert other.state_dict() == scaler.state_dict()
    (tmp_path / "older").mkdir()
    older = first.save(tmp_path / "older")  # a run of another precision stored none
    restore(older, second.network, second.optimizer, second.mean, other)
    assert other.state_dict() == scaler.state_dict()


def test_epochs_are_counted_with_the_batches_of_the_current_one_whatever_the_number_of_steps() -> None:
    budget = Budget(Recipe(epochs=4), 5)
    done = [budget.done(Progress(step=77, epoch=epoch, position=at)) for epoch, at in ((0, 0), (1, 0), (3, 4), (4, 1))]
    assert done == [0.0, 0.25, 0.95, 1.0]


def test_steps_count_whatever_an_epoch_has() -> None:
    assert Budget(Recipe(epochs=None, steps=8), 3).done(Progress(step=2)) == 0.25


def test_minutes_count_from_the_start_of_the_run_and_not_of_its_resumption(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("singleshot.training.state.time.monotonic", lambda: now)
    budget = Budget(Recipe(epochs=None, minutes=2.0), 3, seconds_before=30.0)
    assert budget.done(Progress(step=10**6)) == 0.25
    now = 1060.0
    assert budget.seconds == 90.0 and budget.done(Progress()) == 0.75
    now = 2000.0
    assert budget.done(Progress()) == 1.0


def test_a_run_over_nothing_is_done() -> None:
    assert Budget(Recipe(epochs=1), 0).done(Progress()) == 1.0
