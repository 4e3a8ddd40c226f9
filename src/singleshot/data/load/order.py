"""The order of images and their random numbers: functions of addresses, not draws from a sequence.

Everything random about image *i* in epoch *e* is a function of (seed, e, i), and the order of an epoch is one of
(seed, e, length). So neither the number of workers nor a stop in the middle of an epoch changes what is trained on.

    epoch_order      one permutation for each epoch, the same on every rank
    rank_batches     that order cut into batches, one rank's share, from a given batch on
    rng_for          the random numbers of one image in one epoch
    repeat_factors   how much more often an image comes than others, for rare classes
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def rng_for(seed: int, epoch: int, index: int, copy: int = 0) -> np.random.Generator:
    """Returns the source of all randomness of one image in one epoch; takes about 10 µs. All numbers are 0 or more.

    An image that comes several times in an epoch has other numbers for each `copy`.

    >>> rng_for(0, 3, 17).random() == rng_for(0, 3, 17).random() != rng_for(0, 3, 18).random()
    True
    """
    key = (epoch, index, copy) if copy else (epoch, index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def epoch_order(
    length: int, *, seed: int, epoch: int, shuffle: bool = True, factors: Float[ndarray, " N"] | None = None
) -> Int[ndarray, " N"]:
    """Returns the indices 0 … length−1 in the order in which that epoch visits them; each once.

    With `factors` an image comes in proportion to its own, and an epoch is as long as without: each image is put in as
    often as its factor says (a fraction as a chance), all are shuffled, and what is too much is left to other epochs.

    >>> epoch_order(4, seed=0, epoch=0, shuffle=False)
    array([0, 1, 2, 3])
    """
    if not shuffle:
        return np.arange(length)
    # One key where an image has two: no order shares its numbers with an image.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    if factors is None:
        return rng.permutation(length)
    copies = (factors + rng.random(length)).astype(np.int64)  # factors are 1 or more, so every image is in
    return rng.permutation(np.repeat(np.arange(length), copies))[:length]


def copy_numbers(order: Int[ndarray, " N"]) -> Int[ndarray, " N"]:
    """Returns how often each entry's image came before it.

    >>> copy_numbers(np.array([5, 2, 5, 5, 2]))
    array([0, 0, 1, 2, 1])
    """
    by_image = np.argsort(order, kind="stable")
    new = np.diff(order[by_image], prepend=-1) != 0
    first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    numbers = np.empty(len(order), np.int64)
    numbers[by_image] = np.arange(len(order)) - first
    return numbers


def repeat_factors(classes_of: Sequence[Int[ndarray, " _"]], threshold: float) -> Float[ndarray, " N"]:
    """Returns how much more often each image comes: √(threshold / share) of the rarest of its classes, 1 or more.

    Args:
        classes_of: the class ids of the objects of each image; none for a background image.
        threshold: classes in a smaller share of the images than this are rare.

    Source: Gupta et al. 2019 (LVIS), section 5, repeat factor sampling.

    >>> repeat_factors([np.array([0]), np.array([0]), np.array([0, 1]), np.array([], int)], 1.0).round(2)
    array([1.15, 1.15, 2.  , 1.  ])
    """
    present = [np.unique(ids) for ids in classes_of]
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *present]).astype(np.int64))
    factors = np.sqrt(threshold * len(classes_of) / np.maximum(counts, 1)).clip(1.0)
    return np.array([factors[ids].max(initial=1.0) for ids in present])


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
