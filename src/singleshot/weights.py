"""One safe file that is a whole detector: tensors, the config that builds the network, class names, provenance.

The format is safetensors, which holds numbers and text and nothing that could run. Its metadata carry a JSON record
and a SHA-256 over every tensor's name, type, shape and bytes and over the record, so that a flipped bit is found
before it is used: neither safetensors nor torch's own format notices one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from singleshot import durable
from singleshot.detection.ssd import SSD, SSDConfig
from singleshot.errors import ConfigError, DataError, InputMissingError, NotPermittedError
from singleshot.strict_json import from_json_dict, to_json_dict

SCHEMA = 1
RECORD, HASH, FORMAT = "singleshot", "sha256", "format"


@dataclass(frozen=True)
class WeightsFile:
    """What a weights file holds besides its tensors.

    Args:
        network: the network with its weights, in evaluation mode.
        provenance: where the weights come from: command, data, date, versions, score. Free text and numbers.
        sha256: the hash of tensors and record, as hexadecimal digits.
    """

    network: SSD
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


def save(path: Path, network: SSD, provenance: dict[str, Any]) -> str:
    """Write `network` to `path`, replacing what is there only once all is on the disk. Returns the SHA-256."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    record = json.dumps(
        {"schema": SCHEMA, "task": "detection", "config": to_json_dict(network.config), "provenance": provenance},
        sort_keys=True,
    )
    digest = _digest(tensors, record)
    metadata = {RECORD: record, HASH: digest, FORMAT: "pt"}
    # Not `save_file`, whose errors are its own: a full disk must come out of `durable` as what it is.
    durable.write_bytes(path, safetensors.torch.save(tensors, metadata))
    return digest


def load(path: Path) -> WeightsFile:
    """Read and check a weights file; the network is on the CPU and in evaluation mode.

    Raises:
        InputMissingError: there is no such file.
        DataError: the file is damaged, not of ours, a pickle, or its tensors do not fit its config.
        NotPermittedError: the file may not be read.
    """
    tensors, record_text, stated = _read(path)
    if _digest(tensors, record_text) != stated:
        raise DataError(
            "SHA-256 mismatch: the file is damaged",
            kind="damaged-weights",
            remedy="Copy or download it again",
            file=path,
        )
    try:
        record = dict(json.loads(record_text))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError("its record is not a JSON object", kind="bad-weights", file=path) from error
    if record.get("schema") != SCHEMA:
        raise DataError(
            f"written in schema {record.get('schema')}; this version reads {SCHEMA}",
            kind="newer-weights",
            remedy="Update singleshot",
            file=path,
        )
    try:
        network = SSD(from_json_dict(SSDConfig, record.get("config")))
    except ConfigError as error:
        raise DataError(error.what, kind="bad-weights", remedy=error.remedy, file=path) from error
    _fill(network, tensors, path)
    return WeightsFile(network.eval(), record.get("provenance", {}), stated)


def _read(path: Path) -> tuple[dict[str, Tensor], str, str]:
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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
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


def _fill(network: SSD, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = network.state_dict()
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in wanted]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)} and not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    wrong += [f"{name} holds values that are not finite" for name, tensor in tensors.items() if not _finite(tensor)]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise DataError(f"tensors do not fit the network: {'; '.join(wrong[:5])}{more}", kind="bad-weights", file=path)
    network.load_state_dict(tensors)


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _digest(tensors: dict[str, Tensor], record: str) -> str:
    """SHA-256 over the record and, by name, each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()
