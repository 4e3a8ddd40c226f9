"""Checks of the options of augmentation, which a recipe or `--set` on the command line may fill with anything."""

from __future__ import annotations

import math

from singleshot.errors import ConfigError


def check_probability(name: str, value: float) -> None:
    """Raises ConfigError where the value is not in 0 … 1."""
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} is {value}", remedy="Give a probability from 0 to 1")


def check_range(name: str, low_high: tuple[float, float], *, low: float, high: float = math.inf) -> None:
    """Raises ConfigError where the two ends are out of order, not finite, or outside low … high."""
    first, last = low_high
    if not (low <= first <= last <= high and math.isfinite(last)):
        limit = f"from {low:g} to {high:g}" if math.isfinite(high) else f"from {low:g} up"
        raise ConfigError(f"{name} is {low_high}", remedy=f"Give a range {limit}, its lower end first")
