"""Where the files of one `singleshot predict` go, decided and checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from singleshot.cli import outputs
from singleshot.errors import CannotCreateError, UsageError
from singleshot.prediction import sinks
from singleshot.prediction.annotation_files import KINDS
from singleshot.prediction.line_file import partial
from singleshot.prediction.sources import Sources

JSON_KEYS = ("threshold", "pictures")


@dataclass(frozen=True)
class Plan:
    """Where everything goes.

    Args:
        pictures: the drawn copy of each picture; empty where none are asked for.
        videos: the drawn copy of each video (its path) and camera (its number).
        kinds: what `--save` asks for.
        out: the folder of all of them.
        json_file: the `--json` file.
    """

    pictures: Mapping[Path, Path]
    videos: Mapping[Path | int, Path]
    kinds: tuple[str, ...]
    out: Path | None
    json_file: Path | None

    def names(self) -> dict[Path, str]:
        """What files about single pictures are called: as their copies, so that two of one stem stay two."""
        return {picture: copy.stem for picture, copy in self.pictures.items()}


def plan(
    found: Sources,
    *,
    weights: Path,
    out: Path | None,
    kinds: Sequence[str] = (),
    json_file: Path | None = None,
    overwrite: bool = False,
) -> Plan:
    """Decide, and refuse what cannot be written or would cover something up. Nothing is made.

    Raises:
        UsageError: files to save and no folder, an output that is an input, or two of one name.
        CannotCreateError: something is there already, and `overwrite` was not said.
        NotPermittedError: the file system would not let it be written.
    """
    if kinds and out is None:
        raise UsageError("--save needs a folder", remedy="Give --out DIR")
    pictures: dict[Path, Path] = {}
    videos: dict[Path | int, Path] = {}
    if out is not None:
        pictures = sinks.targets(found.pictures, out)
        videos |= sinks.targets(found.videos, out, suffix=".mp4")
        videos |= {index: out / f"camera_{index}.mp4" for index in found.cameras}
    made = [out / KINDS[kind][1] for kind in kinds] if out is not None else []
    lists = [path for path in made if path.suffix]
    inputs = [weights, *found.pictures, *found.videos]
    unfinished = [partial(path) for path in (*videos.values(), *lists)]
    targets = [*pictures.values(), *videos.values(), *lists, *unfinished]
    outputs.check(*targets, inputs=inputs, overwrite=overwrite)
    for folder in (path for path in made if not path.suffix):
        outputs.check_folder(folder)
        if not overwrite and folder.is_dir() and any(folder.iterdir()):
            raise CannotCreateError("already has files", remedy="Choose another --out or pass --overwrite", file=folder)
    outputs.check(json_file=json_file, json_keys=JSON_KEYS, inputs=inputs, reserved=targets, overwrite=overwrite)
    return Plan(pictures, videos, tuple(kinds), out, json_file)
