"""One training run from end to end: what `singleshot train` and `singleshot.train` do.

Open the device, read the data and refuse what is faulty, build the network, run the loop, and leave a folder of
results.
"""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from singleshot.child_process import refuse_unguarded
from singleshot.classes import sided
from singleshot.data import divide, split_file
from singleshot.data.check.duplicates import without_leaks
from singleshot.data.check.objects import (
    classes_without_object,
    classes_without_pixel_in,
    no_object,
    no_pixel,
    searched,
)
from singleshot.data.class_choice import ClassChoice
from singleshot.data.faults import OnBad, refuse_or_list
from singleshot.data.orientation import turned_warning
from singleshot.data.split_file import SPLIT_FILE, SplitFile
from singleshot.errors import DataError, Fault, UsageError
from singleshot.prediction.backends.arithmetic import arithmetic
from singleshot.prediction.backends.host import cores
from singleshot.prediction.load import find_weights
from singleshot.prediction.predictor import Detector, Segmenter, predictor_of
from singleshot.structures import Dataset
from singleshot.training.callbacks import Callback, Callbacks, End
from singleshot.training.callbacks import check as check_callbacks
from singleshot.training.devices import child_processes, kill_processes, memory_errors, open_fabric, resolve_precision
from singleshot.training.fit import fit
from singleshot.training.load_pretrained import model_of, new_network, resumed_network
from singleshot.training.loggers import CsvLog, NoObserver, Observer, SilentObserver
from singleshot.training.ranks import Heartbeat, Ranks, batch_for
from singleshot.training.recipe import NO_WEIGHTS, Recipe, default_recipe
from singleshot.training.run_folder import RunFolder
from singleshot.training.setup import SetupOptions, set_up
from singleshot.training.state import begun, find, identity
from singleshot.training.trackers import Log, check_available, open_logs, parse_logs


@dataclass(frozen=True)
class Run:
    """The result of a training.

    Args:
        folder: the run's folder.
        weights: the best weights in it.
        model: the network that was validated last, ready to predict.
        score: of the best epoch by the recipe's metric, 0…1; None without a validation split.
        steps: steps of the whole run.
        seconds: of training and validation.
        images_per_second: of training alone.
        train_data: the training split.
        val_data: the validation split, if any.
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
        if self.model.task == "segmentation":
            raise TypeError("this run trained a segmenter")
        return self.model

    @property
    def segmenter(self) -> Segmenter:
        """The model of a run that trained a segmenter. Raises TypeError for another one."""
        if self.model.task == "detection":
            raise TypeError("this run trained a detector")
        return self.model


def train(
    data: str | Path | Dataset,
    recipe: Recipe | None = None,
    *,
    out: str | Path,
    weights: str | Path | None = None,
    val: Dataset | None = None,
    train_split: str = "train",
    val_split: str | float | None = "val",
    test_split: float = 0.0,
    splits: SplitFile | Path | None = None,
    data_format: str | None = None,
    on_bad: OnBad = "fail",
    overwrite: bool = False,
    resume: bool = False,
    force: bool = False,
    devices: int = 1,
    allow_unlabelled: bool = False,
    fix_boxes: bool = False,
    choice: ClassChoice | None = None,
    observer: Observer | None = None,
    callbacks: Sequence[Callback] = (),
    log: Log | Sequence[Log] | None = None,
    on_start: Callable[[str], None] | None = None,
    on_data: Callable[[Dataset], None] | None = None,
) -> Run:
    """Train a detector, or a segmenter where the recipe's model is one.

    Args:
        data: a folder in a layout that `data.read` knows, or a split that was read already.
        recipe: every choice; None takes the defaults for users' own data, and of the weights' model if there are
            `weights`, as the command line does.
        out: the run's folder; see `run_folder`.
        weights: to start from: a file, a known name, or `owner/name` on the hub; `none` for random ones; None for
            those of the recipe.
        val: the validation split, of the same classes; None reads `val_split` if `data` is a folder.
        train_split: the split to train on.
        val_split: the split to evaluate after each epoch, or a share (below 1) of the images of `train_split`; None
            for none. If it is `val` and the folder has none, a share of 15 % is taken, by groups of images that look
            alike (see `data.divide`).
        test_split: a share of the images of `train_split` to keep for a test; of a folder without splits 15 %.
        splits: take the splits from here (see `data.divide.divide`), or from this file, in place of the folder's own.
        data_format: the folder's layout; None to recognise it.
        on_bad: refuse data with faults, or leave out what is faulty, counted and listed in `bad.jsonl`.
        overwrite: replace the files of an existing run.
        resume: continue the run in `out` from its newest intact checkpoint, or start one if there is none.
        force: resume although recipe, data or ranks have changed.
        devices: processes on this machine that share each batch; under `torchrun` its own counts apply.
        allow_unlabelled: use images without annotations as background; else they are left out.
        fix_boxes: swap the corners of inverted boxes; else they are faults.
        choice: which classes of the folder are read, and under which names. It is stored with the run; a run that is
            resumed keeps its own where this is None.
        observer: shows steps, epochs and warnings; None prints warnings only.
        callbacks: are called after steps, validations and epochs and at the end, see `Callback`.
        log: `tensorboard` to log figures, images and histograms in the run's folder too; `wandb` and `mlflow` to log
            figures to those trackers, see `trackers`. One or several.
        on_start: is called with the report of what was loaded from `recipe.weights`, as text.
        on_data: is called with each split as soon as it is read.

    Raises:
        FaultyDataError: the data has faults and `on_bad` is "fail".
        CannotCreateError: `out` exists already, or another training uses it.
        ConfigError: the run to resume had another recipe, other data or other ranks.
        SignalledError: a signal ended the run; it was saved and can be resumed.
        CallbackError: a callback raised an exception; the run was saved and can be resumed.
        UsageError: `out` is in the data folder, one of `callbacks` is none, or `log` names no log.
        InputMissingError, DataError, ConfigError: as readers, recipe and loop say.

    A script that trains with workers needs the guard `if __name__ == "__main__":`, as all of multiprocessing does.
    """
    refuse_unguarded("train")
    recipe = recipe_for(recipe, weights)
    existing = resume and (Path(out) / "recipe.json").is_file()
    if not isinstance(data, Dataset) and not existing and Path(out).resolve().is_relative_to(Path(data).resolve()):
        raise UsageError("is in the data folder, which is never written to", remedy="Choose another --out", file=out)
    check_callbacks(callbacks)
    logs = parse_logs(log)
    check_available(logs)
    fabric = open_fabric(precision=recipe.precision, devices=devices)
    ranks = Ranks(fabric)
    observer = (observer or SilentObserver()) if ranks.first else NoObserver()
    with Heartbeat(ranks, recipe.rank_timeout_s, lambda: kill_processes(child_processes(fabric))):
        used = None
        if not isinstance(data, Dataset):
            root, resumed = Path(data), Path(out) / SPLIT_FILE
            if choice is None and existing and resumed.is_file():
                choice = split_file.read(resumed).choice
            options: dict[str, Any] = {
                "with_masks": recipe.is_segmentation,
                "layout": data_format,
                "allow_unlabelled": allow_unlabelled,
                "fix_boxes": fix_boxes,
                "choice": choice,
            }
            chosen = divide.for_training(
                root,
                train_split,
                val_split if val is None else None,
                test_share=test_split,
                splits=_stored(Path(out), splits, train_split if existing else None),
                seed=recipe.seed,
                **options,
            )
            used = replace(chosen.splits, choice=options["choice"] or ClassChoice())
            data, val = chosen.train, chosen.val if val is None else val
            if chosen.note and on_start is not None and ranks.first:
                on_start(chosen.note)
        if on_data is not None and ranks.first:
            for dataset in (data, val) if val is not None else (data,):
                on_data(dataset)
        own = {"train": data} | ({} if val is None else {"val": val})
        used = split_file.of_datasets(own) if used is None else used
        data, faults = _checked(data, val, on_bad)
        turned = turned_warning([data] if val is None else [data, val])
        if ranks.first:
            if turned is not None:
                observer.warn(turned)
            for fault in classes_without_pixel_in(data) if recipe.is_segmentation else classes_without_object([data]):
                observer.warn(str(fault))

        names = sided(data.label_map.names) if recipe.keep_left_and_right else []
        if names and recipe.augmentation.mirror_probability:
            recipe = replace(recipe, augmentation=replace(recipe.augmentation, mirror_probability=0.0))
            if on_start is not None and ranks.first:
                on_start(f"no image is mirrored: left and right differ in {', '.join(names[:6])}")
        recipe = replace(recipe, batch_size=batch_for(len(data), recipe.batch_size, ranks.world))
        precision = resolve_precision(recipe.precision)
        wanted = identity(recipe, data, val, world=ranks.world)
        wanted |= {"device": fabric.device.type, "precision": precision, "torch": torch.__version__}
        # Machines may have unlike numbers of cores, and then differ in the last bits alone.
        agreed = {key: value for key, value in wanted.items() if key != "threads"}
        ranks.must_agree({**agreed, "version": version("singleshot")})

        resumed = ranks.first_does(lambda: begun(Path(out) / "checkpoints", wanted) if resume else None)
        torch.manual_seed(recipe.seed)
        if resumed is not None:
            initial = resumed_network(recipe, resumed["network"], resumed["started_from"])
        else:
            initial = new_network(recipe, data.label_map.names, data.colours, data.samples)
        if on_start is not None and ranks.first:
            for line in (*initial.notes, *([initial.report] if initial.report is not None else [])):
                on_start(str(line))
        provenance = provenance_of(data, recipe)
        if initial.provenance is not None:
            provenance["started_from"] = dict(initial.provenance)
        bf16 = precision == "bf16"
        setup = set_up(initial.network, recipe, data, val, SetupOptions(_workers(recipe, ranks), bf16, on_bad, ranks))
        if setup.warning is not None:
            observer.warn(setup.warning)

        # The folder is opened last, when nothing more can be refused: by the first rank, and if it fails, all ranks do.
        opened: list[RunFolder] = []
        ranks.first_does(lambda: opened.append(RunFolder(Path(out), overwrite=overwrite, resume=resume)))
        with closing(setup.loader), closing(opened[0] if opened else RunFolder(Path(out), writes=False)) as folder:
            start = ranks.first_does(lambda: find(folder, wanted, force=force, warn=observer.warn) if resume else None)
            folder.write_recipe(recipe.to_json())
            folder.write_splits(used)
            folder.add_faults(faults)
            called: list[Callback] = []
            if ranks.first:
                anew = start is None
                called += open_logs(logs, folder.root, recipe.to_json(), data, val, anew=anew, warn=observer.warn)
                called += callbacks
            all_callbacks = Callbacks(CsvLog(folder), called, observer.warn)
            try:
                with memory_errors():
                    outcome = fit(
                        setup.network,
                        setup.criterion,
                        setup.loader,
                        setup.validate,
                        recipe=recipe,
                        folder=folder,
                        fabric=fabric,
                        ranks=ranks,
                        observer=observer,
                        callbacks=all_callbacks,
                        start=start,
                        facts={
                            "identity": wanted,
                            "network": setup.network.config.to_json_dict(),
                            "started_from": provenance.get("started_from"),
                        },
                        provenance=provenance,
                    )
            except BaseException as error:
                all_callbacks.on_end(End(folder.root, error))
                raise
            all_callbacks.on_end(End(folder.root))
    network: Any = outcome.network.eval()
    return Run(
        folder.root,
        folder.best,
        predictor_of(network, provenance, next(network.parameters()).device, bf16=bf16),
        outcome.best_score,
        outcome.steps,
        outcome.seconds,
        outcome.images_per_second,
        data,
        val,
    )


def recipe_for(recipe: Recipe | None, weights: str | Path | None) -> Recipe:
    """Return the recipe of a run from some weights: the given one, or the default one of the weights' own model.

    `none` leaves out the weights of the recipe.

    Raises DataError for a segmenter's weights without a recipe, and what `find_weights` raises.
    """
    if weights is None:
        return recipe or default_recipe()
    if weights == NO_WEIGHTS:
        return replace(recipe or default_recipe(), weights=None)
    if recipe is None:
        recipe = default_recipe(model_of(find_weights(weights)))
    return replace(recipe, weights=str(weights))


def _stored(out: Path, splits: SplitFile | Path | None, resumed_split: str | None) -> SplitFile | None:
    """Return the splits that were given, or those that the run to resume divided itself, or None."""
    if isinstance(splits, Path):
        return split_file.read(splits)
    if splits is None and resumed_split == "train" and (out / SPLIT_FILE).is_file():
        stored = split_file.read(out / SPLIT_FILE)
        return stored if stored.shares else None
    return splits


def _checked(data: Dataset, val: Dataset | None, on_bad: OnBad) -> tuple[Dataset, list[Fault]]:
    """Return the training split without images that are in the validation split too, and the faults of both.

    Raises FaultyDataError as `refuse_or_list` does, and DataError for splits of other classes, an empty split or one
    without any object.
    """
    if val is not None:
        if val.label_map != data.label_map:
            val_names, names = (", ".join(split.label_map.names) for split in (val, data))
            message = f"the validation split has the classes {val_names}, the training split has {names}"
            raise DataError(message, kind="other-classes", remedy="Give splits of the same classes", file=val.root)
        samples, leaked = without_leaks(data, val)
        if leaked:
            data = replace(data, samples=tuple(samples), faults=(*data.faults, *leaked))
    faults = refuse_or_list([data] if val is None else [data, val], on_bad)
    if not len(data.label_map):
        message = "no annotation names a class"
        message += f"; labels were looked for in {searched(data)}" if len(data) else ""
        raise DataError(message, kind="no-class", remedy="Annotate objects", file=data.root)
    if not len(data):
        message = f"no image is left to train on in {data.split}"
        raise DataError(message, kind="no-picture", remedy="See `singleshot data check`", file=data.root)
    missing = no_object(data) or no_pixel(data)
    if missing is not None:  # leaving out what is faulty, as --on-bad skip does, leaves nothing
        raise DataError(missing.message, kind=missing.kind, file=missing.file)
    return data, faults


def _workers(recipe: Recipe, ranks: Ranks) -> int:
    """Return the recipe's number of data workers, or else half the cores, and beside GPUs nearly all of them."""
    if recipe.workers is not None:
        return recipe.workers
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # Each rank has a GPU, needs one core to feed it, and shares the others with the ranks of this machine.
    spare = cores() // min(devices, ranks.world) - 1 if devices else cores() // 2
    return max(1, min(16, spare))


def this_command() -> str:
    """Return the command line of this process as one could type it again, without the folder of the program."""
    return shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])


def command_for_others() -> str:
    """Return `this_command` for files that are passed on: of an absolute path, which shows folders, the name alone."""
    arguments = []
    for argument in sys.argv[1:]:
        option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
        arguments.append(f"{option}{equals}{Path(value).name}" if Path(value).is_absolute() else argument)
    return shlex.join([Path(sys.argv[0]).name or "python", *arguments])


def provenance_of(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """Return what weights files say about their origin: command, date (UTC), data, versions and metric, as JSON."""
    return {
        "made_by": "singleshot train",
        "command": command_for_others(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "data": data.root.name,
        "split": data.split,
        "images": len(data),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "precision": resolve_precision(recipe.precision),
        **arithmetic(),
        "metric": recipe.pixel_metric if recipe.is_segmentation else recipe.metric,
    }
