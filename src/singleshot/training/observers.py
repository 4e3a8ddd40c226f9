"""Who watches a run that has no bar: nobody, or somebody who passes warnings on."""

from __future__ import annotations

import sys
from typing import Any


class NoObserver:
    """Watches for the ranks beside the first, and says nothing: the first says it all."""

    def step(self, **_facts: Any) -> None:
        """Nothing."""

    def epoch(self, row: Any) -> None:
        """Nothing."""

    def warn(self, line: str) -> None:
        """Nothing."""


class SilentObserver(NoObserver):
    """Watches a run and says nothing but warnings, on stderr."""

    def warn(self, line: str) -> None:
        """The warning as a line."""
        sys.stderr.write(f"singleshot: warning: {line}\n")
