"""Class names: what an unknown one may have meant, and warnings about names that are probably slips.

A data set's classes are those that its files name. `Dog` beside `dog` gives a detector two classes that share their
objects, and a class in a single file is more often a misspelling than a class; neither breaks anything, so both are
warnings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from singleshot.data.faults import make_fault
from singleshot.errors import Fault, nearest

MIN_FILES = 20
"""With fewer annotated files, a class in one of them alone is not suspicious."""
SHOWN_NAMES = 20


def unknown_class(name: str, names: Sequence[str]) -> str:
    """Return the message for a class that a data set does not have, with the nearest name, or all of them.

    >>> unknown_class("dgo", ("cat", "dog"))
    "class 'dgo' is unknown. Near: dog."
    """
    near = nearest(name.strip(), names)
    if near is not None:
        return f"class {name!r} is unknown. Near: {near}."
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"class {name!r} is unknown. The classes are: {', '.join(names[:SHOWN_NAMES])}{more}."


def variant_faults(names: Iterable[str], file: Path) -> list[Fault]:
    """Return a warning (`class-variants`) for each group of names that differ in case, spaces, `-` or `_` alone.

    Args:
        names: the classes.
        file: the file or folder that they come from.

    >>> [fault.message for fault in variant_faults(["Dog", "cat", "dog"], Path("data"))]
    ["classes 'Dog' and 'dog' differ in case or spaces alone; they are learned as different ones. Give them one name."]
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault("".join(name.casefold().replace("-", " ").replace("_", " ").split()), []).append(name)
    message = "differ in case or spaces alone; they are learned as different ones"
    return [
        make_fault("class-variants", f"classes {' and '.join(map(repr, group))} {message}", file)
        for group in groups.values()
        if len(group) > 1
    ]


def single_file_faults(files_of: Mapping[str, Mapping[Path, int | None]]) -> list[Fault]:
    """Return a warning (`class-in-one-file`) for each class that one file alone names; [] for fewer than `MIN_FILES`.

    Args:
        files_of: by class name, the files that name it, with the line where each does so first.
    """
    count = len({file for lines in files_of.values() for file in lines})
    return [
        make_fault("class-in-one-file", f"class {name!r} is in this file alone, of {count}", file, line)
        for name, lines in sorted(files_of.items())
        if len(lines) == 1 and count >= MIN_FILES
        for file, line in lines.items()
    ]
