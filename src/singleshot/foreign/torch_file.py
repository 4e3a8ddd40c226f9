"""Tensors out of somebody else's PyTorch file: the one place where such a file is opened, and how nothing of it runs.

PyTorch's own format is a pickle, which can name any function to call. It is read with `weights_only=True`, which
knows tensors and plain containers and refuses the rest, after the archive around it was found to be no larger inside
than outside. Files of safetensors are read too, because hubs hand them out. What comes back is plain float32.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from singleshot.errors import DataError, InputMissingError, NotPermittedError

WRAPPERS = ("model", "state_dict")
"""Under these keys training programs put the weights, beside an optimizer's state and the like."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a `.pth`, `.pt` or `.safetensors` file by its name, on the CPU.

    Floating point numbers come back as float32, other numbers as they are. A leading `module.` (of a network that
    was trained on several devices) is taken off.

    Raises:
        InputMissingError: there is no such file.
        NotPermittedError: it may not be read.
        DataError: it is damaged, holds more than tensors, claims more numbers than it has, or some are not finite.
    """
    if not path.is_file():
        raise InputMissingError("no such file", remedy="Check the path", file=path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except PermissionError as error:
        raise NotPermittedError("no permission to read", remedy="Change its permissions", file=path) from error
    content = safetensors_file(path) if start[8:] == b"{" else _torch_file(path, start)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise _bad("it holds no table of tensors", path)
    return {str(name).removeprefix("module."): _plain(str(name), value, path) for name, value in content.items()}


def safetensors_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, without looking at its metadata. Raises DataError if it is damaged."""
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise _bad(f"not a readable safetensors file ({error})", path) from error


def _torch_file(path: Path, start: bytes) -> Any:
    if start[:4] == b"PK\x03\x04":
        _refuse_archive_that_grows(path)
    elif start[:2] != b"\x80\x02":  # the older format is a row of pickles of protocol 2
        raise _bad("neither a PyTorch file nor a safetensors file", path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile pickle can end in any exception at all
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise DataError(
                "it holds more than tensors, which could run code, and is refused",
                kind="pickle",
                remedy="Save the state dict alone in it",
                file=path,
            ) from error
        raise _bad(f"not a readable PyTorch file ({reason[:120]})", path) from error


def _refuse_archive_that_grows(path: Path) -> None:
    """PyTorch stores its archives unpacked: one that would grow on reading, or whose checksums are off, is refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            size = path.stat().st_size
            if any(each.compress_type != zipfile.ZIP_STORED for each in members) or (
                sum(each.file_size for each in members) > size
            ):
                raise _bad("an archive that is larger inside than outside", path)
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError) as error:
        raise _bad(f"not a readable PyTorch file ({error})", path) from error
    if damaged is not None:
        raise _bad(f"damaged: the checksum of {damaged} is wrong", path)


def _plain(name: str, value: Any, path: Path) -> Tensor:
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        raise _bad(f"{name} is no plain tensor", path)
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise _bad(f"{name} claims {value.numel():,} numbers and has fewer", path)
    value = value.detach()
    if not value.is_floating_point():
        return value.contiguous()
    if not value.isfinite().all():
        raise _bad(f"{name} holds values that are not finite", path)
    return value.float().contiguous()


def _bad(what: str, path: Path) -> DataError:
    return DataError(what, kind="bad-weights", remedy="Get the file again from its publisher", file=path)
