"""Callbacks of a training: objects of the user's, called after steps, validations and epochs, and at the end.

    class StopAtNight(singleshot.Callback):
        def on_epoch(self, row): ...

    singleshot.train("my-data", out="runs/a", callbacks=[StopAtNight()])

A callback observes; nothing that it is given changes the training. One that raises ends the training: what it was meant
to do (a gate, a copy, a message) would otherwise be missing without anyone noticing. The run is saved first, as after a
signal, so `resume=True` continues it once the callback is corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from singleshot.errors import CallbackError, UsageError


@dataclass(frozen=True)
class Step:
    """A step that was just taken.

    Args:
        epoch: the epoch that it belongs to, from 1 on.
        step: steps of the whole run so far.
        done: the share of the run that is done, 0…1.
        losses: by name (`class` and `box`, or `pixel`); on a CUDA device those of up to 20 steps ago, empty at first.
        lr: the learning rate.
        images: images of this step, on all ranks.
    """

    epoch: int
    step: int
    done: float
    losses: Mapping[str, float]
    lr: float
    images: int


@dataclass(frozen=True)
class Validated:
    """A validation that was just made.

    Args:
        epoch: the epoch that it ends, from 1 on.
        step: steps of the whole run so far.
        score: the metric by which the best epoch is chosen, 0…1; None without a validation split.
        best: whether the score is the best so far; always true without a validation split.
        figures: the columns of `log.csv` that it adds, such as `val_map` and `val_ap_car`; None where nothing could
            be measured.
        weights: the file with the weights that were validated. The next validation replaces it.
    """

    epoch: int
    step: int
    score: float | None
    best: bool
    figures: Mapping[str, float | None]
    weights: Path


@dataclass(frozen=True)
class End:
    """The end of a training.

    Args:
        folder: the run's folder.
        error: what ended it early, a signal too; None if it is complete.
    """

    folder: Path
    error: BaseException | None = None


@runtime_checkable
class Callback(Protocol):
    """Is called by the training loop, on the first rank only. Derive from it and write the methods that you need.

    A method that raises an exception ends the training: `train` saves the run and raises CallbackError (exit code 75).
    The loop waits for each call, so a slow one slows the training down.
    """

    def on_step(self, step: Step) -> None:
        """Called after every step."""

    def on_validation(self, validated: Validated) -> None:
        """Called after every validation, when the weights are saved, and before the epoch's `on_epoch`."""

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """Called after every epoch with its row of `log.csv`, such as `epoch` (from 1 on), `step` and `train_class`."""

    def on_end(self, end: End) -> None:
        """Called once, at the end of a training that began, whether it is complete or not: to close what is open."""


def check(callbacks: Sequence[Any]) -> None:
    """Raise UsageError where one of them lacks a method of `Callback`."""
    for each in callbacks:
        if isinstance(each, type) or not isinstance(each, Callback):
            name = each.__name__ if isinstance(each, type) else type(each).__name__
            what = "a class and not an object" if isinstance(each, type) else "no callback"
            raise UsageError(f"{name} is {what}", remedy="Give objects of classes that derive from singleshot.Callback")


@dataclass
class Callbacks(Callback):
    """Calls several callbacks in their order, until one of them raises.

    Args:
        log: is called first; its errors are the run's own and are raised as they are.
        others: the user's callbacks. The first exception of one is kept, and no other is called until `on_end`.
        warn: is called with a line where `on_end` fails after an error that matters more.
    """

    log: Callback
    others: Sequence[Callback]
    warn: Callable[[str], None]
    _failure: CallbackError | None = field(default=None, init=False)

    @property
    def failed(self) -> bool:
        """Whether a callback has raised an exception, so that the run must end."""
        return self._failure is not None

    def raise_failure(self) -> None:
        """Raise CallbackError if a callback has raised an exception."""
        if self._failure is not None:
            raise self._failure

    def on_step(self, step: Step) -> None:
        """Call `on_step` of each."""
        self.log.on_step(step)
        self._call(lambda each: each.on_step(step), "on_step")

    def on_validation(self, validated: Validated) -> None:
        """Call `on_validation` of each."""
        self.log.on_validation(validated)
        self._call(lambda each: each.on_validation(validated), "on_validation")

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """Call `on_epoch` of each."""
        self.log.on_epoch(row)
        self._call(lambda each: each.on_epoch(row), "on_epoch")

    def on_end(self, end: End) -> None:
        """Call `on_end` of each, of those that have raised an exception too.

        Raises CallbackError where one raises an exception and nothing else ended the run.
        """
        self.log.on_end(end)
        for callback in self.others:
            try:
                callback.on_end(end)
            except Exception as error:
                failure = _failure(callback, "on_end", error)
                if end.error is not None or self._failure is not None:
                    self.warn(str(failure))
                else:
                    self._failure = failure
        if end.error is None:
            self.raise_failure()

    def _call(self, call: Callable[[Callback], None], method: str) -> None:
        for callback in self.others:
            if self._failure is None:
                try:
                    call(callback)
                except Exception as error:  # of any kind: it is the user's code
                    self._failure = _failure(callback, method, error)


def _failure(callback: Callback, method: str, error: Exception) -> CallbackError:
    said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
    message = f"the callback {type(callback).__name__} failed in {method} ({said}); the training is saved"
    failure = CallbackError(message, remedy="Correct the callback, and continue with resume=True")
    failure.__cause__ = error
    return failure
