"""One step of training: forward, loss, backward, and the weights move, or stay where loss or gradient is not finite.

The loop in `fit` counts and saves, the benchmark measures, and both take this step. It changes nothing on a step that
is not finite: not the weights, not the optimizer's state, not the statistics of norm layers. A CPU looks at once. On
a CUDA device that would stop the host until the device has caught up, in every step, so there the device itself
leaves the weights alone (`found_inf` of torch's fused optimizers) and the host asks later.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Generic

import torch
from torch import Tensor, nn

from singleshot.training import optimizer as optimizers
from singleshot.training.ema import RunningMean
from singleshot.training.fabric import Fabric
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe
from singleshot.training.task import Network, Task, TrainingBatch


@dataclasses.dataclass(frozen=True)
class Taken:
    """What a step came to. On a CUDA device both may still be on their way: asking for a number waits for it.

    Args:
        parts: the parts of the loss, detached.
        finite: whether the step was taken; a tensor where the device alone knows so far.
    """

    parts: Mapping[str, Tensor]
    finite: bool | Tensor


class TrainingStep(Generic[Network]):
    """A task's network with its optimizer and running mean, on its device and ready to learn from batches.

    Args:
        task: what is learnt.
        recipe: how.
        fabric: device, precision and ranks.
        ranks: the processes that share the work.
        warn: is told once if `recipe.compile` does not work here.
    """

    def __init__(
        self, task: Task[Network], recipe: Recipe, fabric: Fabric, ranks: Ranks, warn: Callable[[str], None]
    ) -> None:
        self.task, self.recipe, self.fabric, self.ranks, self.warn = task, recipe, fabric, ranks, warn
        self.network = task.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        decay = recipe.ema_decay
        self.mean = None if decay is None else RunningMean(self.network.to(fabric.device), decay)
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)  # of fp16; no other precision has one
        self.optimizer = optimizers.build(self.network, recipe.optimizer, fused=self.scaler is None)
        self.module, self.stepper = fabric.setup(self.network, self.optimizer)
        self._unproven = recipe.compile
        if recipe.compile:
            try:
                self.network.compile()
            except Exception as error:
                self._uncompile(error)
        # The other ranks must hear of a bad loss before they wait in backward, so several ranks do not put it off.
        can_skip = self.scaler is None and optimizers.can_skip(self.optimizer)
        self.deferred = fabric.device.type == "cuda" and ranks.world == 1 and can_skip

    def take(self, batch: TrainingBatch) -> Taken:
        """Learn from a batch, which may be on the host.

        With `recipe.accumulate` it goes through the network in that many parts; loss and gradient are those of the
        whole, statistics of norm layers those of the parts.
        """
        statistics = _statistics(self.network)
        try:
            taken = self._try(batch.to(self.fabric.device))
        except Exception as error:
            if not self._unproven:
                raise
            self._uncompile(error)
            _restore(self.network, statistics, False)
            taken = self._try(batch.to(self.fabric.device))
        self._unproven = False
        if taken.finite is not True:
            _restore(self.network, statistics, taken.finite)
        if self.mean is not None and taken.finite is not False:
            self.mean.update(self.network)  # after a step that the device left out, towards weights that stayed
        return taken

    def _try(self, batch: TrainingBatch) -> Taken:
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        shares = _shares(batch, self.recipe.accumulate)
        wait = self.deferred and bool(self.optimizer.state)  # the first step makes the momentum: it must be a good one
        whole = None if len(shares) == 1 else self.task.whole(batch)
        for part in shares:
            losses = self.task.losses(self.module, part, whole)
            total = torch.stack(list(losses.values())).sum()
            sums = {name: loss.detach() + sums[name] if sums else loss.detach() for name, loss in losses.items()}
            if not wait and self.ranks.any(not total.isfinite()):
                return Taken(sums, False)
            with self.fabric.no_backward_sync(self.module, enabled=part is not shares[-1]):
                self.fabric.backward(total)
        limit = self.recipe.optimizer.clip_norm or float("inf")
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        if wait:
            finite = torch.stack([norm, *sums.values()]).isfinite().all()
            self.optimizer.found_inf = (~finite).float()  # pyright: ignore[reportAttributeAccessIssue]
            self.stepper.step()
            return Taken(sums, finite)
        if self.scaler is not None:
            # A gradient that overflows is the scaler's to answer, with a smaller scale; only below 1 is it ours.
            self.stepper.step()
            return Taken(sums, bool(norm.isfinite()) or self.scaler.get_scale() >= 1.0)
        if not norm.isfinite():
            return Taken(sums, False)
        if self.deferred:
            self.optimizer.found_inf = None  # pyright: ignore[reportAttributeAccessIssue]
        self.stepper.step()
        return Taken(sums, True)

    def _uncompile(self, error: Exception) -> None:
        self._unproven = False
        self.network._compiled_call_impl = None  # pyright: ignore[reportAttributeAccessIssue]
        reason = " ".join(str(error).split())[:160]
        self.warn(f"torch.compile does not work here ({type(error).__name__}: {reason}); going on without it")


def _shares(batch: TrainingBatch, count: int) -> list[Any]:
    """A batch in at most `count` parts of nearly equal size, none of them empty; the batch itself for 1."""
    if count == 1:
        return [batch]
    length = len(batch)
    count = min(count, length)
    ends = [length * place // count for place in range(count + 1)]
    return [_rows(batch, slice(low, high)) for low, high in itertools.pairwise(ends)]


def _rows(batch: Any, rows: slice) -> Any:
    """Some pictures of a batch: each of its fields has one row a picture."""
    return dataclasses.replace(batch, **{f.name: getattr(batch, f.name)[rows] for f in dataclasses.fields(batch)})


def _statistics(network: nn.Module) -> dict[str, Tensor]:
    """A copy of what a forward pass alone changes: running statistics, which one bad batch would spoil for good."""
    return {name: buffer.clone() for name, buffer in network.named_buffers() if "running_" in name}


def _restore(network: nn.Module, statistics: dict[str, Tensor], finite: bool | Tensor) -> None:
    """Put statistics back where the step was not finite."""
    for name, buffer in network.named_buffers():
        if name in statistics:
            good = isinstance(finite, Tensor)
            buffer.copy_(torch.where(finite, buffer, statistics[name]) if good else statistics[name])
