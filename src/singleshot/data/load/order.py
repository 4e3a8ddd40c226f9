"""Which pictures come when, and with which random numbers: both are addresses, not sequences.

Everything random about picture *i* in epoch *e* is a function of (seed, e, i), and the order of an epoch is one of
(seed, e, length). So neither the number of workers nor a stop in the middle of an epoch changes what is trained on.

    epoch_order      one permutation an epoch, the same on every rank
    rank_batches     that order cut into batches, one rank's share, from a given batch on
    rng_for          the random numbers of one picture in one epoch
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from numpy import ndarray


def rng_for(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The source of all randomness of one picture in one epoch; about 10 µs. All three are 0 or more.

    >>> rng_for(0, 3, 17).random() == rng_for(0, 3, 17).random() != rng_for(0, 3, 18).random()
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, index)))


def epoch_order(length: int, *, seed: int, epoch: int, shuffle: bool = True) -> Int[ndarray, " N"]:
    """The places 0 … length−1 in the order in which that epoch visits them; each once.

    >>> epoch_order(4, seed=0, epoch=0, shuffle=False)
    array([0, 1, 2, 3])
    """
    if not shuffle:
        return np.arange(length)
    # One key where a picture has two: no order shares its numbers with a picture.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,))).permutation(length)


def rank_batches(
    order: Int[ndarray, " N"],
    *,
    batch_size: int,
    drop_last: bool = False,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
) -> list[Int[ndarray, " B"]]:
    """One rank's batches of an epoch, without the first `start` of them.

    Step k of all ranks together takes the next `world · batch_size` places, and each rank a run of `batch_size` of
    these, so that 4 ranks of 8 see what 1 rank of 32 sees. The rest at the end is dropped, or shared out as evenly
    as it goes; ranks that get nothing of it have one batch fewer, so training on several ranks drops it.

    >>> [batch.tolist() for batch in rank_batches(np.arange(7), batch_size=2, world=2, rank=1)]
    [[2, 3], [6]]
    """
    step = batch_size * world
    full = len(order) // step
    batches = [order[k * step + rank * batch_size : k * step + (rank + 1) * batch_size] for k in range(start, full)]
    rest = order[full * step :]
    if drop_last or start > full:
        return batches
    share = np.array_split(rest, world)[rank]
    return [*batches, share] if len(share) else batches


def batch_count(length: int, *, batch_size: int, drop_last: bool = False, rank: int = 0, world: int = 1) -> int:
    """How many batches `rank_batches` cuts for that rank from the start."""
    full, rest = divmod(length, batch_size * world)
    return full + (not drop_last and rest > rank)
