"""The size of a model in each of its forms: checkpoint, weights, each export.

The 2017 post froze a checkpoint of 1.3 GB, with the optimizer's state and the graph as text, into a graph of 100 MB.
The same table for our models shows what each form costs in storage and transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

EXPORTS = (".pt2", ".onnx", ".xml", ".param", ".tflite")
BESIDE = {".xml": (".bin",), ".param": (".bin", ".json"), ".tflite": (".json",)}
"""What lies beside an export, by its suffix."""


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that make up an export: an `.xml` has its `.bin` beside it, an `.ncnn.param` two more."""
    return (path, *(path.with_suffix(suffix) for suffix in BESIDE.get(path.suffix.lower(), ())))


def size_bytes(path: Path) -> int:
    """Bytes of an export, of a file, or of all files in a folder; 0 for what is not there."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return sum(each.stat().st_size for each in files_of(path) if each.is_file())


def checkpoint_of(weights: Path) -> Path | None:
    """The newest checkpoint of the run that weights belong to: in `checkpoints/` beside them; None without one."""
    folder = weights.parent / "checkpoints"
    found = [each for each in folder.iterdir() if not each.name.startswith(".")] if folder.is_dir() else []
    return max(found, key=lambda each: each.stat().st_mtime, default=None)


def exports_of(weights: Path) -> list[Path]:
    """The exports beside weights that have their name: `best.onnx`, `best-int8.xml`, `best.ncnn.param`."""
    found = sorted(each for each in weights.parent.iterdir() if each.suffix.lower() in EXPORTS)
    stems = [(each, each.name[: -len(each.suffix)].removesuffix(".ncnn")) for each in found]
    return [each for each, stem in stems if stem == weights.stem or stem.startswith(f"{weights.stem}-")]


def size_table(weights: Path, exports: Sequence[Path]) -> str:
    """One line a form: its size in MB (10⁶ bytes) and against the weights. `exports` come first, then others there."""
    checkpoint = checkpoint_of(weights)
    rows = [("checkpoint", checkpoint)] if checkpoint is not None else []
    shown = dict.fromkeys([*exports, *exports_of(weights)])
    rows += [("weights", weights), *((f"export {each.suffix}", each) for each in shown)]
    whole = max(size_bytes(weights), 1)
    lines = [f"{'size':16}{'MB':>9}   of the weights"]
    for name, path in rows:
        size = size_bytes(path)
        lines.append(f"{name:16}{size / 1e6:9.2f}   {size / whole:6.1%}   {path.name}")
    return "\n".join(lines)
