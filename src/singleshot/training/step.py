"""One training step, from a batch to updated weights: forward, loss, backward, optimizer.

The loop in `fit` takes it, and so does the benchmark. A step whose loss or gradient is not finite (a NaN step) changes
nothing: not the weights, not the optimizer's state, not the statistics of batch normalisation. On a CPU that is
checked at once. On a CUDA device the check would stop the host until the device has caught up, in every step, so there
the device itself leaves the weights unchanged (`found_inf` of torch's fused optimizers), and the host asks later. Of
several ranks all leave out what one finds bad.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from singleshot.detection.ssd import SSD
from singleshot.preprocess import normalise
from singleshot.segmentation.fcn import FCN
from singleshot.training.criterion import Criterion
from singleshot.training.devices import Fabric
from singleshot.training.optimizer import EMA, build, can_skip
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe


@dataclass(frozen=True)
class StepResult:
    """The outcome of a step. On a CUDA device both may still be in computation: reading a number waits for it.

    Args:
        losses: by name, detached.
        finite: False for a NaN step, which changed nothing; a tensor where only the device has the answer so far.
    """

    losses: Mapping[str, Tensor]
    finite: bool | Tensor


class TrainingStep:
    """A network with its criterion, optimizer and EMA on their device; calling it trains on a batch.

    Args:
        network: the network to train.
        criterion: its loss.
        recipe: optimizer, EMA, parts of a batch and compilation.
        fabric: device, precision and ranks.
        ranks: the processes that share the work.
        warn: is called with one line if `recipe.compile` does not work here.
    """

    def __init__(
        self,
        network: SSD | FCN,
        criterion: Criterion,
        recipe: Recipe,
        fabric: Fabric,
        ranks: Ranks,
        warn: Callable[[str], None],
    ) -> None:
        self.criterion, self.recipe, self.fabric, self.ranks, self.warn = criterion, recipe, fabric, ranks, warn
        self.network = network.to(fabric.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.ema = None if recipe.ema_decay is None else EMA(self.network, recipe.ema_decay)
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)  # of fp16; no other precision has one
        self.optimizer = build(self.network, recipe.optimizer, fused=self.scaler is None)
        self.module, self.stepper = fabric.setup(self.network, self.optimizer)
        self._to_compile = recipe.compile
        self.deferred = fabric.device.type == "cuda" and self.scaler is None and can_skip(self.optimizer)

    def __call__(self, batch: Any) -> StepResult:
        """Train on a batch, which may be on the host.

        With `recipe.accumulate` it goes through the network in that many parts: loss and gradient are those of the
        whole batch, the statistics of batch normalisation those of the parts.
        """
        batch = batch.to(self.fabric.device)
        preprocess = self.network.config.preprocess
        if self._to_compile:
            self._to_compile = False
            self._compile(normalise(batch.images, preprocess))
        statistics = _running_statistics(self.network)
        # The first step makes the optimizer's state, so it is checked before it is taken.
        deferred = self.deferred and bool(self.optimizer.state)

        self.optimizer.zero_grad(set_to_none=True)
        targets = self.criterion.targets(batch)
        totals = self.ranks.sum(self.criterion.totals(targets))
        losses: dict[str, Tensor] = {}
        parts = _parts(len(batch), self.recipe.accumulate)
        for rows in parts:
            # DistributedDataParallel decides in its forward pass whether the backward pass will reduce gradients.
            with self.fabric.no_backward_sync(self.module, enabled=rows is not parts[-1]):
                outputs = self.module(normalise(batch.images[rows], preprocess))
                part = self.criterion(outputs, targets[rows], totals)
                loss = torch.stack(list(part.values())).sum()
                losses = {
                    name: value.detach() + losses[name] if losses else value.detach() for name, value in part.items()
                }
                if not deferred and self.ranks.any(not loss.isfinite()):
                    _restore(self.network, statistics, False)
                    return StepResult(losses, False)
                self.fabric.backward(loss)

        finite = self._update(losses, deferred)
        if finite is not True:
            _restore(self.network, statistics, finite)
        if self.ema is not None and finite is not False:
            self.ema.update(self.network)  # of a step that the device left out: towards unchanged weights
        return StepResult(losses, finite)

    def _update(self, losses: Mapping[str, Tensor], deferred: bool) -> bool | Tensor:
        """Clip the gradient and step the optimizer where all is finite; return whether it is."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        gradients = [each.grad for each in self.network.parameters() if each.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.recipe.optimizer.clip_norm:
            nn.utils.clip_grads_with_norm_(self.network.parameters(), self.recipe.optimizer.clip_norm, norm)
        if deferred:
            # The gradient's norm is that of all ranks, but losses are each rank's own: all must leave the step out.
            bad = self.ranks.sum((~torch.stack([norm, *losses.values()]).isfinite().all()).float())
            finite = bad == 0
            self.optimizer.found_inf = bad.clamp(max=1.0)  # pyright: ignore[reportAttributeAccessIssue]
            self.stepper.step()
            return finite
        if self.scaler is not None:
            # A gradient that overflows makes the scaler lower its scale; only below 1 is it a NaN step.
            self.stepper.step()
            return bool(norm.isfinite()) or self.scaler.get_scale() >= 1.0
        if not norm.isfinite():
            return False
        if self.deferred:
            self.optimizer.found_inf = None  # pyright: ignore[reportAttributeAccessIssue]
        self.stepper.step()
        return True

    def _compile(self, images: Tensor) -> None:
        """Compile the network and try it forward and backward; where that fails, warn and train without."""
        statistics = _running_statistics(self.network)
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        try:
            self.network.compile()
            with torch.random.fork_rng(devices), self.fabric.autocast():
                outputs = self.network(images[: _parts(len(images), self.recipe.accumulate)[0].stop])
            torch.stack([output.float().mean() for output in outputs]).sum().backward()
        except Exception as error:
            self.network._compiled_call_impl = None  # pyright: ignore[reportAttributeAccessIssue]
            reason = " ".join(str(error).split())[:160]
            self.warn(f"torch.compile does not work here ({type(error).__name__}: {reason}); going on without it")
        _restore(self.network, statistics, False)


def _parts(length: int, count: int) -> list[slice]:
    """Cut `length` rows into at most `count` slices of nearly equal size, none of them empty.

    >>> _parts(8, 3), _parts(2, 3)
    ([slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)], [slice(0, 1, None), slice(1, 2, None)])
    """
    count = max(1, min(count, length))
    ends = [length * index // count for index in range(count + 1)]
    return [slice(low, high) for low, high in itertools.pairwise(ends)]


def _running_statistics(network: nn.Module) -> dict[str, Tensor]:
    """Copy what a forward pass alone changes: statistics of batch normalisation, which a bad batch would spoil."""
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    buffers = {name: buffer for name, buffer in network.named_buffers() if name.endswith(kinds)}
    copies = {name: torch.empty_like(buffer) for name, buffer in buffers.items()}
    if copies:  # in one launch on a GPU, not one a buffer
        torch._foreach_copy_(list(copies.values()), list(buffers.values()))  # pyright: ignore[reportPrivateImportUsage]
    return copies


def _restore(network: nn.Module, statistics: dict[str, Tensor], finite: bool | Tensor) -> None:
    """Put running statistics back, unless the step was finite."""
    buffers = dict(network.named_buffers())
    present, before = [buffers[name] for name in statistics], list(statistics.values())
    if isinstance(finite, Tensor):
        before = [torch.where(finite, *pair) for pair in zip(present, before, strict=True)]
    if present:
        torch._foreach_copy_(present, before)  # pyright: ignore[reportPrivateImportUsage]
