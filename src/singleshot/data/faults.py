"""Faults of data: how severe each kind is, what to do about it, and whether work goes on in spite of it.

Readers list faults and leave out what is faulty; they refuse nothing. That is right for looking at data. Training and
evaluation on less data than the user expects need the user's consent: `refuse_or_list`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from singleshot.errors import Fault, FaultyDataError, Severity, sentence

if TYPE_CHECKING:  # structures.py imports torch, which the processes that decode images for `data check` do without
    from singleshot.structures import Dataset

OnBad = Literal["fail", "skip"]
SKIP = "Mend them, or go on without them by --on-bad skip"
LEFT_OUT_WARNINGS = frozenset({"missing-annotation", "outside-box"})
"""Kinds of warning that stop nothing and yet cost an image or a box."""

KINDS: dict[str, tuple[Severity, str]] = {
    # Files and lists
    "broken-link": ("fatal", "Replace or delete it"),
    "outside-link": ("fatal", "Put a copy in its place"),
    "linked-folder": ("warning", "Name that folder in data.yaml"),
    "missing-picture": ("fatal", "Add it or delete this line"),
    "missing-annotation": ("warning", "Annotate it, or use --allow-unlabelled"),
    "moved-path": ("note", "Correct the path"),
    "outside-folder": ("note", ""),
    "missing-split": ("fatal", "Add it"),
    "empty-split": ("fatal", "List one id a line, or delete the list"),
    "duplicate-id": ("warning", "Delete this line"),
    "unlabelled": ("note", ""),
    "unlisted-picture": ("note", "Add it to a list, or delete it"),
    "annotation-without-picture": ("warning", "Add it, or delete the annotation"),
    "label-without-picture": ("warning", "Add the image or delete this file"),
    "stranger-file": ("note", "Rename it if it is an image; else delete it"),
    "not-permitted": ("fatal", "Change its permissions"),
    "unreadable-file": ("fatal", "Replace or delete it"),
    "leak": ("fatal", "Take it out of one of them"),
    "near-duplicate-across-splits": ("warning", "Put both into one split"),
    # Fields of an annotation
    "bad-field": ("fatal", "Correct it"),
    "bad-line": ("fatal", "Correct or delete it"),
    "bad-box": ("fatal", "Write [x, y, width, height]"),
    "bad-segmentation": ("warning", "Its box is used; correct or delete it"),
    "missing-tag": ("fatal", "Add it"),
    "repeated-tag": ("fatal", "Keep one"),
    "filled-field": ("note", ""),
    "unknown-key": ("note", ""),
    "unknown-image": ("fatal", "Add it or delete this one"),
    "duplicate-image-id": ("fatal", "Give every image its own id"),
    "duplicate-annotation-id": ("warning", "Number them anew"),
    # Classes
    "unknown-class": ("fatal", ""),
    "duplicate-category": ("fatal", "Give every category its own id"),
    "placeholder-category": ("note", ""),
    "class-variants": ("warning", "Give them one name"),
    "class-without-object": ("warning", "Annotate some, or take the class out of the list"),
    "no-object": ("fatal", "Put the labels there, or name the folder that has them"),
    "class-in-one-file": ("warning", "Correct it if it is a misspelling"),
    # Boxes
    "other-coordinates": ("fatal", ""),
    "not-a-number": ("fatal", "Correct or delete it"),
    "inverted-box": ("fatal", "Swap its corners (Pascal VOC: --fix-boxes) or delete it"),
    "swapped-box": ("warning", "Correct the file"),
    "zero-size-box": ("fatal", "Draw it anew or delete it"),
    "outside-box": ("warning", "Correct or delete it"),
    "clipped-box": ("warning", "Correct it"),
    "duplicate-box": ("warning", "Delete one"),
    "near-duplicate-box": ("warning", "Delete one if they are one object"),
    "tiny-box": ("note", "Use a larger --input-size to learn it"),
    "all-difficult": ("note", ""),
    # Images and masks
    "zero-picture-size": ("warning", "Write the image's size"),
    "wrong-size": ("fatal", ""),
    "rotated-picture": ("warning", "Check that the boxes fit the upright image"),
    "duplicate-picture": ("warning", "Delete one of them"),
    "doubtful-picture": ("warning", "Look at it"),
    "wrong-extension": ("note", "Rename it"),
    "capital-extension": ("note", "Rename it"),
    "animated-picture": ("note", "Save that frame as an image"),
    "sixteen-bit-picture": ("note", "Convert it if it looks too dark"),
    "cmyk-picture": ("note", "Convert it to RGB"),
    "transparent-picture": ("note", "Flatten it if white is wrong"),
    "assumed-classes": ("note", "Write classes.txt if they are others"),
    "all-void-mask": ("note", "Draw its mask or take it out of the list"),
}
"""By kind: its severity, and the remedy where the call names none."""


def make_fault(
    kind: str,
    message: str,
    file: Path,
    line: int | None = None,
    *,
    remedy: str | None = None,
    severity: Severity | None = None,
) -> Fault:
    """Make a fault with the severity and the remedy of its kind.

    Args:
        kind: a key of `KINDS`.
        message: what is wrong, without a full stop.
        file: the file at fault.
        line: its 1-based line, if it has lines.
        remedy: what to do, where the kind's own remedy does not fit.
        severity: likewise.

    >>> str(make_fault("duplicate-id", "cat.1 is already in line 3", Path("train.txt"), 7))
    'train.txt:7: cat.1 is already in line 3. Delete this line.'
    """
    usual_severity, usual_remedy = KINDS[kind]
    remedy = usual_remedy if remedy is None else remedy
    text = f"{sentence(message)} {sentence(remedy)}" if remedy else sentence(message)
    return Fault(file, line, kind, severity or usual_severity, text)


def leaves_out(fault: Fault) -> bool:
    """Return whether the image or box at fault is missing from what was read; other warnings change nothing."""
    return fault.severity == "fatal" or fault.kind in LEFT_OUT_WARNINGS


def refuse_or_list(datasets: Sequence[Dataset], on_bad: OnBad, *, remedy: str = SKIP) -> list[Fault]:
    """List the faults by which something is left out of some splits, each once, in the order of the splits.

    Raises FaultyDataError, with that remedy, where there are fatal ones and `on_bad` is "fail".
    """
    faults = list(dict.fromkeys(fault for dataset in datasets for fault in dataset.faults if leaves_out(fault)))
    fatal = [fault for fault in faults if fault.severity == "fatal"]
    if fatal and on_bad == "fail":
        raise FaultyDataError(fatal, remedy=remedy)
    return faults
