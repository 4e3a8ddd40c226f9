"""A run's folder: the files of a training. It never replaces another run unless it is told to.

runs/<name>/recipe.json          every choice of the run
runs/<name>/log.csv              one row per epoch
runs/<name>/bad.jsonl            faults of the data that were left out (if there were any)
runs/<name>/bad_steps.jsonl      NaN steps, which were not taken (if there were any)
runs/<name>/best.safetensors     the weights of the best validated epoch
runs/<name>/last.safetensors     the weights of the last epoch
runs/<name>/checkpoints/         what `--resume` continues from, see `checkpoint`
runs/<name>/.lock                while a training runs: its process
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from singleshot.data.split_file import SPLIT_FILE, SplitFile
from singleshot.errors import CannotCreateError, Fault, os_errors
from singleshot.storage import atomic
from singleshot.storage.lock import FolderLock, locked_by
from singleshot.training import checkpoint

ELSEWHERE = "Choose another --out"


class RunFolder:
    """The folder of one run, created and locked by the constructor and unlocked by `close`.

    Args:
        root: the folder; missing parents are created.
        overwrite: allow a folder with a run in it. Its checkpoints are removed at once, its other files are replaced
            one by one as the new run writes them; nothing else in the folder is touched.
        resume: allow a folder with a run in it, to continue that.
        writes: False for the ranks beside the first, which share the folder and write nothing.

    Raises:
        CannotCreateError: the folder is not empty and neither `overwrite` nor `resume` is on, or another training
            uses it.
        NotPermittedError, StorageError: it cannot be written to.
    """

    def __init__(self, root: Path, *, overwrite: bool = False, resume: bool = False, writes: bool = True) -> None:
        self.root, self._writes = root, writes
        self.rows: list[dict[str, Any]] = []
        """The rows of `log.csv` so far."""
        self._faults: dict[str, None] = {}  # the lines of `bad.jsonl`, in order
        self._lock: FolderLock | None = None
        if writes:
            self._begin(overwrite, resume)

    def _begin(self, overwrite: bool, resume: bool) -> None:
        root = self.root
        taken = root.exists() and (not root.is_dir() or any(root.iterdir()))
        if taken and not ((overwrite or resume) and root.is_dir()):
            if not root.is_dir():
                raise CannotCreateError("is a file", remedy=ELSEWHERE, file=root)
            owner = locked_by(root)
            if owner is not None:
                raise CannotCreateError(f"in use by another training{owner}", remedy=ELSEWHERE, file=root)
            remedy = "Choose another --out, continue it with --resume, or replace it with --overwrite"
            raise CannotCreateError("already exists", remedy=remedy, file=root)
        with os_errors(root, "create", elsewhere=ELSEWHERE):
            root.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(root)
        try:
            with os_errors(root, "write", elsewhere=ELSEWHERE):
                if not resume:
                    for replaced in ("bad.jsonl", "bad_steps.jsonl"):
                        (root / replaced).unlink(missing_ok=True)
                    checkpoint.remove_all(self.checkpoints)
                elif (root / "bad.jsonl").is_file():
                    lines = (root / "bad.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
                    self._faults = dict.fromkeys(lines)
                self.checkpoints.mkdir(exist_ok=True)
                checkpoint.clean(self.checkpoints)
                for name in ("best.safetensors", "last.safetensors", "log.csv", "recipe.json", SPLIT_FILE, "bad.jsonl"):
                    atomic.clean(root / name)
        except BaseException:
            self.close()
            raise

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.root / "checkpoints"

    @property
    def best(self) -> Path:
        """The file of the best weights."""
        return self.root / "best.safetensors"

    @property
    def last(self) -> Path:
        """The file of the last weights."""
        return self.root / "last.safetensors"

    def add_faults(self, faults: Iterable[Fault]) -> None:
        """Add faults of the data that were left out to `bad.jsonl`, each once, after those of a resumed run."""
        known = len(self._faults)
        self._faults |= dict.fromkeys(json.dumps(fault.as_json()) for fault in faults)
        if self._writes and len(self._faults) > known:
            atomic.write_text(self.root / "bad.jsonl", "".join(f"{line}\n" for line in self._faults))

    def write_recipe(self, text: str) -> None:
        """Write `recipe.json`."""
        if self._writes:
            atomic.write_text(self.root / "recipe.json", text)

    def write_splits(self, splits: SplitFile) -> None:
        """Write `split.json`: which images were trained and validated on."""
        if self._writes:
            splits.write(self.root / SPLIT_FILE)

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a row to `log.csv`. Columns may appear later; earlier rows are then empty there."""
        self.rows.append(dict(row))
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        if self._writes:
            atomic.write_text(self.root / "log.csv", text.getvalue())

    def log_bad_step(self, record: Mapping[str, Any]) -> None:
        """Add a line to `bad_steps.jsonl`. Raises StorageError if the disk is full or failing."""
        file = self.root / "bad_steps.jsonl"
        if self._writes:
            with os_errors(file, "write", elsewhere=ELSEWHERE), file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")

    def reset(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Reset `log.csv` and `bad_steps.jsonl` to a checkpoint: those rows, and no NaN step from `step` on."""
        self.rows = [dict(row) for row in rows]
        bad = self.root / "bad_steps.jsonl"
        if self._writes and bad.is_file():
            lines = []
            for line in bad.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # a line that a kill truncated
                    lines += [line] if int(json.loads(line)["step"]) < step else []
            atomic.write_text(bad, "".join(f"{line}\n" for line in lines))

    def close(self) -> None:
        """Unlock the folder for other trainings."""
        if self._lock is not None:
            self._lock.release()
