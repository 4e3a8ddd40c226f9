"""From another project's names to ours: a table of prefixes, and a strict check that every tensor found its place.

Networks of the same layers differ in what they call them. A format is then nothing but pairs of prefixes; a tensor
that is missing, left over or of another shape means another network, and is named by the name that its file has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from singleshot.errors import DataError

SHOWN = 5


def renamed(
    tensors: Mapping[str, Tensor],
    prefixes: Mapping[str, str],
    wanted: Mapping[str, Tensor],
    path: Path,
    ignored: Sequence[str] = (),
) -> dict[str, Tensor]:
    """The tensors under our names, all that are wanted and no other.

    Args:
        tensors: by the file's names.
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
    theirs = {ours: _translated(ours, prefixes) for ours in wanted}
    expected = set(theirs.values())
    wrong = [f"{name} is missing" for name in theirs.values() if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in expected and not name.startswith(tuple(ignored))]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)} and not {tuple(wanted[ours].shape)}"
        for ours, name in theirs.items()
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
    return {ours: tensors[name] for ours, name in theirs.items()}


def _translated(name: str, prefixes: Mapping[str, str]) -> str:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        head = ".".join(parts[:count])
        if head in prefixes:
            return ".".join([part for part in (prefixes[head], *parts[count:]) if part])
    return name
