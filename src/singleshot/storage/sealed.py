"""Files that carry their own SHA-256, so that damage is noticed before their content is used.

Tensors: a safetensors file whose metadata have a record and a hash over every tensor's name, dtype, shape and bytes
and over the record. Safetensors stores numbers and text and nothing that could run, but does not notice a flipped bit,
and neither does torch's own format. JSON: an object whose last entry is the hash of the others.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from singleshot.errors import DataError, InputMissingError, os_errors
from singleshot.storage import atomic

RECORD, HASH, FORMAT = "singleshot", "sha256", "format"


def write(path: Path, tensors: dict[str, Tensor], record: str) -> str:
    """Write contiguous tensors on the CPU and a record atomically. Returns the SHA-256."""
    digest = digest_of(tensors, record)
    metadata = {RECORD: record, HASH: digest, FORMAT: "pt"}
    # Not `save_file`, whose errors are its own: a full disk must be reported as what it is.
    atomic.write_bytes(path, safetensors.torch.save(tensors, metadata))
    return digest


def read(path: Path) -> tuple[dict[str, Tensor], str, str]:
    """Return the tensors, the record and the SHA-256, which is checked. The tensors may be memory-mapped.

    Raises:
        InputMissingError: there is no such file.
        DataError: the file is damaged, was not written by singleshot, or is a pickle.
        NotPermittedError: no permission to read it.
    """
    tensors, record, stated = _unchecked(path)
    if digest_of(tensors, record) != stated:
        raise DataError(
            "SHA-256 mismatch: the file is damaged",
            kind="damaged-weights",
            remedy="Copy or download it again",
            file=path,
        )
    return tensors, record, stated


def peek(path: Path) -> str:
    """Return the record alone, unchecked: for callers that `read` the same file later. Raises like `read`."""
    return _unchecked(path, with_tensors=False)[1]


def digest_of(tensors: dict[str, Tensor], record: str) -> str:
    """Return the SHA-256 over the record and, in the order of names, each tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def seal_json(content: dict[str, Any], key: str = "sha256") -> str:
    """Return the JSON of `content` with the SHA-256 of that JSON as its last entry, named `key`."""
    canonical = json.dumps(content)  # once: the content may change while it is written
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps(json.loads(canonical) | {key: digest}, indent=1) + "\n"


def unseal_json(data: bytes, key: str = "sha256") -> dict[str, Any]:
    """Return the content of what `seal_json` returned. Raises ValueError for anything else: each byte counts."""
    try:
        content = json.loads(data)
        content.pop(key)
        if seal_json(content, key).encode() == data:
            return content
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        pass
    raise ValueError("damaged or cut off")


def _unchecked(path: Path, *, with_tensors: bool = True) -> tuple[dict[str, Tensor], str, str]:
    if not path.is_file():
        raise InputMissingError("no such weights file", remedy="Check the path", file=path)
    with os_errors(path, "read"), path.open("rb") as file:
        start = file.read(9)
    # A safetensors file starts with the length of its header, which may well read "PK" or 0x80 0x02, and then "{".
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] <= b"\x05" and start[8:] != b"{"):
        raise DataError(
            "this is a pickle, which could run code, and is refused",
            kind="pickle",
            remedy="Convert it with `singleshot weights import`",
            file=path,
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys() if with_tensors else ()
            tensors = {name: file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(
            f"not a readable safetensors file ({error})",
            kind="damaged-weights",
            remedy="It may be truncated: copy or download it again",
            file=path,
        ) from error
    if RECORD not in metadata or HASH not in metadata:
        raise DataError(
            "a safetensors file that singleshot did not write",
            kind="foreign-weights",
            remedy="Convert it with `singleshot weights import`",
            file=path,
        )
    if metadata != {RECORD: metadata[RECORD], HASH: metadata[HASH], FORMAT: "pt"}:
        # The hash does not cover the metadata, so nothing but the three entries may be there.
        raise DataError("its metadata are damaged", kind="damaged-weights", remedy="Copy it again", file=path)
    return tensors, metadata[RECORD], metadata[HASH]
