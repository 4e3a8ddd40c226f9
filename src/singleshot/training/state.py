"""The state of a run between two steps, its identity, and how it is resumed bit for bit.

State is tensors and counters. Nothing random is stored, because everything random is addressed: order and
augmentation by (seed, epoch, image), what the network itself draws (dropout) by (seed, step, rank).

Identity is recipe, data, ranks, the kind of device, the precision and the version of torch. Another learning rate or
another image would give a result that no single command gives, so differences are named and refused; `--force` accepts
them. What does not change the result (how many workers load, how often it is saved) may differ.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler as Scaler

from singleshot.config import to_json_dict, with_defaults
from singleshot.errors import ConfigError, DataError
from singleshot.structures import Dataset
from singleshot.training.checkpoint import Checkpoint, newest, newest_facts
from singleshot.training.optimizer import EMA
from singleshot.training.recipe import Recipe
from singleshot.training.run_folder import RunFolder


@dataclass
class Progress:
    """How far a run has come; the loop counts here.

    Args:
        step: steps tried in the whole run, those not taken included.
        epoch: epochs finished, validation included.
        position: batches of the current epoch that are done; 0 between epochs.
        images: images in all of these steps, on this rank.
        bad_in_a_row: NaN steps since the last good one.
        best_score: of the best epoch.
        not_better: validations since then.
        seconds: of the whole run up to the last save.
        training_seconds: without validation.
        epoch_began: the share of the run that was done when the current epoch began.
        epoch_seconds, epoch_images, epoch_steps: of the current epoch.
        epoch_blank: images of it from which nothing could be learned: they could not be read or are all void.
        sums: sums of the losses over the current epoch's steps, by name.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    images: int = 0
    bad_in_a_row: int = 0
    best_score: float | None = None
    not_better: int = 0
    seconds: float = 0.0
    training_seconds: float = 0.0
    epoch_began: float = 0.0
    epoch_seconds: float = 0.0
    epoch_images: int = 0
    epoch_steps: int = 0
    epoch_blank: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)

    def count(self, position: int, images: int, blank: int, seconds: float) -> None:
        """Count a step, taken or not, after which `position` batches of the epoch are done."""
        self.epoch_blank += blank
        self.step, self.position = self.step + 1, position
        self.images, self.epoch_images = self.images + images, self.epoch_images + images
        self.training_seconds, self.epoch_seconds = self.training_seconds + seconds, self.epoch_seconds + seconds

    def end_epoch(self, done: float) -> None:
        """Count a finished epoch, after which that share of the run is done, and begin the next."""
        self.epoch, self.epoch_began = self.epoch + 1, done
        self.position = self.epoch_images = self.epoch_steps = self.epoch_blank = 0
        self.epoch_seconds, self.sums = 0.0, {}


def tensors_of(
    progress: Progress, network: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA[Any] | None
) -> dict[str, Tensor]:
    """Return all tensors of a run by name. They are not copied."""
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    if ema is not None:
        tensors |= {f"mean/{name}": tensor for name, tensor in ema.network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items() if isinstance(value, Tensor)}
    tensors |= {f"sums/{name}": total for name, total in progress.sums.items()}
    return tensors


def facts_of(
    progress: Progress, optimizer: torch.optim.Optimizer, ema: EMA[Any] | None, scaler: Scaler | None = None
) -> dict[str, Any]:
    """Return the state of a run that is not tensors, as JSON stores it; `scaler` is fp16's, see `TrainingStep`."""
    saved = optimizer.state_dict()
    plain = {
        str(index): {key: value for key, value in state.items() if not isinstance(value, Tensor)}
        for index, state in saved["state"].items()
    }
    counters = {f.name: getattr(progress, f.name) for f in dataclasses.fields(progress) if f.name != "sums"}
    return {
        "progress": counters,
        "optimizer": {"state": plain, "param_groups": saved["param_groups"]},
        "mean_updates": None if ema is None else ema.updates,
        "scaler": None if scaler is None else scaler.state_dict(),
    }


def restore(
    start: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: EMA[Any] | None,
    scaler: Scaler | None = None,
) -> Progress:
    """Restore network, optimizer, EMA and scaler in place, and return the progress of a run.

    Raises:
        DataError: the checkpoint is of another network, optimizer or version.
    """
    try:
        device = next(network.parameters()).device
        network.load_state_dict(_under("network/", start.tensors))
        if ema is not None:
            ema.network.load_state_dict(_under("mean/", start.tensors))
            ema.updates = start.facts["mean_updates"]
        state = {int(index): dict(plain) for index, plain in start.facts["optimizer"]["state"].items()}
        for name, tensor in _under("optimizer/", start.tensors).items():
            index, key = name.split("/", 1)
            state.setdefault(int(index), {})[key] = tensor
        groups = [dict(group) for group in start.facts["optimizer"]["param_groups"]]
        for group in groups:
            if "betas" in group:
                group["betas"] = tuple(group["betas"])  # JSON has no tuples
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        # Files know one memory order only, and torch's fused step needs momenta in that of their parameters.
        for parameter, each in optimizer.state.items():
            for key, value in each.items():
                same = isinstance(value, Tensor) and value.shape == parameter.shape
                if same and value.stride() != parameter.stride():
                    each[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        if scaler is not None and start.facts.get("scaler"):  # an older version did not store it
            scaler.load_state_dict(start.facts["scaler"])
        progress = Progress(**start.facts["progress"])
        progress.sums = {name: total.to(device) for name, total in _under("sums/", start.tensors).items()}
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        message = f"does not fit this run ({' '.join(str(error).split())[:200]})"
        remedy = "Resume with the recipe and the version that wrote it"
        raise DataError(message, kind="other-checkpoint", remedy=remedy, file=start.path) from error
    return progress


def position_now(position: int, batch_size_before: int, batch_size: int, batches: int) -> int:
    """Return how many batches of an epoch are done, from their number at another batch size.

    A batch that is done in part counts as not done: some of its images are used twice rather than not at all.

    >>> position_now(5, 4, 16, 10), position_now(5, 4, 2, 20), position_now(10, 4, 16, 3)
    (1, 10, 2)
    """
    return min(position * batch_size_before // batch_size, batches)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


FREE_FIELDS = ("workers", "checkpoint", "rank_timeout_s")
STRUCTURE = ("model", "weights", "norm", "input_size_hw", "fit", "anchors", "scores")
"""Fields that determine, with the classes, which network is built."""
SHOWN_KEYS = 8


def identity(recipe: Recipe, train: Dataset, val: Dataset | None, *, world: int) -> dict[str, Any]:
    """Return what a resumed run must have in common with the stopped one, flat, by dotted names, as JSON stores it."""
    return {
        **_of_recipe(to_json_dict(recipe)),
        "classes": list(train.label_map.names),
        "data.train": fingerprint(train),
        "data.val": None if val is None else fingerprint(val),
        "data.train_files": files_fingerprint(train),
        "data.val_files": None if val is None else files_fingerprint(val),
        "world_size": world,
        "threads": torch.get_num_threads(),
    }


def fingerprint(dataset: Dataset) -> str:
    """Return `<images> pictures <hash>`: the hash covers names, boxes and classes of a split in their order."""
    digest = hashlib.sha256()
    for sample in dataset.samples:
        digest.update(sample.image_id.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(np.ascontiguousarray(sample.boxes_xyxy, dtype=np.float64).tobytes())
        digest.update(np.ascontiguousarray(sample.class_ids, dtype=np.int64).tobytes())
    return f"{len(dataset)} pictures {digest.hexdigest()[:16]}"


def files_fingerprint(dataset: Dataset) -> str:
    """Return `<bytes> bytes <hash>`: it covers sizes of images, in bytes and as annotated, marks of boxes, and masks.

    Masks are labels like boxes, and few megabytes, and are read; images are many, and one that is replaced hardly ever
    has as many bytes as before. A file that cannot be read counts as empty.
    """
    digest, total = hashlib.sha256(), 0
    for sample in dataset.samples:
        try:
            size = sample.image_path.stat().st_size
        except OSError:
            size = 0
        total += size
        digest.update(f"{sample.image_id}\0{size} {sample.size_hw}".encode("utf-8", "surrogateescape"))
        for marks in (sample.difficult, sample.crowd):
            digest.update(b"-" if marks is None else np.ascontiguousarray(marks, dtype=np.bool_).tobytes())
        if sample.mask_path is not None:
            try:
                digest.update(hashlib.sha256(sample.mask_path.read_bytes()).digest())
            except OSError:
                digest.update(b"-")
    return f"{total} bytes {digest.hexdigest()[:16]}"


def begun(checkpoints: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how the run in a folder was built: `network`, its config as JSON, and `started_from`, its provenance.

    The weights that it started from are not needed a second time, and may have changed since. None if there is no
    such run, or another one than `wanted`, or one of an older version, which did not store it.
    """
    facts = newest_facts(checkpoints)
    if facts is None or "network" not in facts:
        return None
    stored = facts["identity"]
    same = all(stored.get(key) == wanted[key] for key in ("classes", *(f"recipe.{name}" for name in STRUCTURE)))
    return {"network": facts["network"], "started_from": facts["started_from"]} if same else None


def find(
    folder: RunFolder, wanted: Mapping[str, Any], *, force: bool, warn: Callable[[str], None]
) -> Checkpoint | None:
    """Return the newest intact checkpoint of the run in a folder and reset its log to that step; None without any.

    Raises:
        ConfigError: it is of another run, and `force` is off.
        DataError: there are checkpoints and none is intact.
    """
    start = newest(folder.checkpoints, lambda error: warn(f"a checkpoint is skipped: {error}"))
    if start is None:
        warn(f"no checkpoint in {folder.checkpoints}: the run starts anew")
        return None
    stored = _completed(start.facts.get("identity", {}), wanted)
    if stored.get("threads") != wanted["threads"]:
        warn(f"{wanted['threads']} threads now, {stored.get('threads')} then: results can differ in the last bits")
    changed = sorted(key for key in {*stored, *wanted} - {"threads"} if stored.get(key) != wanted.get(key))
    if changed and not force:
        shown = "; ".join(
            f"{key} was {_short(stored.get(key))}, is {_short(wanted.get(key))}" for key in changed[:SHOWN_KEYS]
        )
        more = f"; and {len(changed) - SHOWN_KEYS} more" if len(changed) > SHOWN_KEYS else ""
        remedy = "Give the options that the run was started with, or add --force"
        raise ConfigError(f"differs from the run that was stopped: {shown}{more}", remedy=remedy, file=folder.root)
    folder.reset(start.facts.get("log", []), start.step)
    return start


def _completed(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored identity with what later versions added: defaults of the recipe, and fingerprints of files."""
    nested: dict[str, Any] = {}
    for key, value in stored.items():
        *branches, leaf = key.split(".")
        branch = nested
        for name in branches:
            branch = branch.setdefault(name, {})
        branch[leaf] = value
    later = ("data.train_files", "data.val_files", "device", "precision", "torch")
    added = {key: wanted[key] for key in later if key in wanted}
    return {**added, **_of_recipe(with_defaults(Recipe, nested.get("recipe", {}))), **stored}


def _of_recipe(fields: Mapping[str, Any]) -> dict[str, Any]:
    return _flat("recipe", {name: value for name, value in fields.items() if name not in FREE_FIELDS})


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in _flat(f"{name}.{part}", inner).items()}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


class Budget:
    """The limit of a run (epochs, steps or minutes), and the share of it that is done.

    Epochs are counted by themselves and not by steps, of which they may have had more or fewer before the run was
    resumed with another batch size.

    Args:
        recipe: has the limit.
        steps_per_epoch: batches in an epoch.
        seconds_before: spent before the run was resumed.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int, seconds_before: float = 0.0) -> None:
        self._epochs, self._steps, self._steps_per_epoch = recipe.epochs, recipe.steps, steps_per_epoch
        self.limit_s = None if recipe.minutes is None else recipe.minutes * 60
        self._started = time.monotonic() - seconds_before

    @property
    def seconds(self) -> float:
        """Seconds spent in the loop so far, those before the run was resumed included."""
        return time.monotonic() - self._started

    def done(self, progress: Progress) -> float:
        """Return the share of the run that is done, 0…1."""
        if self.limit_s is not None:
            return min(1.0, self.seconds / self.limit_s)
        if self._epochs is not None:
            done = progress.epoch * self._steps_per_epoch + progress.position
            total = self._epochs * self._steps_per_epoch
        else:
            done, total = progress.step, self._steps
        return min(1.0, done / total) if total else 1.0
