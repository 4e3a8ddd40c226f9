"""Observers of a run, which the loop calls with steps, epochs and warnings: none, warnings on stderr, and TensorBoard.

`train --log tensorboard` writes, beside log.csv and the report, what the 2017 tool drew: the losses, learning rate,
mAP, AP by class, three training and three validation images with their detections, histograms of every filter and of
the L2-norm scale. Images and histograms are made from `last.safetensors`, the weights that were validated, so that the
log needs nothing of the loop. Whatever fails in a log is reported once, and the training continues without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import cv2
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.drawing import draw
from singleshot.errors import ConfigError
from singleshot.images import read_image
from singleshot.prediction.load import load
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.structures import Dataset, evenly_spaced


@runtime_checkable
class Observer(Protocol):
    """Is called by the training loop."""

    def step(self, *, epoch: int, step: int, done: float, parts: Mapping[str, float], rate: float, images: int) -> None:
        """After every step.

        Args:
            epoch: 0-based.
            step: steps of the whole run so far.
            done: the share of the run that is done, 0…1.
            parts: the losses by name, as far as they are known.
            rate: the learning rate.
            images: images of this step, on all ranks.
        """
        ...

    def epoch(self, row: Mapping[str, Any]) -> None:
        """After every epoch, with its row of `log.csv`."""
        ...

    def warn(self, line: str) -> None:
        """With a warning, as one line."""
        ...


class NoObserver:
    """Ignores everything: for the ranks beside the first, whose observer reports for all."""

    def step(self, **_facts: Any) -> None:
        """Do nothing."""

    def epoch(self, row: Any) -> None:
        """Do nothing."""

    def warn(self, line: str) -> None:
        """Do nothing."""


class SilentObserver(NoObserver):
    """Prints warnings on stderr and nothing else."""

    def warn(self, line: str) -> None:
        """Print the warning as a line."""
        sys.stderr.write(f"singleshot: warning: {line}\n")


Log = Literal["tensorboard"]
EVERY_STEPS = 20
PICTURES = 3
LONGEST_SIDE = 512
SHOWN_FROM = 0.5
"""The score from which boxes are drawn, as the 2017 tool had it."""


def check_available(log: Log | None) -> None:
    """Raise ConfigError if a log is asked for and the package tensorboard is missing."""
    if log is not None:
        _writer()


def _writer() -> Callable[[Path], Any]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("tensorboard is not installed", remedy="pip install 'singleshot[log]'") from error
    return SummaryWriter


@contextmanager
def logged(
    observer: Observer, log: Log | None, folder: Path, train: Dataset, val: Dataset | None, *, anew: bool
) -> Iterator[Observer]:
    """Give an observer that writes a log too and forwards every call; the observer itself without a log.

    Args:
        observer: the observer to forward to.
        log: which log, or None.
        folder: of the run; events go into `tensorboard` in it.
        train: where the training pictures come from.
        val: where the validation pictures come from, if any.
        anew: take away the events of a run that this one replaces.

    Raises ConfigError where the package tensorboard is missing.
    """
    if log is None:
        yield observer
        return
    open_writer = _writer()
    events = folder / "tensorboard"
    if anew:
        for old in events.glob("events.out.tfevents.*"):
            try:
                old.unlink()
            except OSError as error:  # a log is never worth a training
                observer.warn(f"{old} cannot be removed ({error.strerror}): TensorBoard will show that run too")
    written = TensorBoardLog(observer, lambda: open_writer(events), folder / "last.safetensors", train, val)
    try:
        yield written
    finally:
        written.close()


@dataclass
class TensorBoardLog:
    """Forwards every call to another observer, then logs it.

    Args:
        observer: the other one.
        open_writer: makes the writer; called at the first entry.
        weights: the file that pictures and histograms are made from, after each epoch in which it changed.
        train: where the training pictures come from.
        val: where the validation pictures come from, if any.
    """

    observer: Observer
    open_writer: Callable[[], Any]
    weights: Path
    train: Dataset
    val: Dataset | None
    _writer: Any = field(default=None, init=False)
    _broken: bool = field(default=False, init=False)
    _seen: int = field(default=0, init=False)

    def step(self, *, epoch: int, step: int, done: float, parts: Mapping[str, float], rate: float, images: int) -> None:
        """After every step; every twentieth is written."""
        self.observer.step(epoch=epoch, step=step, done=done, parts=parts, rate=rate, images=images)
        if step % EVERY_STEPS == 0:
            figures = {f"step/{name}": value for name, value in parts.items()} | {"step/lr": rate}
            self._carefully(lambda writer: _scalars(writer, figures, step))

    def epoch(self, row: Mapping[str, Any]) -> None:
        """After every epoch: its row, and pictures and histograms where the weights were saved."""
        self.observer.epoch(row)
        self._carefully(lambda writer: self._epoch(writer, row))

    def warn(self, line: str) -> None:
        """Forward a warning; TensorBoard has no entry for it."""
        self.observer.warn(line)

    def close(self) -> None:
        """Write everything to disk."""
        if self._writer is not None:
            self._carefully(lambda writer: writer.close())

    def _carefully(self, write: Callable[[Any], None]) -> None:
        if self._broken:
            return
        try:
            if self._writer is None:
                self._writer = self.open_writer()
            write(self._writer)
        except Exception as error:  # a disk, a network, a picture, the package itself: none is worth the training
            self._broken = True
            said = " ".join(f"{type(error).__name__}: {error}".split())
            self.observer.warn(f"the TensorBoard log ended ({said}); the training goes on without it")

    def _epoch(self, writer: Any, row: Mapping[str, Any]) -> None:
        epoch = int(row["epoch"])
        figures = {_place(name): value for name, value in row.items() if name not in ("epoch", "step")}
        _scalars(writer, figures, epoch)
        changed = self.weights.stat().st_mtime_ns if self.weights.is_file() else 0
        if changed != self._seen:
            self._seen = changed
            model = load(self.weights)
            for name, dataset in (("training", self.train), ("validation", self.val)):
                for place, image in enumerate([] if dataset is None else _annotated(model, dataset)):
                    writer.add_image(f"{name}/{place}", image, epoch, dataformats="HWC")
            for name, tensor in model.network.state_dict().items():
                if name.endswith(".weight") and tensor.dim() == 4:
                    writer.add_histogram(f"filters/{name}", tensor.float().cpu().numpy(), epoch)
                elif name.endswith(".scale"):
                    writer.add_histogram(f"l2norm/{name}", tensor.float().cpu().numpy(), epoch)
        writer.flush()


def _scalars(writer: Any, figures: Mapping[str, Any], at: int) -> None:
    for name, value in figures.items():
        if value is not None:
            writer.add_scalar(name, float(value), at)


def _place(column: str) -> str:
    """Where a column of `log.csv` goes: AP of classes together, losses together, and so on.

    >>> _place("val_ap_car"), _place("train_class"), _place("val_map"), _place("lr")
    ('ap_val/car', 'loss/train_class', 'score/val_map', 'run/lr')
    """
    for kind in ("ap", "iou"):
        split, found, name = column.partition(f"_{kind}_")
        if found and split in ("val", "train_subset"):
            return f"{kind}_{split}/{name}"
    if column.endswith(("_map", "_miou", "_maxf", "_pixel_accuracy")):
        return f"score/{column}"
    return f"loss/{column}" if column.startswith(("train_", "val_")) else f"run/{column}"


def _annotated(model: Detector | Segmenter, dataset: Dataset) -> Sequence[UInt8[ndarray, "_ _ 3"]]:
    """Return a few images, always the same ones, with the model's results drawn on them."""
    drawn = []
    for place in evenly_spaced(len(dataset), PICTURES):
        image = read_image(dataset.samples[place].image_path)
        share = LONGEST_SIDE / max(image.shape[:2])
        if share < 1:
            image = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        drawn.append(draw(image, model.predict(image), threshold=SHOWN_FROM))
    return drawn
