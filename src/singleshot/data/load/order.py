"""The order of images and their random numbers: functions of addresses, not draws from a sequence.

Everything random about image *i* in epoch *e* is a function of (seed, e, i), and the order of an epoch is one of
(seed, e, length). So neither the number of workers nor a stop in the middle of an epoch changes what is trained on.

    epoch_order      one permutation for each epoch, the same on every rank
    rank_batches     that order cut into batches, one rank's share, from a given batch on
    rng_for          the random numbers of one image in one epoch
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from numpy import ndarray


def rng_for(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Returns the source of all randomness of one image in one epoch; takes about 10 µs. All three are 0 or more.

    >>> rng_for(0, 3, 17).random() == rng_for(0, 3, 17).random() != rng_for(0, 3, 18).random()
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, index)))


def epoch_order(length: int, *, seed: int, epoch: int, shuffle: bool = True) -> Int[ndarray, " N"]:
    """Returns the indices 0 … length−1 in the order in which that epoch visits them; each once.

    >>> epoch_order(4, seed=0, epoch=0, shuffle=False)
    array([0, 1, 2, 3])
    """
    if not shuffle:
        return np.arange(length)
    # One key where an image has two: no order shares its numbers with an image.
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
    """Returns one rank's batches of an epoch, without the first `start` of them.

    The order is cut into batches as for one rank, and the ranks take them in turn: 4 ranks of 8 train on what 1 rank
    of 32 trains on, and evaluate the batches of 1 rank of 8. A step that has no full batch for each rank is dropped
    with `drop_last`. Without it some ranks have one batch fewer, so training on several ranks drops it.

    >>> [batch.tolist() for batch in rank_batches(np.arange(7), batch_size=2, world=2, rank=1)]
    [[2, 3], [6]]
    """
    count = batch_count(len(order), batch_size=batch_size, drop_last=drop_last, rank=rank, world=world)
    starts = [(step * world + rank) * batch_size for step in range(start, count)]
    return [order[first : first + batch_size] for first in starts]


def batch_count(length: int, *, batch_size: int, drop_last: bool = False, rank: int = 0, world: int = 1) -> int:
    """Returns how many batches `rank_batches` cuts for that rank from the start."""
    full, rest = divmod(length, batch_size * world)
    return full + (not drop_last and rest > rank * batch_size)
