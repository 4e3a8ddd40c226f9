"""What an audit found, as a record and as the JSON that other programs read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from singleshot.errors import Fault

SEVERITIES = ("fatal", "warning", "note")


@dataclass(frozen=True)
class Audit:
    """One data set, looked at from all sides.

    Args:
        format: the layout that it was taken for, such as `voc`.
        images: how many pictures there are, broken ones too.
        objects: how many annotated objects could be read, those with a faulty box too.
        classes: their names, sorted or in the order of the data set's own list.
        faults: what is wrong, in the order of files and lines.
    """

    format: str
    images: int
    objects: int
    classes: tuple[str, ...]
    faults: tuple[Fault, ...]

    @property
    def is_fatal(self) -> bool:
        """Whether training would refuse the data."""
        return any(fault.severity == "fatal" for fault in self.faults)

    def counts(self) -> list[tuple[str, str, int]]:
        """(kind, severity, count), the fatal ones first, then by count; [] for clean data."""
        found = Counter((fault.kind, fault.severity) for fault in self.faults)
        rows = [(kind, severity, count) for (kind, severity), count in found.items()]
        return sorted(rows, key=lambda row: (SEVERITIES.index(row[1]), -row[2], row[0]))

    def as_json(self) -> dict[str, Any]:
        """`{"format", "images", "objects", "classes", "faults": [{"file", "line", "kind", "severity", "message"}]}`."""
        return {
            "format": self.format,
            "images": self.images,
            "objects": self.objects,
            "classes": list(self.classes),
            "faults": [fault.as_json() for fault in self.faults],
        }


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Each fault once, by file and line; of files that may not be read, the first one with the number of the others."""
    found = sorted(dict.fromkeys(faults), key=lambda fault: (str(fault.file), fault.line or 0, fault.kind))
    closed = [fault for fault in found if fault.kind == "not-permitted"]
    if len(closed) > 1:
        found = [fault for fault in found if fault.kind != "not-permitted" or fault is closed[0]]
        others = f"Nor may {len(closed) - 1} others."
        found[found.index(closed[0])] = replace(closed[0], message=f"{closed[0].message} {others}")
    return tuple(found)
