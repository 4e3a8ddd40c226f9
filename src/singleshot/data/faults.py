"""Whether work goes on with data that has faults: every verb that reads annotations asks here.

Readers list faults and leave out what is faulty; they refuse nothing. That is right for a look at the data. Training
and judging on less than the user thinks is not, so there it takes the user's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from singleshot.errors import Fault, FaultyDataError
from singleshot.structures import Dataset

OnBad = Literal["fail", "skip"]
SKIP = "Mend them, or go on without them by --on-bad skip"
LEFT_OUT_WARNINGS = frozenset({"missing-annotation", "outside-box"})
"""Kinds of fault that stop nothing and yet cost a picture or a box."""


def leaves_out(fault: Fault) -> bool:
    """Whether the picture or box at fault is missing from what was read; warnings of other kinds change nothing."""
    return fault.severity == "fatal" or fault.kind in LEFT_OUT_WARNINGS


def refuse_or_list(datasets: Sequence[Dataset], on_bad: OnBad, *, remedy: str = SKIP) -> list[Fault]:
    """The faults of some splits by which something is left out, each once, in the order of the splits.

    Raises FaultyDataError, with that remedy, where there are fatal ones and `on_bad` is "fail".
    """
    faults = list(dict.fromkeys(fault for dataset in datasets for fault in dataset.faults if leaves_out(fault)))
    fatal = [fault for fault in faults if fault.severity == "fatal"]
    if fatal and on_bad == "fail":
        raise FaultyDataError(fatal, remedy=remedy)
    return faults
