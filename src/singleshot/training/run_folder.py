"""A run's folder: what a training leaves behind, and the promise that it never covers up another run.

runs/<name>/recipe.json          every choice of the run
runs/<name>/log.csv              one row an epoch
runs/<name>/bad_steps.jsonl      steps that were not taken because the loss was not finite (if there were any)
runs/<name>/best.safetensors     the weights of the best validated epoch
runs/<name>/last.safetensors     the weights of the last epoch
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from singleshot import durable
from singleshot.errors import CannotCreateError, NotPermittedError


class RunFolder:
    """The folder of one run; made on construction.

    Args:
        root: where; missing parents are made.
        overwrite: allow a folder that already holds a run. Its files are replaced one by one as the new run writes
            them; nothing else in the folder is touched.

    Raises:
        CannotCreateError: the folder holds a run (or anything else) and `overwrite` is off.
    """

    def __init__(self, root: Path, *, overwrite: bool = False) -> None:
        self.root = root
        if root.exists() and (not root.is_dir() or any(root.iterdir())) and not (overwrite and root.is_dir()):
            raise CannotCreateError("already exists", remedy="Choose another --out or pass --overwrite", file=root)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except PermissionError as error:
            raise NotPermittedError("no permission to make it", remedy="Choose another --out", file=root) from error
        except OSError as error:
            raise CannotCreateError(
                f"cannot be made ({error.strerror})", remedy="Choose another --out", file=root
            ) from error
        self._rows: list[dict[str, Any]] = []
        for left_over in ("bad.jsonl", "bad_steps.jsonl"):  # of the run that this one replaces
            (root / left_over).unlink(missing_ok=True)

    @property
    def best(self) -> Path:
        """Where the best weights go."""
        return self.root / "best.safetensors"

    @property
    def last(self) -> Path:
        """Where the last weights go."""
        return self.root / "last.safetensors"

    def write_recipe(self, text: str) -> None:
        """Write `recipe.json`."""
        durable.write_text(self.root / "recipe.json", text)

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a row to `log.csv`. Columns may appear later; earlier rows are then empty there."""
        self._rows.append(dict(row))
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        durable.write_text(self.root / "log.csv", text.getvalue())

    def log_bad_step(self, record: Mapping[str, Any]) -> None:
        """Add a line to `bad_steps.jsonl`."""
        with (self.root / "bad_steps.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
