"""Where the files of one `singleshot predict` go, decided and checked before any work is done."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singleshot.cli import outputs
from singleshot.errors import CannotCreateError, UsageError
from singleshot.prediction import annotations
from singleshot.prediction.annotations import KINDS
from singleshot.prediction.line_file import partial
from singleshot.prediction.sources import Sources
from singleshot.storage import atomic

JSON_KEYS = ("pictures", "videos")
OF_THEIR_OWN = ("voc", "yolo")
"""The kinds that have a file for each picture."""


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

    def write_json(self, facts: Mapping[str, Any]) -> None:
        """Write the `--json` file, if it was asked for. Raises StorageError where that fails."""
        if self.json_file is not None:
            atomic.write_text(self.json_file, json.dumps(facts, indent=2) + "\n")


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
        pictures = annotations.targets(found.images, out)
        videos |= annotations.targets(found.videos, out, suffix=".mp4")
        videos |= {index: out / f"camera_{index}.mp4" for index in found.cameras}
    made = [out / KINDS[kind][1] for kind in kinds] if out is not None else []
    lists = [path for path in made if path.suffix]
    inputs = [weights, *found.images, *found.videos]
    unfinished = [partial(path) for path in (*videos.values(), *lists)]
    targets = [*pictures.values(), *videos.values(), *lists, *unfinished]
    outputs.check(*targets, json_file=json_file, json_keys=JSON_KEYS, inputs=inputs, overwrite=overwrite)
    if any(kind in OF_THEIR_OWN for kind in kinds):
        _check_names(pictures, videos, reserved="classes" if "yolo" in kinds else None)
    for folder in (path for path in made if not path.suffix):
        outputs.check_folder(folder)
        if not overwrite and folder.is_dir() and any(folder.iterdir()):
            raise CannotCreateError("already has files", remedy="Choose another --out or pass --overwrite", file=folder)
    return Plan(pictures, videos, tuple(kinds), out, json_file)


def _check_names(pictures: Mapping[Path, Path], videos: Mapping[Path | int, Path], *, reserved: str | None) -> None:
    """Refuse two things whose annotations would be one file. Those of a frame are called `<video>_000012`."""
    taken: dict[str, Path] = {}
    films = {copy.stem for copy in videos.values()}
    for picture, copy in pictures.items():
        name, frame = copy.stem, re.fullmatch(r"(.*)_\d{6,}", copy.stem)
        what = None
        if name == reserved:
            what = f"its annotations would take the place of {name}.txt, the list of classes"
        elif name in taken:
            what = f"its annotations would have the name of those of {taken[name]}"
        elif frame and frame[1] in films:
            what = f"its annotations would have the name of a frame's of {frame[1]}"
        if what:
            raise UsageError(what, remedy="Rename it, or predict it in a run of its own", file=picture)
        taken[name] = picture
