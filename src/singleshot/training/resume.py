"""Which run is this? What a resumed run must have in common with the one that was stopped, and where it goes on.

A run is its recipe, its data and its ranks. Another learning rate or another picture would give a result that no
single command gives, so the differences are named and refused; `--force` takes them on. What does not change the
result (how many workers load, how often it is saved) may differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from singleshot.config import to_json_dict, with_defaults
from singleshot.errors import ConfigError
from singleshot.structures import Dataset
from singleshot.training.checkpoint import Checkpoint, newest, newest_facts
from singleshot.training.recipe import Recipe
from singleshot.training.run_folder import RunFolder

FREE_FIELDS = ("workers", "checkpoint", "rank_timeout_s")
STRUCTURE = ("model", "weights", "norm", "input_size_hw", "fit", "anchors")
"""Fields that settle, with the classes, which network is built."""
SHOWN_KEYS = 8


def identity(recipe: Recipe, train: Dataset, val: Dataset | None, *, world: int) -> dict[str, Any]:
    """What makes a run this run, flat, by dotted names, as JSON holds it."""
    return {
        **_of_recipe(to_json_dict(recipe)),
        "classes": list(train.label_map.names),
        "data.train": fingerprint(train),
        "data.val": None if val is None else fingerprint(val),
        "data.train_files": files_fingerprint(train),
        "data.val_files": None if val is None else files_fingerprint(val),
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


def files_fingerprint(dataset: Dataset) -> str:
    """`<bytes> bytes <hash>`: sizes of pictures, in bytes and as annotated, the boxes' marks, and masks byte by byte.

    Masks are labels like boxes, and few megabytes; pictures are many, and one that is replaced hardly ever has as many
    bytes as before. A file that cannot be read counts as empty.
    """
    digest, total = hashlib.sha256(), 0
    for sample in dataset.samples:
        size = _bytes_of(sample.image_path)
        total += size
        digest.update(f"{sample.image_id}\0{size} {sample.size_hw}".encode("utf-8", "surrogateescape"))
        for marks in (sample.difficult, sample.crowd):
            digest.update(b"-" if marks is None else np.ascontiguousarray(marks, dtype=np.bool_).tobytes())
        if sample.mask_path is not None:
            try:
                digest.update(hashlib.sha256(sample.mask_path.read_bytes()).digest())
            except OSError:
                digest.update(b"-")
    return f"{total} bytes {digest.hexdigest()[:16]}"


def begun(checkpoints: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the run in a folder was built as: `network`, its config as JSON, and `started_from`, where that came from.

    The weights that it started from are not needed a second time, and may have changed since. None where there is no
    such run, or another one than `wanted`, or an older version's, which did not store it.
    """
    facts = newest_facts(checkpoints)
    if facts is None or "network" not in facts:
        return None
    stored = facts["identity"]
    same = all(stored.get(key) == wanted[key] for key in ("classes", *(f"recipe.{name}" for name in STRUCTURE)))
    return {"network": facts["network"], "started_from": facts["started_from"]} if same else None


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
    stored = _completed(start.facts.get("identity", {}), wanted)
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


def _completed(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """An identity that an older version stored, with what came later: defaults, and what nobody had looked at."""
    nested: dict[str, Any] = {}
    for key, value in stored.items():
        *branches, leaf = key.split(".")
        branch = nested
        for name in branches:
            branch = branch.setdefault(name, {})
        branch[leaf] = value
    unseen = {key: wanted[key] for key in ("data.train_files", "data.val_files")}
    return {**unseen, **_of_recipe(with_defaults(Recipe, nested.get("recipe", {}))), **stored}


def _of_recipe(fields: Mapping[str, Any]) -> dict[str, Any]:
    return _flat("recipe", {name: value for name, value in fields.items() if name not in FREE_FIELDS})


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in _flat(f"{name}.{part}", inner).items()}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
