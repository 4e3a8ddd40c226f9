"""What a run is between two steps: tensors and counters, enough to go on bit for bit.

Nothing random is stored, because everything random is addressed: order and augmentation by (seed, epoch, picture),
what the network itself draws (dropout) by (seed, step, rank).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler as Scaler

from singleshot.errors import DataError
from singleshot.training.checkpoint import Checkpoint
from singleshot.training.ema import EMA


@dataclass
class Progress:
    """How far a run has come; the loop counts here.

    Args:
        step: steps tried in the whole run, those not taken included.
        epoch: epochs finished, validation included.
        position: batches of the running epoch that are behind us; 0 between epochs.
        images: pictures in all of these steps.
        bad_in_a_row: steps not taken since the last that was.
        best_score: of the best epoch.
        seconds: of the whole run up to the last save.
        training_seconds: without validation.
        epoch_seconds, epoch_images, epoch_steps: of the running epoch.
        epoch_blank: pictures of it from which nothing could be learned, as they could not be read or are all void.
        sums: sums of the loss parts over the running epoch's steps, by name.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    images: int = 0
    bad_in_a_row: int = 0
    best_score: float | None = None
    seconds: float = 0.0
    training_seconds: float = 0.0
    epoch_seconds: float = 0.0
    epoch_images: int = 0
    epoch_steps: int = 0
    epoch_blank: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)

    def count(self, position: int, images: int, blank: int, seconds: float) -> None:
        """Count a step, taken or not, after which `position` batches of the epoch are behind us."""
        self.epoch_blank += blank
        self.step, self.position = self.step + 1, position
        self.images, self.epoch_images = self.images + images, self.epoch_images + images
        self.training_seconds, self.epoch_seconds = self.training_seconds + seconds, self.epoch_seconds + seconds

    def end_epoch(self) -> None:
        """Count an epoch that was validated, and begin the next."""
        self.epoch += 1
        self.position = self.epoch_images = self.epoch_steps = self.epoch_blank = 0
        self.epoch_seconds, self.sums = 0.0, {}


def tensors_of(
    progress: Progress, network: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA[Any] | None
) -> dict[str, Tensor]:
    """All tensors of a run by name. They are not copied."""
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
    """What of a run is not a tensor, as JSON holds it; `scaler` is fp16's, see `TrainingStep`."""
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
    """Put a run back to where a checkpoint found it.

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
        groups = [_as_saved(group) for group in start.facts["optimizer"]["param_groups"]]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        _lay_out(optimizer)
        if scaler is not None and start.facts.get("scaler"):  # an older version did not store it
            scaler.load_state_dict(start.facts["scaler"])
        progress = Progress(**start.facts["progress"])
        progress.sums = {name: total.to(device) for name, total in _under("sums/", start.tensors).items()}
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        what = f"does not fit this run ({' '.join(str(error).split())[:200]})"
        remedy = "Resume with the recipe and the version that wrote it"
        raise DataError(what, kind="other-checkpoint", remedy=remedy, file=start.path) from error
    return progress


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give momenta their parameters' memory order: files know one order only, and torch's fused step none but that."""
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _as_saved(group: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples; optimizers keep `betas` as one."""
    return {key: tuple(value) if key == "betas" else value for key, value in group.items()}
