"""Who waits for whom: the loader that brings pictures, or the network that learns from them.

The 2017 post found its V100 slower than a 1080 Ti on one workload, because pictures were prepared one after the
other in the main thread. A rate alone does not show such a thing. The share of the time in which the network waits
does, and the rates of either side alone say how much there would be to gain.
"""

from __future__ import annotations

from typing import Literal

Verdict = Literal["loader-bound", "network-bound", "balanced"]
TO_SPARE = 1.25
"""A loader that alone is at least this much faster than the network has room."""
SOME_WAITING, MUCH_WAITING, MOST = 0.1, 0.2, 0.5
"""Shares of the time: what a loader without room shows, what handing over alone does not cost, and most of it."""


def verdict(waiting_share: float, loader_images_per_second: float, network_images_per_second: float) -> Verdict:
    """What limits the machine.

    The loader, where the network waits most of the time, or waits at all and the loader has no room. The network,
    where it hardly waits and the loader has room. Else neither alone: `balanced`. A loader in the main thread may
    have room and still cost, because the two take turns.

    Args:
        waiting_share: share of the time in which the network had nothing to do, 0…1.
        loader_images_per_second: of the loader alone.
        network_images_per_second: of the network alone, on pictures that are there already.

    >>> verdict(0.6, 200.0, 100.0), verdict(0.15, 85.0, 100.0)
    ('loader-bound', 'loader-bound')
    >>> verdict(0.01, 400.0, 100.0), verdict(0.05, 110.0, 100.0), verdict(0.25, 300.0, 100.0)
    ('network-bound', 'balanced', 'balanced')
    """
    if waiting_share >= MOST:
        return "loader-bound"
    if loader_images_per_second < TO_SPARE * network_images_per_second:
        return "loader-bound" if waiting_share >= SOME_WAITING else "balanced"
    return "network-bound" if waiting_share < MUCH_WAITING else "balanced"
