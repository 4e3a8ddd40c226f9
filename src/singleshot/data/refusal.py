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


def refuse_or_list(datasets: Sequence[Dataset], on_bad: OnBad) -> list[Fault]:
    """The fatal faults of some splits, each once, in the order of the splits; none for none.

    Raises FaultyDataError where there are any and `on_bad` is "fail".
    """
    faults = list(dict.fromkeys(fault for dataset in datasets for fault in dataset.faults if fault.severity == "fatal"))
    if faults and on_bad == "fail":
        raise FaultyDataError(faults, remedy="Mend them, or go on without them by --on-bad skip")
    return faults
