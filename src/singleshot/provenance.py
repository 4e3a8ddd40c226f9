"""Where weights come from, as rows to show: the file's own origin, its teachers, and the weights that it started from.

Every weights file, checkpoint and export carries a `provenance`, a JSON object. All of its keys are optional and free
text or numbers; these have a meaning that programs may rely on:

    made_by, command, date              what wrote the file, and when (UTC)
    title, source, publisher            what it is, its name here, and the address or package that it comes from
    file, file_sha256                   the published file that was read, and its hash
    licence                             of the weights, as their publisher states it: an SPDX identifier where possible
    training_data                       what they were trained on
    teachers                            a list of such objects: the networks that these weights were distilled from
    images, images_sha256               how many unlabelled images they saw, and the hash of the table that lists them
    commit, steps                       of singleshot's own source, and of the training
    precision, tf32, cudnn_benchmark    the arithmetic of the training: whether float32 was rounded to TF32, and whether
                                        cuDNN chose its algorithms by trying them
    started_from                        such an object: the weights that a training began with, with two more keys,
                                        `weights` (as the user named them) and `sha256` (of that weights file)

`started_from` has a `started_from` of its own where those weights had one, so the first licence of a chain is not lost
however often weights are trained further.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_LABELS = {
    "title": "title",
    "licence": "licence",
    "publisher": "publisher",
    "file": "file",
    "file_sha256": "file's SHA-256",
    "training_data": "trained on",
    "images": "images",
    "images_sha256": "images' SHA-256",
    "commit": "commit",
    "steps": "steps",
}
_MOST_STARTS = 20
"""A file is free to claim any number of starts; so many are shown."""


def source_commit() -> str | None:
    """Return the commit of the checkout that this package runs from; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def starts(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the weights that a training started from, then what these started from, and so on.

    >>> [start["weights"] for start in starts({"started_from": {"weights": "a", "started_from": {"weights": "b"}}})]
    ['a', 'b']
    """
    for _ in range(_MOST_STARTS):
        start = provenance.get("started_from")
        if not isinstance(start, Mapping):
            return
        yield start
        provenance = start


def origin_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return labels and values of every start and every teacher, for people; none where there are neither.

    >>> origin_rows({"started_from": {"weights": "everyday", "sha256": "12ab", "licence": "Apache-2.0"}})
    [('started from', 'everyday, SHA-256 12ab'), ('its licence', 'Apache-2.0')]
    """
    rows = _teachers(provenance)
    for start in starts(provenance):
        name, digest = start.get("weights", "unnamed weights"), start.get("sha256")
        rows.append(("started from", f"{name}, SHA-256 {digest}" if digest else str(name)))
        rows += [(f"its {label}", str(start[key])) for key, label in _LABELS.items() if key in start]
        rows += [(f"its {label}", value) for label, value in _teachers(start)]
    return rows


def _teachers(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    teachers = provenance.get("teachers")
    found = [each for each in teachers if isinstance(each, Mapping)] if isinstance(teachers, list) else []
    rows = []
    for teacher in found:
        facts = [str(teacher[key]) for key in ("title", "licence", "publisher") if key in teacher]
        digest = teacher.get("file_sha256")
        rows.append(("teacher", ", ".join([*facts, *([f"SHA-256 {digest}"] if digest else [])])))
    return rows
