"""The training loop, to be read from top to bottom; `step` says what happens between a batch and updated weights.

    while the run is not over:
        an epoch:    for every batch:  learning rate → step (forward, loss, backward, optimizer, EMA) → (checkpoint)
        its end:     validate → save the best weights → log

A step whose loss or gradient is not finite is not taken: its images are named, the weights stay unchanged, and after
several in a row the run ends with the last good weights on disk. So it does where the weights of an epoch are not good:
weights, statistics and outputs are finite. A signal ends the run after its step, saved;
`checkpoint` and `state` say what is saved, and a resumed run continues from there bit for bit.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from singleshot import weights
from singleshot.data.load.loader import Loader
from singleshot.detection.ssd import SSD
from singleshot.errors import DataError, Fault, SignalledError
from singleshot.segmentation.fcn import FCN
from singleshot.training.callbacks import Callbacks, Step, Validated
from singleshot.training.checkpoint import Checkpoint, Saver
from singleshot.training.criterion import Criterion
from singleshot.training.devices import Fabric
from singleshot.training.loggers import Observer
from singleshot.training.optimizer import factor, set_learning_rate
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe
from singleshot.training.run_folder import RunFolder
from singleshot.training.signals import Interrupted, StopSignals
from singleshot.training.state import Budget, Progress, facts_of, position_now, restore, tensors_of
from singleshot.training.step import StepResult, TrainingStep
from singleshot.training.validate import Validation

BAD_STEPS_IN_A_ROW = 10
COMBINE_NOT = 0.1
"""Share of a run, its last, in which images come alone: mosaics do not look like what will be predicted."""
CHECK_EVERY = 20
"""Steps between two checks for NaN on a device that works ahead of the host, see `step`. A CPU checks each step."""


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Args:
        network: the network that was validated and saved last.
        best_score: of the best epoch; None without validation.
        steps: steps of the whole run.
        seconds: spent in the loop, validation included.
        images_per_second: of training alone, waiting for data included.
    """

    network: SSD | FCN
    best_score: float | None
    steps: int
    seconds: float
    images_per_second: float


def fit(
    network: SSD | FCN,
    criterion: Criterion,
    loader: Loader[Any],
    validate: Callable[[Any], Validation],
    *,
    recipe: Recipe,
    folder: RunFolder,
    fabric: Fabric,
    ranks: Ranks,
    observer: Observer,
    callbacks: Callbacks,
    start: Checkpoint | None = None,
    facts: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Outcome:
    """Train a network, and leave weights and checkpoints in the run's folder.

    Args:
        network: the network to train.
        criterion: its loss.
        loader: its training batches.
        validate: evaluates the network, or its EMA, after an epoch.
        recipe: every choice.
        folder: where weights, log and checkpoints go.
        fabric: device, precision and ranks.
        ranks: the processes that share the work.
        observer: shows steps, epochs and warnings.
        callbacks: are called after steps, validations and epochs.
        start: the checkpoint to continue from; None starts anew.
        facts: what each checkpoint stores besides, see `state.find`.
        provenance: what each weights file says about its origin.

    Raises:
        DataError: too many NaN steps in a row (the last good weights are saved), or an epoch without any label.
        SignalledError: a signal ended the run, which was saved.
        CallbackError: a callback raised an exception, which ended the run; it was saved.
        StorageError: a checkpoint could not be written; the previous one is whole.
    """
    step = TrainingStep(network, criterion, recipe, fabric, ranks, observer.warn)
    network, optimizer, ema = step.network, step.optimizer, step.ema
    progress = Progress() if start is None else restore(start, network, optimizer, ema, step.scaler)
    if start is not None:
        before = start.facts.get("identity", {}).get("recipe.batch_size", recipe.batch_size)
        progress.position = position_now(progress.position, before, recipe.batch_size, len(loader))
    budget = Budget(recipe, len(loader), progress.seconds)
    run = _Run(step, progress, budget, folder, observer, callbacks, dict(facts or {}), dict(provenance or {}))
    signals = StopSignals(launched=ranks.world > 1)
    # Several ranks stop after a step, all together; one that stopped alone would leave the others waiting.
    interruptible = signals.interruptible if ranks.world == 1 else nullcontext

    with run.saver, signals:
        try:
            # A position within an epoch means that its validation, at least, is still to come.
            finished = not progress.position and (run.share_done() >= 1.0 or run.is_stale())
            while not finished:
                network.train()
                combine = progress.epoch_began < 1 - COMBINE_NOT
                batches = iter(loader.epoch(progress.epoch, progress.position, combine=combine))
                while (done := run.share_done()) < 1.0:
                    started = time.monotonic()
                    with interruptible():
                        batch = next(batches, None)
                    if batch is None:
                        break
                    ranks.count_collective()
                    lr = recipe.optimizer.lr * factor(
                        recipe.schedule, step=progress.step, epoch=progress.epoch, progress=done
                    )
                    set_learning_rate(optimizer, lr)
                    # The network's own draws (dropout) follow from the step, so that a resumed run repeats them.
                    sequence = np.random.SeedSequence(recipe.seed, spawn_key=(progress.step, ranks.rank))
                    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
                    result = step(batch)
                    losses = run.add_step(batch, result)
                    ranks.report_alive()
                    progress.count(loader.position, len(batch), int(batch.blank.sum()), time.monotonic() - started)
                    observer.step(
                        epoch=progress.epoch,
                        step=progress.step,
                        done=budget.done(progress),
                        parts=losses,
                        rate=lr,
                        images=len(batch) * ranks.world,
                    )
                    callbacks.on_step(
                        Step(
                            epoch=progress.epoch + 1,
                            step=progress.step,
                            done=budget.done(progress),
                            losses=losses,
                            lr=lr,
                            images=len(batch) * ranks.world,
                        )
                    )
                    # Asked together, since a checkpoint checks the pending steps, which all ranks do together.
                    stop, save = ranks.each_any(
                        signals.received is not None or callbacks.failed, ranks.first and run.saver.due(progress.step)
                    )
                    if stop:
                        raise Interrupted
                    if save:
                        run.save_checkpoint()

                finished = run.share_done() >= 1.0  # asked once: a clock may run out between two questions
                row, faults = run.epoch_row(loader), loader.faults
                if finished or (progress.epoch + 1) % recipe.validate_every == 0:
                    if ranks.world > 1 and run.saver.idle:  # ranks finish it, and who sent a signal may not wait
                        run.save_checkpoint()
                    run.require_good()
                    with interruptible():
                        validation = validate(run.validated)
                    row |= run.add_validation(validation)
                    finished = finished or run.is_stale()
                    faults = [*faults, *validation.faults]
                run.end_epoch(row, faults)
                if ranks.any(callbacks.failed):
                    raise Interrupted
            interrupted = False
        except Interrupted:
            interrupted = True
        run.save_checkpoint()
        run.saver.wait()
        ranks.any(False)  # all ranks together: one that ended earlier would be missed, and end them all
        ranks.first_does(callbacks.raise_failure)
        if interrupted:
            number = signals.received or signal.SIGTERM
            message = f"stopped by {signal.Signals(number).name} after step {progress.step}, and saved"
            raise SignalledError(message, number=number, remedy="Continue with --resume")
    rate = progress.images * ranks.world / max(progress.training_seconds, 1e-9)
    return Outcome(run.validated, progress.best_score, progress.step, budget.seconds, rate)


@dataclass(frozen=True)
class _Pending:
    """A step whose loss was not checked yet: its number in the run, its images and its result."""

    step: int
    image_ids: tuple[str, ...]
    result: StepResult


class _Run:
    """What `fit` writes down about its steps and epochs: NaN steps, log, weights files and checkpoints."""

    def __init__(
        self,
        step: TrainingStep,
        progress: Progress,
        budget: Budget,
        folder: RunFolder,
        observer: Observer,
        callbacks: Callbacks,
        facts: dict[str, Any],
        provenance: dict[str, Any],
    ) -> None:
        self.step, self.progress, self.budget, self.folder, self.observer = step, progress, budget, folder, observer
        self.callbacks, self.facts, self.provenance = callbacks, facts, provenance
        self.ranks, self.recipe = step.ranks, step.recipe
        self.validated: Any = step.network if step.ema is None else step.ema.network
        self.saver = Saver(folder.checkpoints, self.recipe.checkpoint, progress.step, self.ranks.report_alive)
        self.pending: list[_Pending] = []
        self.losses: dict[str, float] = {}
        self.last_good = progress.epoch, progress.step, _on_host(self.validated)
        """Epoch, step and tensors of the last weights that were found good; at first those of the start."""

    def share_done(self) -> float:
        """Return the share of the run that is done, by the first rank's clock."""
        done = self.budget.done(self.progress)
        return done if self.budget.limit_s is None else self.ranks.from_first(done)

    def add_step(self, batch: Any, result: StepResult) -> dict[str, float]:
        """Add a step, check it now or with later ones, and return the losses of the last one that was checked."""
        self.pending.append(_Pending(self.progress.step, batch.image_ids, result))
        if not self.step.deferred or len(self.pending) >= CHECK_EVERY:
            self.check_pending()
        return self.losses

    def check_pending(self) -> None:
        """Check pending steps for NaN, and add up the losses of the others."""
        pending, self.pending = self.pending, []
        for each in pending:
            losses = each.result.losses
            if each.result.finite:
                self.progress.bad_in_a_row = 0
                for name, loss in losses.items():
                    self.progress.sums[name] = self.progress.sums.get(name, loss.new_zeros(())) + loss
                self.progress.epoch_steps += 1
            else:
                self._count_bad_step(each)
            if each is pending[-1]:
                means = self.ranks.mean(torch.stack(list(losses.values()))).tolist()
                self.losses = dict(zip(losses, means, strict=True))

    def _count_bad_step(self, bad: _Pending) -> None:
        progress = self.progress
        progress.bad_in_a_row += 1
        losses = {name: str(float(loss)) for name, loss in bad.result.losses.items()}  # as text: JSON has no NaN
        record = {"epoch": progress.epoch, "step": bad.step, "seed": self.recipe.seed}
        for rank, (names, values) in enumerate(self.ranks.gather((list(bad.image_ids), losses))):
            self.folder.log_bad_step(record | {"rank": rank, "pictures": names, "losses": values})
        images = ", ".join(bad.image_ids)
        self.observer.warn(f"step {bad.step} not taken: loss or gradient is not finite ({losses}); images: {images}")
        if progress.bad_in_a_row >= BAD_STEPS_IN_A_ROW:
            self._note_good()
            raise self._diverged(f"the loss was not finite {progress.bad_in_a_row} steps in a row")

    def _note_good(self) -> bool:
        """Return whether the weights now are good, and if so keep a copy of them on the host as the last good ones."""
        if self.ranks.any(not is_good(self.validated)):
            return False
        self.last_good = self.progress.epoch, self.progress.step, _on_host(self.validated)
        return True

    def _diverged(self, message: str) -> DataError:
        """Save the last good weights, and return the error that ends the run."""
        epoch, step, tensors = self.last_good
        self.validated.load_state_dict(tensors)
        self._save_weights("last", {"epoch": epoch, "step": step})
        if self.ranks.first and not self.folder.best.exists():
            self._save_weights("best", {"epoch": epoch, "step": step, "score": None})
        message = f"{message}; the last good weights, of step {step}, are in {self.folder.last}"
        remedy = "Lower --set optimizer.lr, and see bad_steps.jsonl for the images"
        return DataError(message, kind="loss-not-finite", remedy=remedy)

    def require_good(self) -> None:
        """Raise DataError, with the last good weights saved, where those to be validated are not good."""
        if not self._note_good():
            raise self._diverged("weights or their outputs are not finite after this epoch")

    def epoch_row(self, loader: Loader[Any]) -> dict[str, Any]:
        """Return the row of `log.csv` for an epoch's training. Raises DataError for an epoch without any label."""
        self.check_pending()
        progress, ranks = self.progress, self.ranks
        row: dict[str, Any] = {"epoch": progress.epoch + 1, "step": progress.step}
        sums = {name: float(ranks.mean(total)) for name, total in progress.sums.items()}
        row |= {f"train_{name}": total / max(progress.epoch_steps, 1) for name, total in sums.items()}
        row |= {"lr": self.step.optimizer.param_groups[0]["lr"]}
        images = progress.epoch_images * ranks.world
        row |= {"images_per_second": images / max(progress.epoch_seconds, 1e-9)}
        blank = sum(ranks.gather(progress.epoch_blank))
        if blank:
            row |= {"blank": blank}
            self._add_faults(loader.faults)
            if blank == images and progress.position >= len(loader):  # the next epochs would teach nothing either
                message = (
                    "no image of the split could be read, or none has a label: nothing was learned in a whole epoch"
                )
                raise DataError(message, kind="nothing-learned", remedy="See bad.jsonl", file=self.folder.root)
        return row

    def add_validation(self, validation: Validation) -> Mapping[str, float | None]:
        """Save the weights that were validated, as the best ones too where they are, and return the columns."""
        progress, score = self.progress, validation.score
        if validation.thresholds is not None:
            self.validated.config = replace(self.validated.config, display_threshold=validation.thresholds)
        facts = {"epoch": progress.epoch + 1, "step": progress.step, "score": score}
        best = score is None or progress.best_score is None or score > progress.best_score
        if best:
            progress.best_score, progress.not_better = score, 0
            self._save_weights("best", facts)
        else:
            progress.not_better += 1
        self._save_weights("last", facts)
        self.callbacks.on_validation(
            Validated(progress.epoch + 1, progress.step, score, best, validation.columns, self.folder.last)
        )
        return validation.columns

    def is_stale(self) -> bool:
        """Return whether the score has not risen for as many validations as the recipe has patience."""
        return self.recipe.patience is not None and self.progress.not_better >= self.recipe.patience

    def end_epoch(self, row: dict[str, Any], faults: Sequence[Fault]) -> None:
        """Log an epoch, and the files that could not be read in it."""
        self._add_faults(faults)
        row["seconds"] = self.budget.seconds
        self.callbacks.on_epoch(row)
        self.observer.epoch(row)
        self.progress.end_epoch(self.share_done())

    def save_checkpoint(self) -> None:
        """Start to write a checkpoint. All ranks call it, for the check of pending steps, and the first one writes."""
        self.check_pending()
        step, progress = self.step, self.progress
        if self.ranks.first:
            progress.seconds = self.budget.seconds
            facts = facts_of(progress, step.optimizer, step.ema, step.scaler)
            facts |= {**self.facts, "log": list(self.folder.rows)}
            self.saver.save(progress.step, tensors_of(progress, step.network, step.optimizer, step.ema), facts)

    def _save_weights(self, name: str, facts: Mapping[str, Any]) -> None:
        if self.ranks.first:
            weights.save(self.folder.root / f"{name}.safetensors", self.validated, {**self.provenance, **facts})

    def _add_faults(self, faults: Sequence[Fault]) -> None:
        for each in self.ranks.gather(list(faults)):
            self.folder.add_faults(each)


@torch.no_grad()
def is_good(network: SSD | FCN) -> bool:
    """Return whether weights and statistics of a network are finite, and its outputs for an image of noise too.

    Statistics of batch normalisation grow with the activations, and may overflow while the weights and the loss, which
    uses each batch's own statistics, are finite.
    """
    state = [each for each in network.state_dict().values() if each.is_floating_point()]
    if not all(bool(each.isfinite().all()) for each in state):
        return False
    (height, width), training = network.config.input_size_hw, network.training
    noise = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(0)) * 2 - 1
    network.eval()
    outputs = network(noise.to(state[0].device))
    network.train(training)
    return all(bool(each.isfinite().all()) for each in (outputs if isinstance(outputs, tuple) else (outputs,)))


def _on_host(network: SSD | FCN) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}
