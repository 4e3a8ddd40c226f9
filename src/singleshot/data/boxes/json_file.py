"""JSON from strangers, read strictly: what Python's reader takes in silence is refused here, with line and column.

Python keeps the last of two equal keys, takes NaN and Infinity, which are no JSON, and ends with a RecursionError in
a file of brackets. A data set in which one of these happens is not what its author thinks. Where the fault lies is
worked out by a second, slow pass, which only a faulty file has to bear.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from singleshot.errors import DataError
from singleshot.storage.files import file_bytes

MAX_BYTES = 2 * 2**30
MAX_DEPTH = 64
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_CONSTANTS = ("NaN", "Infinity", "-Infinity")
_LONG_NUMBER = re.compile(r"[0-9]{4300,}")


class _RefusedError(ValueError):
    """Something that Python's reader would have taken."""


def read(file: Path, *, max_bytes: int = MAX_BYTES, visit: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The value in a JSON file.

    Args:
        file: the file, in UTF-8, with or without a byte order mark.
        max_bytes: the size above which it is refused unread.
        visit: is given every object as soon as it is read, inner ones first, and returns what stands in its place:
            large parts that nobody needs are gone before the next one comes.

    Numbers such as 1e400 become infinite, as in Python: whoever uses a number checks it.

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
    return parse(text, file=file, visit=visit)


def parse(text: str, *, file: Path, visit: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """`read` for text that is there already; `file` names it in messages."""

    def make(pairs: list[tuple[str, Any]]) -> Any:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise _RefusedError
        return made if visit is None else visit(made)

    try:
        return json.loads(text, object_pairs_hook=make, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        cut = " (it ends too early)" if error.pos >= len(text.rstrip()) else ""
        raise _fault(f"not well-formed JSON: {error.msg}{cut}", file, text, error.pos) from error
    except (RecursionError, ValueError) as error:
        what, offset = _locate(text)
        raise _fault(what, file, text, offset) from error


def _refuse(_constant: str) -> NoReturn:
    raise _RefusedError


def _fault(what: str, file: Path, text: str, offset: int) -> DataError:
    line = text.count("\n", 0, offset) + 1
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    return DataError(f"{what}, column {column}", kind="bad-json", remedy="Mend the file", file=file, line=line)


def _locate(text: str) -> tuple[str, int]:
    """What is to be refused in a text that is well-formed up to there, and the offset at which it stands."""
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
            return f"{next(name for name in _CONSTANTS if part.startswith(name))} is no JSON number", offset
        elif _LONG_NUMBER.search(part) and not part.startswith('"'):
            return "a number of more than 4300 digits", offset
        elif at_key and keys and (known := keys[-1]) is not None:
            name = json.loads(part)
            if name in known:
                return f"the key {part if len(part) <= 40 else part[:40] + '…'} occurs twice", offset
            known.add(name)
    return "it cannot be read", 0
