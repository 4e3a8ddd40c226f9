"""Select the detections to show: by score, with thresholds for single classes, and by class.

Selection is the last step: it changes no box and no score. By default the thresholds stored with the model apply
(`SSDConfig.display_threshold`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from singleshot.errors import UsageError, nearest
from singleshot.structures import Detections, LabelMap

Threshold = float | int | Mapping[str, float]
DEFAULT = 0.5
"""The threshold of a model that stores none."""


@dataclass(frozen=True)
class Choice:
    """A selection of detections.

    Args:
        thresholds: (C,) the lowest score of each class; above 1 for a class that is not shown.
    """

    thresholds: Float[ndarray, " C"]

    @property
    def least(self) -> float:
        """The lowest threshold of all classes."""
        return float(self.thresholds.min())

    def kept(self, found: Detections) -> Detections:
        """Return the selected detections."""
        return found[found.scores >= self.thresholds[found.class_ids]]

    def wanted(self, found: Detections) -> Bool[ndarray, " N"]:
        """Return for each detection whether its class is shown, whatever its score."""
        return self.thresholds[found.class_ids] <= 1


def choice(
    label_map: LabelMap,
    threshold: Threshold | None = None,
    classes: Sequence[str] | None = None,
    *,
    stored: Sequence[float] | None = None,
) -> Choice:
    """Return a selection by class names.

    Args:
        label_map: the detector's classes.
        threshold: the lowest score, 0…1, of all classes; or of some classes, with that of the empty name, or else the
            stored ones, for the others. None for the stored ones.
        classes: names of the classes to show; None for all.
        stored: the model's own threshold of each class, by class id; None for `DEFAULT`.

    Raises:
        UsageError: a class that the detector does not know, a threshold beyond 0…1 or of another type, or a text in
            place of a list of classes.

    >>> choice(LabelMap(("car", "bus")), {"bus": 0.25}).thresholds
    array([0.5 , 0.25], dtype=float32)
    """
    if isinstance(classes, str):  # its letters would be taken for names
        raise UsageError(f"classes={classes!r} is not a list of classes", remedy=f"Give a list: [{classes!r}]")
    given = {} if threshold is None else threshold if isinstance(threshold, Mapping) else {"": threshold}
    try:
        table = {name: float(value) for name, value in given.items()}
    except (TypeError, ValueError):
        remedy = 'Give a number of 0 to 1, or one for some classes: {"car": 0.3}'
        raise UsageError(f"{threshold!r} is not a threshold", remedy=remedy) from None
    for name in [*table, *(classes or ())]:
        if name and name not in label_map.names:
            near = nearest(name, label_map.names)
            known = ", ".join(label_map.names[:20]) + (", …" if len(label_map) > 20 else "")
            remedy = f"Did you mean {near}?" if near else f"Known are {known}"
            raise UsageError(f"the detector knows no class {name!r}", remedy=remedy)
    for value in table.values():
        if not 0 <= value <= 1:
            raise UsageError(f"a threshold of {value:g}", remedy="Give 0 to 1")
    if classes is not None and not classes:
        raise UsageError("no class is to be shown", remedy="Name at least one")
    own = stored or [DEFAULT] * len(label_map)
    values = [
        table.get(name, table.get("", other)) if classes is None or name in classes else np.inf
        for name, other in zip(label_map.names, own, strict=True)
    ]
    return Choice(np.array(values, np.float32))


def stored_table(label_map: LabelMap, stored: Sequence[float]) -> dict[str, float]:
    """Return a model's own thresholds as `choice` takes them: one under the empty name, where all classes have it.

    >>> stored_table(LabelMap(("car", "bus")), (0.4, 0.4)), stored_table(LabelMap(("car", "bus")), (0.4, 0.3))
    ({'': 0.4}, {'car': 0.4, 'bus': 0.3})
    """
    return {"": stored[0]} if len(set(stored)) == 1 else dict(zip(label_map.names, stored, strict=True))


def parse_threshold(text: str) -> dict[str, float]:
    """Parse `0.5`, `car=0.3,bus=0.6` or `0.5,car=0.3` into thresholds by class; the empty name is for all others.

    Raises UsageError if a part is not a number of 0…1.

    >>> parse_threshold("0.4,traffic light=0.2")
    {'': 0.4, 'traffic light': 0.2}
    """
    table: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.rpartition("=")
        try:
            value: Any = float(number)
        except ValueError:
            remedy = "Give a number, or one for some classes: 0.5,car=0.3"
            raise UsageError(f"the threshold {part.strip()!r} is not a number", remedy=remedy) from None
        if not 0.0 <= value <= 1.0:
            raise UsageError(f"--threshold {number.strip()} is not a score", remedy="Give a number of 0 to 1")
        table[name.strip()] = value
    return table
