"""Warnings about a list of classes: what is probably one class under two names, and what is probably a slip.

A data set's classes are whatever its files say. `Dog` beside `dog` gives a detector two classes that share their
objects, and a class seen in a single file is more often a misspelling than a class; neither breaks anything, so both
are warnings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from singleshot.errors import Fault

LEAST_FILES = 20
"""Below so many annotated files, a class in one of them alone says nothing."""


def variant_faults(names: Iterable[str], file: Path) -> list[Fault]:
    """A warning (`class-variants`) for each group of names that differ in case, spaces, hyphens or underscores alone.

    Args:
        names: the classes.
        file: the file or folder that they come from.

    >>> [fault.message for fault in variant_faults(["Dog", "cat", "dog"], Path("data"))]
    ["classes 'Dog' and 'dog' differ in case or spaces alone; they are learned as different ones. Give them one name."]
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault("".join(name.casefold().replace("-", " ").replace("_", " ").split()), []).append(name)
    return [
        Fault(
            file,
            None,
            "class-variants",
            "warning",
            f"classes {' and '.join(map(repr, group))} differ in case or spaces alone; they are learned as different "
            "ones. Give them one name.",
        )
        for group in groups.values()
        if len(group) > 1
    ]


def single_file_faults(files_of: Mapping[str, Sequence[tuple[Path, int | None]]]) -> list[Fault]:
    """A warning (`class-in-one-file`) for each class that one file alone names; none in a data set of a few files.

    Args:
        files_of: by class name, the files that name it, each once, with the line where it does so first.
    """
    count = len({file for places in files_of.values() for file, _ in places})
    faults = []
    for name, places in sorted(files_of.items()):
        if len(places) == 1 and count >= LEAST_FILES:
            (file, line), *_ = places
            what = f"class {name!r} is in this file alone, of {count}. Correct it if it is a misspelling."
            faults.append(Fault(file, line, "class-in-one-file", "warning", what))
    return faults
