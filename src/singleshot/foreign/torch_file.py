"""Read the tensors of another project's PyTorch file without running anything in it, and give them our names.

PyTorch's own format is a pickle, which can name any function to call. It is read with `weights_only=True`, which
accepts tensors and plain containers and refuses the rest, after a check that the archive does not grow when it is
unpacked. Safetensors files are read too, because hubs distribute them. The result is plain float32.

Networks of the same layers differ in the names of these. A format is therefore a table of prefixes; a tensor that is
missing, left over or of another shape means another network, and is named by its name in the file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from singleshot.errors import DataError, InputMissingError, os_errors

SHOWN = 5
WRAPPERS = ("model", "state_dict")
"""Keys under which training programs store the weights, beside an optimizer's state and the like."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return every tensor of a `.pth`, `.pt` or `.safetensors` file by its name, on the CPU.

    Floating point numbers are converted to float32, other numbers stay. A leading `module.` (of a network that was
    trained on several devices) is removed.

    Raises:
        InputMissingError: there is no such file.
        NotPermittedError: no permission to read it.
        DataError: it is damaged, has more than tensors, claims more numbers than it has, or some are not finite.
    """
    if not path.is_file():
        raise InputMissingError("no such file", remedy="Check the path", file=path)
    with os_errors(path, "read"), path.open("rb") as file:
        start = file.read(9)
    content = safetensors_file(path) if start[8:] == b"{" else _torch_file(path, start)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise _bad("it has no table of tensors", path)
    return {str(name).removeprefix("module."): _plain(str(name), value, path) for name, value in content.items()}


def safetensors_file(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file and ignore its metadata. Raises DataError if it is damaged."""
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
                "it has more than tensors, which could run code, and is refused",
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
        raise _bad(f"{name} has values that are not finite", path)
    return value.float().contiguous()


def _bad(message: str, path: Path) -> DataError:
    return DataError(message, kind="bad-weights", remedy="Get the file again from its publisher", file=path)


def renamed(
    tensors: Mapping[str, Tensor],
    prefixes: Mapping[str, str],
    wanted: Mapping[str, Tensor],
    path: Path,
    ignored: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Return the tensors under our names, all wanted ones and no others.

    Args:
        tensors: by their names in the file.
        prefixes: ours → the file's; the longest of ours that fits a name up to a dot counts.
        wanted: a tensor of the right shape for each of our names (their values and devices do not matter).
        path: the file, for the message.
        ignored: prefixes of the file's names that may be left over.

    Raises:
        DataError: tensors are missing, unknown or of another shape; the first five are named, the rest counted.

    >>> import torch
    >>> one = torch.ones(1)
    >>> renamed({"features.0.bias": one}, {"conv1_1": "features.0"}, {"conv1_1.bias": one}, Path("w.pth"))
    {'conv1_1.bias': tensor([1.])}
    """
    names = {ours: _translated(ours, prefixes) for ours in wanted}
    expected = set(names.values())
    wrong = [f"{name} is missing" for name in names.values() if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in expected and not name.startswith(tuple(ignored))]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)} and not {tuple(wanted[ours].shape)}"
        for ours, name in names.items()
        if name in tensors and tensors[name].shape != wanted[ours].shape
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise DataError(
            f"not the network that was expected: {'; '.join(wrong[:SHOWN])}{more}",
            kind="bad-weights",
            remedy="Check that NAME and file belong together",
            file=path,
        )
    return {ours: tensors[name] for ours, name in names.items()}


def _translated(name: str, prefixes: Mapping[str, str]) -> str:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        head = ".".join(parts[:count])
        if head in prefixes:
            return ".".join([part for part in (prefixes[head], *parts[count:]) if part])
    return name
