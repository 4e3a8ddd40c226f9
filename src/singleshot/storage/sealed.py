"""Tensors and a text under one seal: a safetensors file whose metadata carry a record and a hash over everything.

Safetensors holds numbers and text and nothing that could run, but notices no flipped bit, and neither does torch's own
format. So the metadata carry a SHA-256 over every tensor's name, type, shape and bytes and over the record, and a file
is not used before it was found right.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from singleshot.errors import DataError, InputMissingError, NotPermittedError
from singleshot.storage import atomic

RECORD, HASH, FORMAT = "singleshot", "sha256", "format"


def write(path: Path, tensors: dict[str, Tensor], record: str) -> str:
    """Write contiguous tensors on the CPU and a record, whole or not at all. Returns the SHA-256."""
    digest = digest_of(tensors, record)
    metadata = {RECORD: record, HASH: digest, FORMAT: "pt"}
    # Not `save_file`, whose errors are its own: a full disk must come out of `durable` as what it is.
    atomic.write_bytes(path, safetensors.torch.save(tensors, metadata))
    return digest


def read(path: Path) -> tuple[dict[str, Tensor], str, str]:
    """The tensors, the record and the SHA-256, which was checked. The tensors may be the file itself in memory.

    Raises:
        InputMissingError: there is no such file.
        DataError: the file is damaged, not of ours, or a pickle.
        NotPermittedError: it may not be read.
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
    """The record alone and unchecked, for what a later `read` of the same file will check. Raises like `read`."""
    return _unchecked(path, with_tensors=False)[1]


def digest_of(tensors: dict[str, Tensor], record: str) -> str:
    """SHA-256 over the record and, by name, each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def _unchecked(path: Path, *, with_tensors: bool = True) -> tuple[dict[str, Tensor], str, str]:
    if not path.is_file():
        raise InputMissingError("no such weights file", remedy="Check the path", file=path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except PermissionError as error:
        raise NotPermittedError("no permission to read", remedy="Change its permissions", file=path) from error
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
            "a safetensors file, but not one of singleshot's",
            kind="foreign-weights",
            remedy="Convert it with `singleshot weights import`",
            file=path,
        )
    if metadata != {RECORD: metadata[RECORD], HASH: metadata[HASH], FORMAT: "pt"}:
        # The hash does not cover this entry, so that it must be the one that it can be.
        raise DataError("its metadata are damaged", kind="damaged-weights", remedy="Copy it again", file=path)
    return tensors, metadata[RECORD], metadata[HASH]
