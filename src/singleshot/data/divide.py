"""Division of a data folder into splits, and the choice of the splits to train on.

A folder's own splits stay. Where it has none to validate on, a share of the images to train on is kept for that; a
folder without any split is divided into train, val and test. The result is a `SplitFile`, which any command takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.data import read, split_file, split_groups
from singleshot.data.split_file import SplitFile
from singleshot.data.split_groups import GroupBy
from singleshot.errors import DataError, UsageError
from singleshot.structures import Dataset

VAL_SHARE, TEST_SHARE = 0.15, 0.15
"""Shares of a folder that says nothing."""


@dataclass(frozen=True)
class Division:
    """A folder divided into splits.

    Args:
        pool: all its images.
        splits: which of them belong to which split.
        notes: sentences about groups in two splits, series that were cut, and images that are gone.
    """

    pool: Dataset
    splits: SplitFile
    notes: tuple[str, ...] = ()

    def table(self) -> list[tuple[str, int, dict[str, int]]]:
        """Return for each split its name, its number of images, and its objects by class."""
        rows = []
        for name in self.splits.splits:
            part = split_file.select(self.pool, self.splits, name)
            ids = [sample.class_ids for sample in part.samples]
            counts = np.bincount(np.concatenate(ids) if ids else [], minlength=len(part.label_map)).tolist()
            rows.append((name, len(part), dict(zip(part.label_map.names, counts, strict=True))))
        return rows


@dataclass(frozen=True)
class Chosen:
    """The splits of a training.

    Args:
        train: the split to train on.
        val: the split to validate on; None for none.
        splits: both, for the run's folder.
        note: a line about how the folder was divided; "" where its own splits are used.
    """

    train: Dataset
    val: Dataset | None
    splits: SplitFile
    note: str = ""


def divide(
    root: Path | str,
    *,
    val: float = 0.0,
    test: float = 0.0,
    by: GroupBy = "group",
    seed: int = 0,
    earlier: SplitFile | None = None,
    **options: Any,
) -> Division:
    """Divide a data folder into train, val and test.

    Args:
        root: the folder.
        val: the share of the images to validate on; 0 for none, or for the folder's own split of that name.
        test: the share to test on; likewise.
        by: what stays together, see `split_groups.groups`.
        seed: another one gives another division.
        earlier: an earlier division: its images keep their split, and only new ones are assigned.
        options: of `data.read.read`.

    Raises UsageError for shares that leave nothing to train on, and what `data.read` and `split_groups.assign` raise.
    """
    root = Path(root)
    shares = _shares(val, test)
    names = read.splits(root, layout=options.get("layout"), with_masks=options.get("with_masks", False))
    pool = read.read_pool(root, names, **options)
    own: dict[str, str] = {}
    for name in names:
        if (short := read.usual_name(name)) in ("val", "test") and short not in shares and len(names) > 1:
            for sample in read.read(root, name, **{**options, "label_map": pool.label_map or None}).samples:
                own[split_file.key(sample.image_path, root)] = short
    return _divided(pool, shares, by=by, seed=seed, own=own, earlier=earlier)


def _shares(val: float, test: float) -> dict[str, float]:
    """Return the shares of the splits, train first. Raises UsageError where they are not shares."""
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        message = f"the shares {val:g} to validate on and {test:g} to test on leave nothing to train on"
        raise UsageError(message, remedy="Give shares such as 0.15")
    return {"train": 1 - val - test} | {name: share for name, share in (("val", val), ("test", test)) if share}


def _divided(
    pool: Dataset,
    shares: Mapping[str, float],
    *,
    by: GroupBy,
    seed: int,
    own: Mapping[str, str] | None = None,
    earlier: SplitFile | None = None,
) -> Division:
    if not len(pool):
        raise DataError("0 images to divide", kind="empty-split", remedy="Add images", file=pool.root)
    keys = [split_file.key(sample.image_path, pool.root) for sample in pool.samples]
    own = own or {}
    known = {} if earlier is None else {name: split for split, names in earlier.splits.items() for name in names}
    counts = np.zeros((len(keys), len(pool.label_map)))
    for row, sample in zip(counts, pool.samples, strict=True):
        np.add.at(row, sample.class_ids, 1)
    found = split_groups.groups([sample.image_path for sample in pool.samples], by)
    # The folder's own splits stay exactly as they are: what looks like their images is reported and not added to them.
    free = [index for index, name in enumerate(keys) if name not in own]
    fixed = {position: known[keys[index]] for position, index in enumerate(free) if keys[index] in known}
    ids, names = [found.ids[index] for index in free], [keys[index] for index in free]
    assigned = dict(
        zip(free, split_groups.assign(ids, names, counts[free], shares, seed=seed, fixed=fixed), strict=True)
    )
    result = [own.get(name) or assigned[index] for index, name in enumerate(keys)]
    order = [*shares, *(name for name in dict.fromkeys(result) if name not in shares)]
    splits = {name: tuple(sorted(key for key, of in zip(keys, result, strict=True) if of == name)) for name in order}
    asked = {name: share for name, share in shares.items() if name != "train"}
    notes = _notes(pool, keys, found, result, known)
    splits = {name: paths for name, paths in splits.items() if paths}
    return Division(pool, SplitFile(splits, by, seed, asked, pool.root.resolve().name), notes)


def _notes(
    pool: Dataset, keys: list[str], found: split_groups.Groups, result: list[str], known: Mapping[str, str]
) -> tuple[str, ...]:
    notes = []
    splits_of: dict[int, dict[str, str]] = {}
    for name, group, split in zip(keys, found.ids, result, strict=True):
        splits_of.setdefault(group, {}).setdefault(split, name)
    torn = [each for each in splits_of.values() if len(each) > 1]
    if torn:
        example = " and ".join(f"{name} ({split})" for split, name in list(torn[0].items())[:2])
        notes.append(f"{len(torn)} groups of images that look alike are in two splits, such as {example}")
    if found.cut:
        notes.append(
            f"{found.cut} images look alike throughout (a fixed camera?); they are divided by runs of consecutive ones"
        )
    gone = len(set(known) - set(keys))
    if gone:
        notes.append(f"{gone} images of the earlier splits are not in {pool.root} any more, or are faulty")
    return tuple(notes)


def for_training(
    root: Path,
    train_split: str,
    val_split: str | float | None,
    *,
    test_share: float = 0.0,
    splits: SplitFile | None = None,
    seed: int = 0,
    **options: Any,
) -> Chosen:
    """Read the splits to train and validate on.

    Args:
        root: the data folder.
        train_split: its split to train on.
        val_split: its split to validate on; a share (below 1) of the images of `train_split`; None for none. Where it
            is `val` and the folder has none, 15 % of the images are taken.
        test_share: a share of the images of `train_split` to keep for a test.
        splits: take both from here instead.
        seed: of the division.
        options: of `data.read.read`.
    """
    if splits is not None:
        pool = read.read_pool(root, None, **options)
        val = None
        if isinstance(val_split, str) and (val_split != "val" or "val" in splits.splits):
            val = split_file.select(pool, splits, val_split)
        return Chosen(split_file.select(pool, splits, train_split), val, splits)
    names = read.splits(root, layout=options.get("layout"), with_masks=options.get("with_masks", False))
    usual = {read.usual_name(name) for name in names}
    undivided = train_split == "train" and len(names) == 1 and not usual & {"train", "val", "test"}
    shares: dict[str, float] = {}
    if isinstance(val_split, float):
        shares = _shares(val_split, test_share)
    elif undivided:
        test_share = test_share or TEST_SHARE
        shares = _shares(VAL_SHARE if val_split == "val" else 0.0, test_share)
    elif test_share or (val_split == "val" and "val" not in usual and len(names) > 0):
        shares = _shares(VAL_SHARE if val_split == "val" and "val" not in usual else 0.0, test_share)
    if undivided:
        train_split = names[0]
    train = read.read(root, train_split, **options)
    val = None
    if len(shares) < 2:
        if val_split is not None:
            val = read.read(root, str(val_split), **{**options, "label_map": train.label_map})
        own = {"train": train} | ({} if val is None else {"val": val})
        return Chosen(train, val, split_file.of_datasets(own))
    division = _divided(train, shares, by="group", seed=seed)
    parts = {name: split_file.select(train, division.splits, name) for name in division.splits.splits}
    if isinstance(val_split, str) and "val" not in parts:
        val = read.read(root, val_split, **{**options, "label_map": train.label_map})
    listed = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
    note = f"{root}: {train_split} is divided by groups of images that look alike: {listed}"
    note += "; it had no split to validate on" if not isinstance(val_split, float) and "val" in parts else ""
    note = "\n".join([note, *(f"  {each}" for each in division.notes)])
    chosen = parts["train"] if undivided or train.split == "train" else replace(parts["train"], split=train.split)
    return Chosen(chosen, parts.get("val", val), division.splits, note)


def for_evaluation(
    root: Path,
    split: str | None,
    *,
    weights: Path | None = None,
    splits: SplitFile | None = None,
    **options: Any,
) -> tuple[Dataset, list[str]]:
    """Read the split to evaluate on.

    Args:
        root: the data folder.
        split: its name; None for test, or else val, or else the only split, or all.
        weights: the weights to evaluate: the splits that their run divided itself are used.
        splits: take it from here instead.
        options: of `data.read.read`. Without a `choice` of classes, that of the weights' run applies.

    Returns the split, and a warning where images of it were trained on.
    """
    layout, with_masks = options.get("layout"), options.get("with_masks", False)
    run = _splits_of_run(weights)
    if run is not None and run.choice and not options.get("choice"):
        options["choice"] = run.choice
    if run is not None and run.data != root.resolve().name:
        run = None
    of_folder = {read.usual_name(name) for name in read.splits(root, layout=layout, with_masks=with_masks)}
    own = run if run is not None and run.shares else SplitFile({})
    if splits is None:
        wanted = ("test", "val") if split is None else (split,)
        first = next((name for name in wanted if name in own.splits or name in of_folder), None)
        if first in own.splits and (first in own.shares or first not in of_folder or first == "train"):
            splits, split = own, first
    if splits is not None:
        dataset = split_file.select(read.read_pool(root, None, **options), splits, split or "test")
    else:
        split = read.choose(root, ("test", "val"), layout=layout, with_masks=with_masks) if split is None else split
        dataset = read.read(root, split, **options)
    if run is None:
        return dataset, []
    trained = set(run.splits.get("train", ()))
    count = sum(split_file.key(sample.image_path, root) in trained for sample in dataset.samples)
    if not count:
        return dataset, []
    return dataset, [f"{count} of {len(dataset)} images of {dataset.split} were trained on: the score measures memory"]


def _splits_of_run(weights: Path | None) -> SplitFile | None:
    """Return the splits in the folder of a run that made these weights; None where there are none."""
    if weights is None:
        return None
    for folder in (weights.parent, weights.parent.parent):
        if (folder / split_file.SPLIT_FILE).is_file() and (folder / "recipe.json").is_file():
            return split_file.read(folder / split_file.SPLIT_FILE)
    return None
