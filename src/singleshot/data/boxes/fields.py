"""Strict JSON, and checks of the values in it: an id, a name, a finite number.

Python's reader keeps the last of two equal keys, accepts NaN and Infinity, which are not JSON, and ends with a
RecursionError in a file of brackets. Here each of these is refused with line and column: a data set with one of them
is not what its author expects. A second, slow pass finds the position; only a faulty file needs it.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from singleshot.errors import DataError
from singleshot.storage.files import file_bytes

MAX_BYTES = 2 * 2**30
MAX_DEPTH = 64
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_CONSTANTS = ("NaN", "Infinity", "-Infinity")
_LONG_NUMBER = re.compile(r"[0-9]{4300,}")
# Control characters would break a message's one line; halves of a character cannot be written anywhere.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Id = int | str


class _RefusedError(ValueError):
    """Something that Python's reader accepts and this one does not."""


def read_json(file: Path, *, max_bytes: int = MAX_BYTES, visit: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read the value in a JSON file.

    Args:
        file: the file, in UTF-8, with or without a byte order mark.
        max_bytes: the size above which it is refused unread.
        visit: gets every object as soon as it is read, inner ones first, and returns its replacement, so that large
            parts that are not needed never fill the memory.

    Numbers such as 1e400 become infinite, as in Python: the user of a number checks it (`is_number`).

    Raises:
        DataError: not JSON, or one of the above; `kind` is `bad-json`, `too-large-json`, `not-text` or `empty-file`.
        InputMissingError, NotPermittedError, StorageError: as the file system says.
    """
    data = file_bytes(file, max_bytes, kind="too-large-json")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError("not UTF-8 text", kind="not-text", remedy="Save it as UTF-8", file=file, line=line) from error
    del data  # a large file is not kept twice while it is parsed
    return parse_json(text, file=file, visit=visit)


def parse_json(text: str, *, file: Path, visit: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parse a text like `read_json`; `file` names it in messages."""

    def make(pairs: list[tuple[str, Any]]) -> Any:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise _RefusedError
        return made if visit is None else visit(made)

    try:
        return json.loads(text, object_pairs_hook=make, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        cut = " (it ends too early)" if error.pos >= len(text.rstrip()) else ""
        raise _error(f"not well-formed JSON: {error.msg}{cut}", file, text, error.pos) from error
    except (RecursionError, ValueError) as error:
        message, offset = _locate(text)
        raise _error(message, file, text, offset) from error


def _refuse(_constant: str) -> NoReturn:
    raise _RefusedError


def _error(message: str, file: Path, text: str, offset: int) -> DataError:
    line = text.count("\n", 0, offset) + 1
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    return DataError(f"{message}, column {column}", kind="bad-json", remedy="Mend the file", file=file, line=line)


def _locate(text: str) -> tuple[str, int]:
    """Find what is refused in a text that is well-formed up to there: a message and the offset."""
    keys: list[set[str] | None] = []  # the keys so far of each open object; None for an open list
    at_key = False
    for token in _TOKEN.finditer(text):
        part, offset = token[0], token.start()
        if part in "{[":
            keys.append(set() if part == "{" else None)
            at_key = part == "{"
            if len(keys) > MAX_DEPTH:
                return f"nested more than {MAX_DEPTH} deep", offset
        elif part in "}]" and keys:
            keys.pop()
            at_key = False
        elif part in ",:":
            at_key = part == "," and bool(keys) and keys[-1] is not None
        elif part.startswith(_CONSTANTS):  # Python takes the first three letters of NaNny, then looks at the rest
            return f"{next(name for name in _CONSTANTS if part.startswith(name))} is not a JSON number", offset
        elif _LONG_NUMBER.search(part) and not part.startswith('"'):
            return "a number of more than 4300 digits", offset
        elif at_key and keys and (known := keys[-1]) is not None:
            name = json.loads(part)
            if name in known:
                return f"the key {part if len(part) <= 40 else part[:40] + '…'} occurs twice", offset
            known.add(name)
    return "it cannot be read", 0


def is_id(value: Any) -> TypeGuard[Id]:
    """Return whether a JSON value can be an id: a whole number or a text."""
    return type(value) is int or is_text(value)


def is_text(value: Any) -> TypeGuard[str]:
    """Return whether a JSON value is a text that can be a name: not blank, no control character, no lone surrogate."""
    return isinstance(value, str) and bool(value.strip()) and not _UNFIT.search(value)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Return whether a JSON value is a finite number, with room for sums and products.

    >>> [is_number(value) for value in (1, 2.5, True, "3", float("inf"), 10**400)]
    [True, True, False, False, False, False]
    """
    return type(value) in (int, float) and -1e150 < value < 1e150


def number_list(value: Any, length: int) -> tuple[float, ...] | None:
    """Return the numbers of a JSON list of that length; None for anything else, infinite numbers included."""
    if not isinstance(value, list) or len(value) != length or not all(map(is_number, value)):
        return None
    return tuple(map(float, value))


def shown(value: Any) -> str:
    """Return a JSON value for a message, in one line and cut short."""
    text = reprlib.repr(value)  # not repr: a value may be nested deeply, or huge
    return text if len(text) <= 40 else f"{text[:39]}…"
