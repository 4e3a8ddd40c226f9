"""`split.json`: which images of a data folder belong to which split, apart from the folder, which stays as it is.

    {"singleshot_split": 1, "data": "cards", "by": "group", "seed": 0, "shares": {"val": 0.15}, "sha256": "…",
     "splits": {"train": ["train/a.jpg", …], "val": [...]}}

Images are named by their paths below the data folder, so that the file fits a copy of the folder on another machine.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from singleshot.data.boxes.fields import is_number, is_text, read_json
from singleshot.data.class_choice import ClassChoice
from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.storage import atomic
from singleshot.structures import Dataset

By = Literal["group", "folder", "random", "lists"]
MAX_BYTES = 256 * 2**20
FORMAT = "singleshot_split"
SPLIT_FILE = "split.json"
"""Its name in a run's folder."""


@dataclass(frozen=True)
class SplitFile:
    """Splits of a data folder.

    Args:
        splits: by name, the images' paths below the folder, sorted.
        by: how they were made; `lists` for those of the folder's own lists.
        seed: the seed of the choice.
        shares: by name, the share of the images that was asked for; {} for lists.
        data: the name of the data folder.
        choice: of a run: the classes that were read; all for other files. The hash does not cover it.
        file: where they were read from, for messages; None for splits that were just made.
    """

    splits: Mapping[str, tuple[str, ...]]
    by: By = "group"
    seed: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    data: str = ""
    choice: ClassChoice = field(default_factory=ClassChoice)
    file: Path | None = field(default=None, compare=False)

    @property
    def sha256(self) -> str:
        """The hash of the splits: of every image's path and split."""
        text = json.dumps({name: list(paths) for name, paths in sorted(self.splits.items())})
        return hashlib.sha256(text.encode()).hexdigest()

    def write(self, file: Path) -> None:
        """Write the file. Raises StorageError, NotPermittedError as the file system says."""
        content = {
            FORMAT: 1,
            "data": self.data,
            "by": self.by,
            "seed": self.seed,
            "shares": dict(self.shares),
            "sha256": self.sha256,
            **({"classes": list(self.choice.classes)} if self.choice.classes else {}),
            **({"rename": dict(self.choice.rename)} if self.choice.rename else {}),
            "splits": {name: list(paths) for name, paths in self.splits.items()},
        }
        atomic.write_text(file, json.dumps(content, indent=1) + "\n")


def read(file: Path) -> SplitFile:
    """Read a file of splits.

    Raises:
        DataError: it is none, an image is in two splits, or it is not what was written (`changed-split`).
        InputMissingError, NotPermittedError, StorageError: as the file system says.
    """
    content = read_json(file, max_bytes=MAX_BYTES)
    table = content.get("splits") if isinstance(content, dict) and content.get(FORMAT) == 1 else None
    remedy = "Write one by `singleshot data split`"
    if not isinstance(table, dict) or not table:
        raise DataError("not a file of splits", kind="not-a-split", remedy=remedy, file=file)
    seen: dict[str, str] = {}
    for name, paths in table.items():
        if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
            raise DataError(f"splits.{name} is no list of paths", kind="not-a-split", remedy=remedy, file=file)
        for path in paths:
            if seen.setdefault(path, name) != name:
                message = f"{path} is in {seen[path]} and in {name}"
                raise DataError(message, kind="leak", remedy="Keep one", file=file)
    by, seed, shares = content.get("by", "lists"), content.get("seed", 0), content.get("shares", {})
    data = content.get("data", "")
    valid = by in get_args(By) and type(seed) is int and isinstance(shares, dict) and isinstance(data, str)
    if not valid or not all(is_text(name) and is_number(share) for name, share in shares.items()):
        raise DataError("data, by, seed or shares are not as written", kind="not-a-split", remedy=remedy, file=file)
    classes, rename = content.get("classes", []), content.get("rename", {})
    valid = isinstance(classes, list) and all(map(is_text, classes)) and isinstance(rename, dict)
    if not valid or not all(map(is_text, [*rename, *rename.values()])):
        raise DataError("classes or rename are not as written", kind="not-a-split", remedy=remedy, file=file)
    choice = ClassChoice(tuple(classes), rename, strict=False)
    splits = {name: tuple(sorted(set(paths))) for name, paths in table.items()}
    found = SplitFile(splits, by, seed, shares, data, choice, file)
    if content.get("sha256", found.sha256) != found.sha256:
        message = "its splits are not those that were written: the hash differs"
        remedy = "Restore it, or delete its line sha256 if the change is yours"
        raise DataError(message, kind="changed-split", remedy=remedy, file=file)
    return found


def key(image: Path, root: Path) -> str:
    """Return an image's path below the data folder; one that leads out of it begins with `../`."""
    folder = root.parent if root.suffix and root.is_file() else root
    try:
        return image.relative_to(folder).as_posix()
    except ValueError:
        return Path(os.path.relpath(image, folder)).as_posix()


def of_datasets(datasets: Mapping[str, Dataset]) -> SplitFile:
    """Return the splits of datasets that were read from a folder's own lists."""
    splits = {
        name: tuple(sorted({key(sample.image_path, dataset.root) for sample in dataset.samples}))
        for name, dataset in datasets.items()
    }
    data = next((dataset.root.resolve().name for dataset in datasets.values()), "")
    return SplitFile(splits, "lists", data=data)


def select(pool: Dataset, splits: SplitFile, split: str) -> Dataset:
    """Return one split of a pool of images, in the pool's order.

    Args:
        pool: every image of the folder.
        splits: the splits.
        split: the name of one.

    An image that the folder does not have any more is a fault (`missing-picture`) of the file of the splits.

    Raises InputMissingError where there is no such split.
    """
    file = splits.file or pool.root
    if split not in splits.splits:
        remedy = f"There are: {', '.join(splits.splits)}"
        raise InputMissingError(f"no split {split!r}", remedy=remedy, file=file)
    wanted = set(splits.splits[split])
    keys = [key(sample.image_path, pool.root) for sample in pool.samples]
    samples = tuple(sample for sample, each in zip(pool.samples, keys, strict=True) if each in wanted)
    known = set(keys) | {key(fault.file, pool.root) for fault in pool.faults}
    missing: list[Fault] = [
        make_fault("missing-picture", f"image {name} of {split} is not in {pool.root}", file)
        for name in sorted(wanted - known)
    ]
    others = set(keys) - wanted  # faults of other splits' images are not this one's
    faults = [fault for fault in pool.faults if not (fault.file and key(fault.file, pool.root) in others)]
    return replace(pool, split=split, samples=samples, faults=(*faults, *missing))
