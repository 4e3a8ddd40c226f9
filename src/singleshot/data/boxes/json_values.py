"""Whether a value out of a stranger's JSON is what it should be: an id, a name, a finite number."""

from __future__ import annotations

import re
import reprlib
from typing import Any, TypeGuard

Id = int | str
# Control characters would break a message's one line; halves of a character cannot be written anywhere.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_id(value: Any) -> TypeGuard[Id]:
    """Whether a JSON value can be an id: a whole number or a text."""
    return type(value) is int or is_text(value)


def is_text(value: Any) -> TypeGuard[str]:
    """Whether a JSON value is a text that can be a name: not blank, no control character, no half of a character."""
    return isinstance(value, str) and bool(value.strip()) and not _UNFIT.search(value)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a JSON value is a finite number that leaves room to reckon with it.

    >>> [is_number(value) for value in (1, 2.5, True, "3", float("inf"), 10**400)]
    [True, True, False, False, False, False]
    """
    return type(value) in (int, float) and -1e150 < value < 1e150


def number_list(value: Any, length: int) -> tuple[float, ...] | None:
    """The numbers of a JSON list of that length; None for anything else, infinite numbers included."""
    if not isinstance(value, list) or len(value) != length or not all(map(is_number, value)):
        return None
    return tuple(map(float, value))


def shown(value: Any) -> str:
    """A JSON value for a message, in one line and cut short."""
    text = reprlib.repr(value)  # not repr: a value may be nested deeply, or huge
    return text if len(text) <= 40 else f"{text[:39]}…"
