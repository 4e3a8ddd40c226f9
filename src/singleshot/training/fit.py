"""The training loop, to be read from top to bottom. It knows steps, rates and time; what is learnt is the task's.

    while the run is not over:
        an epoch:    for every batch:  forward → loss → backward → step → running mean → (checkpoint)
        its end:     validate → keep the best weights → log

A step whose loss or gradient is not finite is not taken: its pictures are named, the weights stay what they were,
and after several in a row the run ends with the last good weights on the disk. A signal ends the run after its step,
saved; `checkpoint` and `state` say what is saved, and a resumed run goes on from there bit for bit.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import torch

from singleshot.errors import DataError, SignalledError
from singleshot.training import optimizer as optimizers
from singleshot.training.budget import Budget
from singleshot.training.checkpoint import Checkpoint
from singleshot.training.fabric import Fabric
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe
from singleshot.training.run_folder import RunFolder
from singleshot.training.saver import Saver
from singleshot.training.schedule import factor
from singleshot.training.signals import Interrupted, StopSignals
from singleshot.training.state import Progress, facts_of, restore, tensors_of
from singleshot.training.step import Taken, TrainingStep
from singleshot.training.task import Network, Observer, Outcome, Task, TrainingBatch

BAD_STEPS_IN_A_ROW = 10
LOOK_EVERY = 20
"""Steps between two looks at a device that works ahead of us, see `step`. A CPU is looked at after each."""


def fit(
    task: Task[Network],
    recipe: Recipe,
    folder: RunFolder,
    fabric: Fabric,
    observer: Observer,
    *,
    ranks: Ranks | None = None,
    start: Checkpoint | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Outcome[Network]:
    """Train `task.network` as the recipe says, and leave weights and checkpoints in the run's folder.

    Args:
        task: what is learnt.
        recipe: how.
        folder: where weights, log and checkpoints go.
        fabric: device, precision and ranks.
        observer: is told of steps, epochs and warnings.
        ranks: the processes that share the work; None for this one alone.
        start: the checkpoint to go on from; None begins anew.
        facts: what else each checkpoint holds, see `resume`.

    Raises:
        DataError: too many steps in a row gave a loss that is not finite; the last good weights are saved.
        SignalledError: a signal ended the run, which was saved.
        StorageError: a checkpoint could not be written; the previous one is whole.
    """
    return _Loop(task, recipe, folder, fabric, observer, ranks or Ranks(), start, facts or {}).run()


@dataclass(frozen=True)
class _Unseen:
    """A step that was not looked at yet: its number in the run, its pictures, and what it came to."""

    step: int
    image_ids: tuple[str, ...]
    taken: Taken


class _Loop(Generic[Network]):
    def __init__(
        self,
        task: Task[Network],
        recipe: Recipe,
        folder: RunFolder,
        fabric: Fabric,
        observer: Observer,
        ranks: Ranks,
        start: Checkpoint | None,
        facts: Mapping[str, Any],
    ) -> None:
        self.task, self.recipe, self.folder, self.fabric, self.observer = task, recipe, folder, fabric, observer
        self.ranks, self.facts = ranks, facts
        self.step = TrainingStep(task, recipe, fabric, self.ranks, observer.warn)
        self.network, self.optimizer, self.mean = self.step.network, self.step.optimizer, self.step.mean
        self.judged = self.network if self.mean is None else self.mean.mean
        self.progress = Progress()
        if start is not None:
            self.progress = restore(start, self.network, self.optimizer, self.mean, self.step.scaler)
        self.unseen: list[_Unseen] = []
        self.shown: dict[str, float] = {}
        self.budget = Budget(recipe, task.steps_per_epoch, self.progress.seconds)
        self.saver = Saver(folder.checkpoints, recipe.checkpoint, self.progress.step, ranks.pulse)
        self.signals = StopSignals(launched=ranks.world > 1)

    @property
    def done(self) -> float:
        """The share of the run that is done, by the first rank's clock."""
        done = self.budget.done(self.progress.step)
        return done if self.budget.limit_s is None else self.ranks.from_first(done)

    def run(self) -> Outcome[Network]:
        with self.saver, self.signals:
            try:
                # A position within an epoch means that its validation, at least, is still to come.
                finished = not self.progress.position and self.done >= 1.0
                while not finished:
                    self._train_epoch()
                    finished = self.done >= 1.0  # asked once: a clock may run out between two questions
                    self._judge_epoch(finished)
                self._save()
                self._all_saved()
            except Interrupted:
                self._save()
                self._all_saved()
                raise self._signalled() from None
        progress = self.progress
        rate = progress.images * self.ranks.world / max(progress.training_seconds, 1e-9)
        return Outcome(self.judged, progress.best_score, progress.step, self.budget.seconds, rate)

    def _train_epoch(self) -> None:
        self.network.train()
        batches = iter(self.task.batches(self.progress.epoch, self.progress.position))
        while (done := self.done) < 1.0:
            started = time.monotonic()
            with self._breaking_in():
                batch = next(batches, None)
            if batch is None:
                return
            self.ranks.arrive()
            shown, rate = self._train_batch(batch, done)
            self.ranks.pulse()
            blank = int(batch.blank.sum())
            self.progress.count(self.task.position, len(batch), blank, time.monotonic() - started)
            self.observer.step(
                epoch=self.progress.epoch,
                step=self.progress.step,
                done=self.budget.done(self.progress.step),
                parts=shown,
                rate=rate,
                images=len(batch) * self.ranks.world,
            )
            if self.ranks.any(self.signals.received is not None):
                raise Interrupted
            if self.ranks.first and self.saver.due(self.progress.step):
                self._save()

    def _breaking_in(self) -> AbstractContextManager[None]:
        """Several ranks end after a step, all together; one that broke off alone would leave the others waiting."""
        return self.signals.breaking_in() if self.ranks.world == 1 else nullcontext()

    def _train_batch(self, batch: TrainingBatch, done: float) -> tuple[dict[str, float], float]:
        """One step, and what to show: the parts of the loss, as far as they are known, and the learning rate."""
        progress = self.progress
        share = factor(self.recipe.schedule, step=progress.step, epoch=progress.epoch, progress=done)
        rate = self.recipe.optimizer.lr * share
        optimizers.set_rate(self.optimizer, rate)
        torch.manual_seed(_address(self.recipe.seed, progress.step, self.ranks.rank))
        self.unseen.append(_Unseen(progress.step, batch.image_ids, self.step.take(batch)))
        if not self.step.deferred or len(self.unseen) >= LOOK_EVERY:
            self._look()
        return self.shown, rate

    def _look(self) -> None:
        """Count the steps that were not looked at yet: whether they were taken, and their losses."""
        unseen, self.unseen = self.unseen, []
        for one in unseen:
            parts = one.taken.parts
            if one.taken.finite:
                self.progress.bad_in_a_row = 0
                for name, part in parts.items():
                    self.progress.sums[name] = self.progress.sums.get(name, part.new_zeros(())) + part
                self.progress.epoch_steps += 1
            else:
                self._count_bad_step(one)
            if one is unseen[-1]:
                shown = self.ranks.mean(torch.stack(list(parts.values()))).tolist()
                self.shown = dict(zip(parts, shown, strict=True))

    def _count_bad_step(self, bad: _Unseen) -> None:
        progress = self.progress
        progress.bad_in_a_row += 1
        pictures = ", ".join(bad.image_ids)
        losses = {name: str(float(part)) for name, part in bad.taken.parts.items()}  # as text: JSON has no NaN
        record = {"epoch": progress.epoch, "step": bad.step, "seed": self.recipe.seed}
        mine = (list(bad.image_ids), losses)
        for rank, (names, values) in enumerate(self.ranks.gather(mine)):
            self.folder.log_bad_step(record | {"rank": rank, "pictures": names, "losses": values})
        self.observer.warn(
            f"step {bad.step} not taken: loss or gradient is not finite ({losses}); pictures: {pictures}"
        )
        if progress.bad_in_a_row >= BAD_STEPS_IN_A_ROW:
            if self.ranks.first:
                self.task.save(self.folder.last, self.judged, {"epoch": progress.epoch, "step": progress.step})
            raise DataError(
                f"the loss was not finite {progress.bad_in_a_row} steps in a row; the last good weights are in "
                f"{self.folder.last}",
                kind="loss-not-finite",
                remedy="Lower --set optimizer.lr, and see bad_steps.jsonl for the pictures",
            )

    def _judge_epoch(self, finished: bool) -> None:
        self._look()
        progress = self.progress
        row: dict[str, Any] = {"epoch": progress.epoch + 1, "step": progress.step}
        sums = {name: float(self.ranks.mean(total)) for name, total in progress.sums.items()}
        row |= {f"train_{name}": total / max(progress.epoch_steps, 1) for name, total in sums.items()}
        row |= {"lr": self.optimizer.param_groups[0]["lr"]}
        images = progress.epoch_images * self.ranks.world
        row |= {"images_per_second": images / max(progress.epoch_seconds, 1e-9)}
        blank = sum(self.ranks.gather(progress.epoch_blank))
        if blank:
            row |= {"blank": blank}
            self._refuse_blank_epoch(blank == images)
        if finished or (progress.epoch + 1) % self.recipe.validate_every == 0:
            if self.ranks.world > 1 and self.saver.idle:  # no signal breaks in, and who sends it may not wait so long
                self._save()
            with self._breaking_in():
                validation = self.task.validate(self.judged)
            row |= validation.columns
            facts = {"epoch": progress.epoch + 1, "step": progress.step, "score": validation.score}
            best = progress.best_score
            better = validation.score is None or best is None or validation.score > best
            if better:
                progress.best_score = validation.score
            for file in ([self.folder.best] if better else []) + [self.folder.last]:
                if self.ranks.first:
                    self.task.save(file, self.judged, facts)
        for faults in self.ranks.gather(list(self.task.faults)):
            self.folder.add_faults(faults)
        row["seconds"] = self.budget.seconds
        self.folder.log(row)
        self.observer.epoch(row)
        progress.end_epoch()

    def _refuse_blank_epoch(self, all_blank: bool) -> None:
        """An epoch that taught nothing is the last: the next ones would not either."""
        for faults in self.ranks.gather(list(self.task.faults)):
            self.folder.add_faults(faults)
        if all_blank and self.progress.position >= self.task.steps_per_epoch:
            what = "no picture of the split could be read, or none has anything to learn: a whole epoch taught nothing"
            raise DataError(what, kind="nothing-learned", remedy="See bad.jsonl", file=self.folder.root)

    def _all_saved(self) -> None:
        """Wait for the disk, all ranks together: one that ended before would be missed, and end them all."""
        self.saver.wait()
        self.ranks.any(False)

    def _save(self) -> None:
        self._look()
        if not self.ranks.first:
            return
        self.progress.seconds = self.budget.seconds
        facts = facts_of(self.progress, self.optimizer, self.mean, self.step.scaler)
        facts |= {**self.facts, "log": list(self.folder.rows)}
        self.saver.save(self.progress.step, tensors_of(self.progress, self.network, self.optimizer, self.mean), facts)

    def _signalled(self) -> SignalledError:
        number = self.signals.received or signal.SIGTERM
        what = f"stopped by {signal.Signals(number).name} after step {self.progress.step}, and saved"
        return SignalledError(what, number=number, remedy="Go on with --resume")


def _address(seed: int, step: int, rank: int) -> int:
    """The seed of what the network itself draws in a step, so that a resumed run draws what the whole one would."""
    return int(np.random.SeedSequence(seed, spawn_key=(step, rank)).generate_state(1, np.uint64)[0] >> 1)
