"""What reports on a run: observers that show it, and the logs that are callbacks: log.csv and TensorBoard.

`train --log tensorboard` writes, beside log.csv and the report, what the 2017 tool drew: the losses, learning rate,
mAP, AP by class, three training and three validation images with their detections, histograms of every filter and of
the L2-norm scale. Images and histograms are made from `last.safetensors`, the weights that were validated, so that the
log needs nothing of the loop. Whatever fails in such a log is reported once, and the training continues without it:
log.csv has the figures too. `trackers` has the logs for Weights & Biases and MLflow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.drawing import draw
from singleshot.errors import ConfigError
from singleshot.images import read_image
from singleshot.prediction.load import load
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.structures import Dataset, evenly_spaced
from singleshot.training.callbacks import Callback, End, Step
from singleshot.training.run_folder import RunFolder


@runtime_checkable
class Observer(Protocol):
    """Shows a run while it goes on, as the command line's progress bar does. An error in it is raised as it is.

    For code of your own, derive from `callbacks.Callback`: it is told more, and its errors lose no step.
    """

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


EVERY_STEPS = 20
PICTURES = 3
LONGEST_SIDE = 512
SHOWN_FROM = 0.5
"""The score from which boxes are drawn, as the 2017 tool had it."""


class CsvLog(Callback):
    """Writes `log.csv`, a row after every epoch. Raises what `RunFolder.log` does.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """Add the row."""
        self._folder.log(row)


class OptionalLog(Callback):
    """A log without which the training goes on: what fails in it is reported once, as a warning, and ends it alone.

    Args:
        title: its name in that warning.
        open_writer: makes what it writes with; called at the first entry.
        warn: is called with the warning.
    """

    def __init__(self, title: str, open_writer: Callable[[], Any], warn: Callable[[str], None]) -> None:
        self._title, self._open_writer, self._warn = title, open_writer, warn
        self._writer: Any = None
        self._broken = False

    def write(self, entry: Callable[[Any], None]) -> None:
        """Call `entry` with the writer, which is opened first if it is not open yet."""
        if self._broken:
            return
        try:
            if self._writer is None:
                self._writer = self._open_writer()
            entry(self._writer)
        except Exception as error:  # a disk, a network, a picture, the package itself: none is worth the training
            self._broken = True
            said = " ".join(f"{type(error).__name__}: {error}".split())
            self._warn(f"the {self._title} log ended ({said}); the training goes on without it")

    def close(self, entry: Callable[[Any], None]) -> None:
        """Call `entry` with the writer if it is open."""
        if self._writer is not None:
            self.write(entry)


def summary_writer() -> Callable[[Path], Any]:
    """Return TensorBoard's writer, to be called with a folder. Raises ConfigError where the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("tensorboard is not installed", remedy="pip install 'singleshot[log]'") from error
    return SummaryWriter


class TensorBoardLog(OptionalLog):
    """Writes what TensorBoard shows.

    Args:
        open_writer: makes the writer; called at the first entry.
        weights: the file that pictures and histograms are made from, after each epoch in which it changed.
        train: where the training pictures come from.
        val: where the validation pictures come from, if any.
        warn: is called with a warning where the log ends early.
    """

    def __init__(
        self,
        open_writer: Callable[[], Any],
        weights: Path,
        train: Dataset,
        val: Dataset | None,
        warn: Callable[[str], None],
    ) -> None:
        super().__init__("TensorBoard", open_writer, warn)
        self._weights, self._train, self._val = weights, train, val
        self._seen = 0

    @staticmethod
    def remove_events(folder: Path, warn: Callable[[str], None]) -> None:
        """Remove the events of a run that another one replaces, which TensorBoard would show too."""
        for old in folder.glob("events.out.tfevents.*"):
            try:
                old.unlink()
            except OSError as error:  # a log is never worth a training
                warn(f"{old} cannot be removed ({error.strerror}): TensorBoard will show that run too")

    def on_step(self, step: Step) -> None:
        """Write every twentieth step."""
        if step.step % EVERY_STEPS == 0:
            figures = {f"step/{name}": value for name, value in step.losses.items()} | {"step/lr": step.lr}
            self.write(lambda writer: _scalars(writer, figures, step.step))

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """Write the row, and pictures and histograms where the weights were saved."""
        self.write(lambda writer: self._epoch(writer, row))

    def on_end(self, end: End) -> None:
        """Write everything to disk."""
        del end
        self.close(lambda writer: writer.close())

    def _epoch(self, writer: Any, row: Mapping[str, Any]) -> None:
        epoch = int(row["epoch"])
        figures = {place(name): value for name, value in row.items() if name not in ("epoch", "step")}
        _scalars(writer, figures, epoch)
        changed = self._weights.stat().st_mtime_ns if self._weights.is_file() else 0
        if changed != self._seen:
            self._seen = changed
            model = load(self._weights)
            for name, dataset in (("training", self._train), ("validation", self._val)):
                for index, image in enumerate([] if dataset is None else _annotated(model, dataset)):
                    writer.add_image(f"{name}/{index}", image, epoch, dataformats="HWC")
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


def place(column: str) -> str:
    """Return where a column of `log.csv` goes: AP of classes together, losses together, and so on.

    >>> place("val_ap_car"), place("train_class"), place("val_map"), place("lr")
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
    for index in evenly_spaced(len(dataset), PICTURES):
        image = read_image(dataset.samples[index].image_path)
        share = LONGEST_SIDE / max(image.shape[:2])
        if share < 1:
            image = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        drawn.append(draw(image, model.predict(image), threshold=SHOWN_FROM))
    return drawn
