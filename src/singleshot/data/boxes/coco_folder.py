"""Where things lie in a COCO data set: the JSON file of a split, and the pictures that it names.

There is no one layout. COCO itself has `annotations/instances_train2017.json` beside `train2017/`; exports of
annotation tools have `train/_annotations.coco.json` among the pictures, or a single file. All of these are tried, in
a fixed order, and a picture is only ever looked up below the data set's folder: a file name that leads out of it is
refused by the reader.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from singleshot.data.boxes.voc_folder import link_fault
from singleshot.errors import Fault, InputMissingError, NotPermittedError

TOOL_FILE = "_annotations.coco.json"
_PREFIX = re.compile(r"(?:instances|image_info|annotations)_", re.IGNORECASE)
_YEAR = re.compile(r"(?:-dev)?[0-9]{4}$")


def split_files(root: Path) -> dict[str, Path]:
    """The JSON file of each split by the split's name, such as `train2017`; {} where nothing looks like COCO.

    A root that is a JSON file itself is its only split, under the file's own name. Names come from file names alone:
    nothing is opened.

    Raises NotPermittedError where a folder may not be listed.
    """
    if root.suffix.lower() == ".json" and root.is_file():
        return {root.stem: root}
    try:
        found = {path.parent.name: path for path in sorted(root.glob(f"*/{TOOL_FILE}"))}
        if (root / TOOL_FILE).is_file():
            found.setdefault(root.name, root / TOOL_FILE)
        for path in sorted(root.glob("annotations/*.json")):
            if not path.name.startswith(("captions_", "person_keypoints_", "panoptic_", "stuff_")):
                found.setdefault(_PREFIX.sub("", path.stem, count=1), path)
    except PermissionError as error:
        raise NotPermittedError("may not be read", remedy="Change its permissions", file=root) from error
    return found


def split_file(root: Path, split: str) -> Path:
    """The JSON file of a split. `train` stands for `train2017` too, where there is one such year only.

    Where `root` is a JSON file, it is that file, whatever the split is called.

    Raises InputMissingError, with the names that there are.
    """
    files = split_files(root)
    if root.is_file() and files:
        return root
    if split in files:
        return files[split]
    if (root / f"{split}.json").is_file():
        return root / f"{split}.json"
    years = [name for name in files if _YEAR.sub("", name) == split]
    if len(years) == 1:
        return files[years[0]]
    if not root.is_dir():
        raise InputMissingError("no such folder or JSON file", remedy="Name a data set in COCO layout", file=root)
    there = f"There are: {', '.join(files)}" if files else "A COCO folder holds annotations/instances_<split>.json"
    raise InputMissingError(f"no split {split!r}", remedy=there, file=root)


def picture_folders(root: Path, json_file: Path) -> list[Path]:
    """The folders in which a split's pictures may lie, the likeliest first; only those that there are."""
    top = root if root.is_dir() else root.parent
    name = _PREFIX.sub("", json_file.stem, count=1)
    short = _YEAR.sub("", name)
    places = [
        *([json_file.parent] if json_file.name == TOOL_FILE else []),
        *(top / folder / each for each in (name, short) for folder in ("", "images")),
        top / "images",
        json_file.parent,
        top,
    ]
    return list(dict.fromkeys(place for place in places if place.is_dir()))


class Pictures:
    """Looks pictures up by the names that a JSON file has for them; each folder is listed once.

    Args:
        folders: where to look, the likeliest first.
        top: the data set's folder.

    Links that lead out of it or nowhere are not used; those that were asked for are in `faults`.
    """

    def __init__(self, folders: list[Path], top: Path) -> None:
        self._folders, self._top = folders, top.resolve()
        self._names: dict[Path, dict[str, Fault | None]] = {}
        self.faults: list[Fault] = []

    def find(self, file_name: str) -> Path | None:
        """The file, or None where there is none in any of the folders."""
        parent, _, base = file_name.rpartition("/")
        for folder in self._folders:
            inside = folder / parent if parent else folder
            if inside not in self._names:
                self._names[inside] = dict(self._files(inside))
            names = self._names[inside]
            if base in names:
                fault = names[base]
                if fault is None:
                    return inside / base
                self.faults += [] if fault in self.faults[-1:] else [fault]
        return None

    def _files(self, folder: Path) -> Iterator[tuple[str, Fault | None]]:
        """The files of a folder by name, each with what is wrong with it as a link."""
        outside = None if folder.resolve().is_relative_to(self._top) else link_fault(folder, self._top)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.is_dir():
                        link = outside is None and entry.is_symlink()
                        yield entry.name, link_fault(Path(entry.path), self._top) if link else outside
        except PermissionError as error:
            raise NotPermittedError("may not be read", remedy="Change its permissions", file=folder) from error
        except OSError:  # no such folder: a name in the JSON led nowhere
            return
