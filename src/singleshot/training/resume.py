"""Which run is this? What a resumed run must have in common with the one that was stopped, and where it goes on.

A run is its recipe, its data and its ranks. Another learning rate or another picture would give a result that no
single command gives, so the differences are named and refused; `--force` takes them on. What does not change the
result (how many workers load, how often it is saved) may differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from singleshot.errors import ConfigError
from singleshot.strict_json import to_json_dict
from singleshot.structures import Dataset
from singleshot.training.checkpoint import Checkpoint, newest
from singleshot.training.recipe import Recipe
from singleshot.training.run_folder import RunFolder

FREE_FIELDS = ("workers", "checkpoint", "rank_timeout_s")
SHOWN_KEYS = 8


def identity(recipe: Recipe, train: Dataset, val: Dataset | None, *, world: int) -> dict[str, Any]:
    """What makes a run this run, flat, by dotted names, as JSON holds it."""
    fields = {name: value for name, value in to_json_dict(recipe).items() if name not in FREE_FIELDS}
    return {
        **_flat("recipe", fields),
        "classes": list(train.label_map.names),
        "data.train": fingerprint(train),
        "data.val": None if val is None else fingerprint(val),
        "world_size": world,
        "threads": torch.get_num_threads(),
    }


def fingerprint(dataset: Dataset) -> str:
    """`<pictures> pictures <hash>`, where the hash covers names, boxes and classes of a split in their order."""
    digest = hashlib.sha256()
    for sample in dataset.samples:
        digest.update(sample.image_id.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(np.ascontiguousarray(sample.boxes_xyxy, dtype=np.float64).tobytes())
        digest.update(np.ascontiguousarray(sample.class_ids, dtype=np.int64).tobytes())
    return f"{len(dataset)} pictures {digest.hexdigest()[:16]}"


def find(
    folder: RunFolder, wanted: Mapping[str, Any], *, force: bool, warn: Callable[[str], None]
) -> Checkpoint | None:
    """The newest whole checkpoint of the run in a folder, and its log taken back to there; None where none was made.

    Raises:
        ConfigError: it is of another run, and `force` is off.
        DataError: there are checkpoints and none is whole.
    """
    start = newest(folder.checkpoints, lambda error: warn(f"a checkpoint is passed over: {error}"))
    if start is None:
        warn(f"no checkpoint in {folder.checkpoints}: the run begins anew")
        return None
    stored = start.facts.get("identity", {})
    if stored.get("threads") != wanted["threads"]:
        warn(f"{wanted['threads']} threads now, {stored.get('threads')} then: results can differ in the last bits")
    changed = sorted(key for key in {*stored, *wanted} - {"threads"} if stored.get(key) != wanted.get(key))
    if changed and not force:
        shown = "; ".join(
            f"{key} was {_short(stored.get(key))}, is {_short(wanted.get(key))}" for key in changed[:SHOWN_KEYS]
        )
        more = f"; and {len(changed) - SHOWN_KEYS} more" if len(changed) > SHOWN_KEYS else ""
        remedy = "Give what the run was started with, or insist with --force"
        raise ConfigError(f"not the run that was stopped: {shown}{more}", remedy=remedy, file=folder.root)
    folder.go_back(start.facts.get("log", []), start.step)
    return start


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in _flat(f"{name}.{part}", inner).items()}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
