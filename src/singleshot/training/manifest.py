"""JSON that carries its own SHA-256: any changed byte is noticed before the content is believed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from singleshot.errors import DataError


def sealed(content: dict[str, Any]) -> str:
    """JSON with its own SHA-256 as the last entry, of what the content was at one moment."""
    canonical = _canonical(content)
    return json.dumps(json.loads(canonical) | {"sha256": hashlib.sha256(canonical).hexdigest()}, indent=1) + "\n"


def unsealed(data: bytes, file: Path) -> dict[str, Any]:
    """The inverse of `sealed`, which any changed byte makes fail: the text must be the one that would be written.

    Raises DataError for anything else; it names `file`.
    """
    try:
        content = json.loads(data)
        stated = content.pop("sha256")
        if stated == hashlib.sha256(_canonical(content)).hexdigest() and sealed(content).encode() == data:
            return content
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        pass
    raise damaged("damaged or cut off", file)


def damaged(what: str, path: Path) -> DataError:
    """The error for a checkpoint's file that is not what was written."""
    return DataError(what, kind="damaged-checkpoint", remedy="An older checkpoint may be whole: --resume", file=path)


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()
