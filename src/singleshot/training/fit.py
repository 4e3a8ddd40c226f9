"""The training loop, to be read from top to bottom. It knows steps, rates and time; what is learnt is the task's.

    for every epoch:  for every batch:  forward → loss → backward → step → running mean
                      validate → log → keep the best weights

A step whose loss or gradient is not finite is not taken: its pictures are named, the weights stay what they were,
and after several in a row the run ends with the last good weights on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from singleshot.errors import DataError
from singleshot.training import optimizer as optimizers
from singleshot.training.ema import RunningMean
from singleshot.training.fabric import Fabric
from singleshot.training.recipe import Recipe
from singleshot.training.run_folder import RunFolder
from singleshot.training.schedule import factor

BAD_STEPS_IN_A_ROW = 10

Network = TypeVar("Network", bound=nn.Module)


@runtime_checkable
class TrainingBatch(Protocol):
    """What the loop wants of a batch."""

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Names of the pictures."""
        ...

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Any:
        """The same on a device."""
        ...


@dataclass(frozen=True)
class Validation:
    """What a task says of a network after an epoch.

    Args:
        score: the figure by which the best epoch is chosen, higher is better; None without validation data.
        columns: figures for `log.csv`, by column.
    """

    score: float | None = None
    columns: Mapping[str, float | None] = field(default_factory=dict)


@runtime_checkable
class Task(Protocol[Network]):
    """What is learnt: data, loss, judgement. `training.detection` is one."""

    network: Network
    steps_per_epoch: int

    def batches(self, epoch: int) -> Iterable[TrainingBatch]:
        """The training batches of an epoch (0-based), in an order that depends on the seed and the epoch alone."""
        ...

    def losses(self, module: nn.Module, batch: Any) -> dict[str, Tensor]:
        """The parts of the loss of a batch on the device; their sum is minimised."""
        ...

    def validate(self, network: Network) -> Validation:
        """Judge a network."""
        ...

    def save(self, path: Path, network: Network, facts: Mapping[str, Any]) -> None:
        """Write weights with these facts about the run."""
        ...


@runtime_checkable
class Observer(Protocol):
    """Somebody who watches a run: a progress bar, a test."""

    def step(self, *, epoch: int, step: int, done: float, parts: Mapping[str, float], rate: float, images: int) -> None:
        """After every step; `done` is the share of the run, 0…1, `images` the pictures of this step."""
        ...

    def epoch(self, row: Mapping[str, Any]) -> None:
        """After every epoch, with its row of `log.csv`."""
        ...

    def warn(self, line: str) -> None:
        """Something that the user should know."""
        ...


@dataclass(frozen=True)
class Outcome(Generic[Network]):
    """What a run came to.

    Args:
        network: the network that was judged and saved last.
        best_score: of the best epoch; None without validation.
        steps: taken.
        seconds: spent in the loop, validation included.
        images_per_second: of training alone, waiting for data included.
    """

    network: Network
    best_score: float | None
    steps: int
    seconds: float
    images_per_second: float


class Budget:
    """How much of the run is done, whichever of epochs, steps and minutes limits it."""

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        self.total_steps = recipe.steps if recipe.epochs is None else recipe.epochs * steps_per_epoch
        self.seconds = None if recipe.minutes is None else recipe.minutes * 60
        self.started = time.monotonic()

    def done(self, steps: int) -> float:
        """The share of the run that is done after so many steps, 0…1."""
        if self.seconds is not None:
            return min(1.0, (time.monotonic() - self.started) / self.seconds)
        return min(1.0, steps / self.total_steps) if self.total_steps else 1.0


def fit(task: Task[Network], recipe: Recipe, folder: RunFolder, fabric: Fabric, observer: Observer) -> Outcome[Network]:
    """Train `task.network` as the recipe says, and leave the best and the last weights in the run's folder.

    Raises:
        DataError: too many steps in a row gave a loss that is not finite; the last good weights are saved.
    """
    network = task.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    mean = None if recipe.ema_decay is None else RunningMean(network.to(fabric.device), recipe.ema_decay)
    module, optimizer = fabric.setup(network, optimizers.build(network, recipe.optimizer))
    judged = network if mean is None else mean.mean
    budget = Budget(recipe, task.steps_per_epoch)

    step = epoch = images = bad_in_a_row = 0
    training_seconds, best_score = 0.0, None
    while budget.done(step) < 1.0:
        network.train()
        sums: dict[str, Tensor] = {}
        epoch_started, epoch_images, epoch_steps = time.monotonic(), 0, 0
        for batch in task.batches(epoch):
            done = budget.done(step)
            if done >= 1.0:
                break
            rate = recipe.optimizer.lr * factor(recipe.schedule, step=step, epoch=epoch, progress=done)
            optimizers.set_rate(optimizer, rate)
            statistics = _statistics(network)
            parts = task.losses(module, batch.to(fabric.device))
            if _step(fabric, optimizer, network, parts, recipe):
                bad_in_a_row = 0
                if mean is not None:
                    mean.update(network)
                for name, part in parts.items():
                    sums[name] = sums.get(name, part.new_zeros(())) + part.detach()
                epoch_steps += 1
            else:
                _restore(network, statistics)
                bad_in_a_row += 1
                _report_bad_step(folder, observer, recipe, epoch, step, batch, parts)
                if bad_in_a_row >= BAD_STEPS_IN_A_ROW:
                    task.save(folder.last, judged, {"epoch": epoch, "step": step})
                    raise DataError(
                        f"the loss was not finite {bad_in_a_row} steps in a row; the last good weights are in "
                        f"{folder.last}",
                        kind="loss-not-finite",
                        remedy="Lower --set optimizer.lr, and see bad_steps.jsonl for the pictures",
                    )
            step += 1
            images, epoch_images = images + len(batch), epoch_images + len(batch)
            shown = {name: float(part.detach()) for name, part in parts.items()}
            observer.step(epoch=epoch, step=step, done=budget.done(step), parts=shown, rate=rate, images=len(batch))
        seconds = time.monotonic() - epoch_started
        training_seconds += seconds
        epoch += 1
        finished = budget.done(step) >= 1.0
        row: dict[str, Any] = {"epoch": epoch, "step": step}
        row |= {f"train_{name}": float(total) / max(epoch_steps, 1) for name, total in sums.items()}
        row |= {"lr": optimizer.param_groups[0]["lr"], "images_per_second": epoch_images / max(seconds, 1e-9)}
        if finished or epoch % recipe.validate_every == 0:
            validation = task.validate(judged)
            row |= validation.columns
            facts = {"epoch": epoch, "step": step, "score": validation.score}
            if validation.score is None or best_score is None or validation.score > best_score:
                best_score = validation.score
                task.save(folder.best, judged, facts)
            task.save(folder.last, judged, facts)
        row["seconds"] = time.monotonic() - budget.started
        folder.log(row)
        observer.epoch(row)
    return Outcome(judged, best_score, step, time.monotonic() - budget.started, images / max(training_seconds, 1e-9))


def _step(
    fabric: Fabric, optimizer: torch.optim.Optimizer, network: nn.Module, parts: dict[str, Tensor], recipe: Recipe
) -> bool:
    """Backward and step; False, with nothing changed, if loss or gradient is not finite."""
    total = torch.stack(list(parts.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    if not total.isfinite():  # note: waits for the device
        return False
    fabric.backward(total)
    limit = recipe.optimizer.clip_norm or float("inf")
    norm = nn.utils.clip_grad_norm_(network.parameters(), limit)
    if not norm.isfinite():
        return False
    optimizer.step()
    return True


def _statistics(network: nn.Module) -> dict[str, Tensor]:
    """A copy of what a forward pass alone changes: running statistics, which one bad batch would spoil for good."""
    return {name: buffer.clone() for name, buffer in network.named_buffers() if "running_" in name}


def _restore(network: nn.Module, statistics: dict[str, Tensor]) -> None:
    for name, buffer in network.named_buffers():
        if name in statistics:
            buffer.copy_(statistics[name])


def _report_bad_step(
    folder: RunFolder,
    observer: Observer,
    recipe: Recipe,
    epoch: int,
    step: int,
    batch: TrainingBatch,
    parts: dict[str, Tensor],
) -> None:
    pictures = ", ".join(batch.image_ids)
    losses = {name: str(float(part.detach())) for name, part in parts.items()}  # as text: JSON has no NaN
    record = {"epoch": epoch, "step": step, "seed": recipe.seed, "pictures": list(batch.image_ids), "losses": losses}
    folder.log_bad_step(record)
    observer.warn(f"step {step} not taken: loss or gradient is not finite ({losses}); pictures: {pictures}")
