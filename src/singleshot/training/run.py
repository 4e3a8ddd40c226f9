"""One training run from end to end: what `singleshot train` and `singleshot.train` do.

Read the data and refuse what is faulty, build the network, open the device, run the loop, leave a folder behind.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from singleshot import durable
from singleshot.data import voc
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import ConfigError, DataError, Fault, FaultyDataError
from singleshot.prediction.predictor import Detector
from singleshot.structures import Dataset
from singleshot.training.detection import DetectionTask
from singleshot.training.fabric import open_fabric, resolve_precision
from singleshot.training.fit import Observer, Outcome, fit
from singleshot.training.recipe import Recipe
from singleshot.training.run_folder import RunFolder

OnBad = Literal["fail", "skip"]


@dataclass(frozen=True)
class Run:
    """What a training leaves behind.

    Args:
        folder: the run's folder.
        weights: the best weights in it.
        detector: the network that was judged last, ready to predict.
        score: of the best epoch by the recipe's metric; None without a validation split.
        steps: taken.
        seconds: of training and validation.
        images_per_second: of training alone.
    """

    folder: Path
    weights: Path
    detector: Detector
    score: float | None
    steps: int
    seconds: float
    images_per_second: float


def train(
    data: str | Path | Dataset,
    recipe: Recipe | None = None,
    *,
    out: str | Path,
    val: Dataset | None = None,
    train_split: str = "train",
    val_split: str | None = "val",
    on_bad: OnBad = "fail",
    overwrite: bool = False,
    observer: Observer | None = None,
) -> Run:
    """Train a detector.

    Args:
        data: a folder in Pascal VOC layout, or a split that was read already.
        recipe: every choice; None takes the defaults for people's own data.
        out: the run's folder; see `run_folder`.
        val: the validation split where `data` is a split; else it is read from the folder.
        train_split: the list to learn from.
        val_split: the list to judge by after each epoch; None for none.
        on_bad: refuse data with faults, or go on without what is faulty, counted and listed in `bad.jsonl`.
        overwrite: replace the files of a run that is there.
        observer: is told of steps, epochs and warnings; None prints nothing.

    Raises:
        FaultyDataError: the data has faults and `on_bad` is "fail".
        CannotCreateError: `out` is there already.
        InputMissingError, DataError, ConfigError: as readers, recipe and loop say.

    A script that trains with workers needs the guard `if __name__ == "__main__":`, as all of multiprocessing does.
    """
    recipe = recipe or Recipe()
    if not isinstance(data, Dataset):
        root = Path(data)
        data = voc.read(root, train_split)
        val = voc.read(root, val_split, label_map=data.label_map) if val_split is not None else None
    faults = refuse_or_list([split for split in (data, val) if split is not None], on_bad)
    if not len(data.label_map):
        raise DataError("no annotation names a class", kind="no-class", remedy="Annotate objects", file=data.root)

    folder = RunFolder(Path(out), overwrite=overwrite)
    folder.write_recipe(recipe.to_json())
    if faults:
        lines = "".join(json.dumps(fault.as_json()) + "\n" for fault in faults)
        durable.write_text(folder.root / "bad.jsonl", lines)
    if len(data) < recipe.batch_size:
        recipe = replace(recipe, batch_size=len(data))
    bf16 = resolve_precision(recipe.precision) == "bf16"
    torch.manual_seed(recipe.seed)
    config = config_for(recipe.model, data.label_map.names, recipe.input_size_hw)
    network = SSD(replace(config, norm=recipe.norm))
    task = DetectionTask(
        network, recipe, data, val, workers=_workers(recipe), bf16=bf16, provenance=_provenance(data), on_bad=on_bad
    )
    try:
        outcome: Outcome[SSD] = fit(
            task, recipe, folder, open_fabric(precision=recipe.precision), observer or SilentObserver()
        )
    finally:
        task.close()
    device = outcome.network.anchors_cxcywh.device
    detector = Detector(outcome.network.eval(), dict(task.provenance), device, bf16)
    return Run(
        folder.root,
        folder.best,
        detector,
        outcome.best_score,
        outcome.steps,
        outcome.seconds,
        outcome.images_per_second,
    )


def refuse_or_list(datasets: Sequence[Dataset], on_bad: OnBad) -> list[Fault]:
    """The fatal faults of some splits, each once; with "fail" they are raised."""
    faults = list(dict.fromkeys(fault for dataset in datasets for fault in dataset.faults if fault.severity == "fatal"))
    if faults and on_bad == "fail":
        raise FaultyDataError(faults, remedy="Mend them, or go on without them by --on-bad skip")
    return faults


class SilentObserver:
    """Watches a run and says nothing but warnings, on stderr."""

    def step(self, **_facts: Any) -> None:
        """Nothing."""

    def epoch(self, row: Any) -> None:
        """Nothing."""

    def warn(self, line: str) -> None:
        """The warning as a line."""
        sys.stderr.write(f"singleshot: warning: {line}\n")


def _workers(recipe: Recipe) -> int:
    """Augmentation of a small picture costs a tenth of its training step, so half the cores are plenty."""
    if recipe.workers is not None:
        if recipe.workers < 0:
            raise ConfigError(f"workers is {recipe.workers}", remedy="Give 0 or more")
        return recipe.workers
    return max(1, min(16, (os.cpu_count() or 2) // 2))


def _provenance(data: Dataset) -> dict[str, Any]:
    return {
        "made_by": "singleshot train",
        "command": " ".join(Path(part).name if i == 0 else part for i, part in enumerate(sys.argv)),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "data": data.root.name,
        "split": data.split,
        "images": len(data),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
