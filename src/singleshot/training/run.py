"""One training run from end to end: what `singleshot train` and `singleshot.train` do.

Read the data and refuse what is faulty, build the network, open the device, run the loop, leave a folder behind.
"""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from singleshot.data import read
from singleshot.data.check.duplicates import without_leaks
from singleshot.data.faults import OnBad, refuse_or_list
from singleshot.errors import DataError, UsageError
from singleshot.prediction.backends.threads import cores
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.structures import Dataset
from singleshot.training.devices import child_processes, kill_processes, open_fabric, resolve_precision, shortage_named
from singleshot.training.fit import fit
from singleshot.training.load_pretrained import new_network, resumed_network
from singleshot.training.loggers import Log, NoObserver, Observer, SilentObserver, check_available, logged
from singleshot.training.ranks import Heartbeat, Ranks, batch_for
from singleshot.training.recipe import Recipe
from singleshot.training.run_folder import RunFolder
from singleshot.training.setup import SetupOptions, set_up
from singleshot.training.state import begun, find, identity


@dataclass(frozen=True)
class Run:
    """What a training leaves behind.

    Args:
        folder: the run's folder.
        weights: the best weights in it.
        model: the network that was judged last, ready to predict.
        score: of the best epoch by the recipe's metric; None without a validation split.
        steps: taken.
        seconds: of training and validation.
        images_per_second: of training alone.
        train_data: the split that it learned from.
        val_data: the split that it was judged by, if any.
    """

    folder: Path
    weights: Path
    model: Detector | Segmenter
    score: float | None
    steps: int
    seconds: float
    images_per_second: float
    train_data: Dataset | None = None
    val_data: Dataset | None = None

    @property
    def detector(self) -> Detector:
        """The model of a run that trained a detector. Raises TypeError for another one."""
        if not isinstance(self.model, Detector):
            raise TypeError("this run trained a segmenter")
        return self.model

    @property
    def segmenter(self) -> Segmenter:
        """The model of a run that trained a segmenter. Raises TypeError for another one."""
        if not isinstance(self.model, Segmenter):
            raise TypeError("this run trained a detector")
        return self.model


def train(
    data: str | Path | Dataset,
    recipe: Recipe | None = None,
    *,
    out: str | Path,
    val: Dataset | None = None,
    train_split: str = "train",
    val_split: str | None = "val",
    data_format: str | None = None,
    on_bad: OnBad = "fail",
    overwrite: bool = False,
    resume: bool = False,
    force: bool = False,
    devices: int = 1,
    allow_unlabelled: bool = False,
    fix_boxes: bool = False,
    observer: Observer | None = None,
    log: Log | None = None,
    on_start: Callable[[str], None] | None = None,
    on_data: Callable[[Dataset], None] | None = None,
) -> Run:
    """Train a detector, or a segmenter where the recipe's model is one.

    Args:
        data: a folder in a layout that `data.read` knows, or a split that was read already.
        recipe: every choice; None takes the defaults for people's own data.
        out: the run's folder; see `run_folder`.
        val: the validation split, of the same classes; None reads `val_split` where `data` is a folder.
        train_split: the list to learn from.
        val_split: the list to judge by after each epoch; None for none.
        data_format: the folder's layout; None to find out.
        on_bad: refuse data with faults, or go on without what is faulty, counted and listed in `bad.jsonl`.
        overwrite: replace the files of a run that is there.
        resume: go on with the run that is in `out`, from its newest whole checkpoint; begin where there is none.
        force: resume though recipe, data or ranks have changed.
        devices: processes on this machine that share each batch; under `torchrun` its own counts hold.
        allow_unlabelled: take pictures without annotation for background; else they are left out.
        fix_boxes: swap the corners of inverted boxes; else they are faults.
        observer: is told of steps, epochs and warnings; None prints nothing.
        log: `tensorboard` for figures, pictures and histograms in the run's folder beside all else.
        on_start: is given the table of what a run from `recipe.weights` has taken over, as text.
        on_data: is given each split as soon as it is read.

    Raises:
        FaultyDataError: the data has faults and `on_bad` is "fail".
        CannotCreateError: `out` is there already, or another training is at work in it.
        ConfigError: the run to resume had another recipe, other data or other ranks.
        SignalledError: a signal ended the run; it was saved and can be resumed.
        UsageError: `out` is in the data folder.
        InputMissingError, DataError, ConfigError: as readers, recipe and loop say.

    A script that trains with workers needs the guard `if __name__ == "__main__":`, as all of multiprocessing does.
    """
    recipe = recipe or Recipe()
    there = resume and (Path(out) / "recipe.json").is_file()
    if not isinstance(data, Dataset) and not there and Path(out).resolve().is_relative_to(Path(data).resolve()):
        raise UsageError("is in the data folder, which is never written to", remedy="Choose another --out", file=out)
    check_available(log)
    fabric = open_fabric(precision=recipe.precision, devices=devices)
    ranks = Ranks(fabric)
    watcher = (observer or SilentObserver()) if ranks.first else NoObserver()
    with Heartbeat(ranks, recipe.rank_timeout_s, lambda: kill_processes(child_processes(fabric))):
        if not isinstance(data, Dataset):
            root = Path(data)
            options: dict[str, Any] = {
                "with_masks": recipe.is_segmentation,
                "layout": data_format,
                "allow_unlabelled": allow_unlabelled,
                "fix_boxes": fix_boxes,
            }
            data = read.read(root, train_split, **options)
            if val is None and val_split is not None:
                val = read.read(root, val_split, label_map=data.label_map, **options)
        if val is not None and val.label_map != data.label_map:
            names = [", ".join(split.label_map.names) for split in (val, data)]
            what = f"the classes to judge by are {names[0]}, those to learn are {names[1]}"
            raise DataError(what, kind="other-classes", remedy="Give splits of the same classes", file=val.root)
        for dataset in (data, val):
            if dataset is not None and on_data is not None and ranks.first:
                on_data(dataset)
        if val is not None:
            samples, leaked = without_leaks(data, val)
            if leaked:
                data = replace(data, samples=tuple(samples), faults=(*data.faults, *leaked))
        faults = refuse_or_list([split for split in (data, val) if split is not None], on_bad)
        if not len(data.label_map):
            raise DataError("no annotation names a class", kind="no-class", remedy="Annotate objects", file=data.root)

        if not len(data):
            what = f"no picture is left to learn from in {data.split}"
            raise DataError(what, kind="no-picture", remedy="See `singleshot data check`", file=data.root)

        recipe = replace(recipe, batch_size=batch_for(len(data), recipe.batch_size, ranks.world))
        wanted = identity(recipe, data, val, world=ranks.world)
        # Machines may have unlike numbers of cores, and then differ in the last bits alone.
        agreed = {key: value for key, value in wanted.items() if key != "threads"}
        ranks.must_agree({**agreed, "version": version("singleshot")})
        resumed = ranks.first_does(lambda: begun(Path(out) / "checkpoints", wanted) if resume else None)
        torch.manual_seed(recipe.seed)
        if resumed is not None:
            initial = resumed_network(recipe, resumed["network"], resumed["started_from"])
        else:
            initial = new_network(recipe, data.label_map.names, data.colours)
        if initial.report is not None and on_start is not None and ranks.first:
            on_start(str(initial.report))
        provenance = provenance_of(data)
        provenance["metric"] = recipe.pixel_metric if recipe.is_segmentation else recipe.metric
        started_from = None if initial.provenance is None else dict(initial.provenance)
        if started_from is not None:
            provenance["started_from"] = started_from
        bf16 = resolve_precision(recipe.precision) == "bf16"
        choices = SetupOptions(_workers(recipe, ranks), bf16, on_bad, ranks)
        setup = set_up(initial.network, recipe, data, val, choices)
        try:
            if setup.warning is not None:
                watcher.warn(setup.warning)
            folder = _open_folder(ranks, Path(out), overwrite, resume)  # last, when nothing more can be refused
            try:
                start = ranks.first_does(
                    lambda: find(folder, wanted, force=force, warn=watcher.warn) if resume else None
                )
                folder.write_recipe(recipe.to_json())
                folder.add_faults(faults)
                kind = log if ranks.first else None
                with logged(watcher, kind, folder.root, data, val, anew=start is None) as told, shortage_named():
                    outcome = fit(
                        setup.network,
                        setup.criterion,
                        setup.loader,
                        setup.validate,
                        recipe=recipe,
                        folder=folder,
                        fabric=fabric,
                        ranks=ranks,
                        observer=told,
                        start=start,
                        facts={
                            "identity": wanted,
                            "network": setup.network.config.to_json_dict(),
                            "started_from": started_from,
                        },
                        provenance=provenance,
                    )
            finally:
                folder.close()
        finally:
            setup.loader.close()
    network: Any = outcome.network.eval()
    return Run(
        folder.root,
        folder.best,
        setup.predictor(network, provenance, next(network.parameters()).device, bf16),
        outcome.best_score,
        outcome.steps,
        outcome.seconds,
        outcome.images_per_second,
        data,
        val,
    )


def _open_folder(ranks: Ranks, out: Path, overwrite: bool, resume: bool) -> RunFolder:
    """The run's folder, which the first rank opens; where it may not, no rank goes on."""
    opened: list[RunFolder] = []
    ranks.first_does(lambda: opened.append(RunFolder(out, overwrite=overwrite, resume=resume)))
    return opened[0] if opened else RunFolder(out, writes=False)


def _workers(recipe: Recipe, ranks: Ranks) -> int:
    """As the recipe says; else half the cores, because the network wants cores too, and beside GPUs nearly all."""
    if recipe.workers is not None:
        return recipe.workers
    mine = cores()
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # Each rank has a GPU, needs one core to feed it, and shares the others with the ranks of this machine.
    spare = mine // min(devices, ranks.world) - 1 if devices else mine // 2
    return max(1, min(16, spare))


def this_command() -> str:
    """The command line of this process as one could type it again, without the folder of the program."""
    return shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])


def provenance_of(data: Dataset) -> dict[str, Any]:
    """The facts of a run that learns from this split: command, date (UTC), data and versions, as JSON holds them."""
    return {
        "made_by": "singleshot train",
        "command": this_command(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "data": data.root.name,
        "split": data.split,
        "images": len(data),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
