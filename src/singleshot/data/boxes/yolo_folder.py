"""Where things lie in a YOLO data set: its `data.yaml`, the pictures of a split, the labels of a picture.

`data.yaml` is written for the machine and the folder that it was made on, so its paths are tried as they stand and
then from the data set's own folder: an export whose `train: ../train/images` lies beside it is found all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from singleshot.data.boxes import yolo_yaml
from singleshot.data.boxes.voc_folder import link_fault
from singleshot.data.boxes.yolo_yaml import SPLITS, Description
from singleshot.errors import DataError, Fault, InputMissingError, NotPermittedError
from singleshot.images import IMAGE_SUFFIXES
from singleshot.storage.files import file_bytes

MAX_LIST_BYTES = 256 * 2**20
IMAGES, LABELS = "images", "labels"


def yaml_file(root: Path) -> Path | None:
    """The description of a data set: `data.yaml`, or the only other YAML file of the folder; None where there is none.

    Raises NotPermittedError where the folder may not be listed.
    """
    if root.is_file():
        return root if root.suffix.lower() in (".yaml", ".yml") else None
    try:
        inside = sorted(root.iterdir()) if root.is_dir() else []
    except PermissionError as error:
        raise NotPermittedError("may not be read", remedy="Change its permissions", file=root) from error
    files = [path for path in inside if path.suffix.lower() in (".yaml", ".yml") and not path.name.startswith(".")]
    named = [path for path in files if path.stem in ("data", "dataset")]
    return named[0] if named else files[0] if len(files) == 1 else None


def locate(root: Path) -> Description:
    """The description of the data set in a folder. Raises InputMissingError where there is none."""
    file = yaml_file(root)
    if file is None:
        what = "no data.yaml" if root.is_dir() else "no such folder or data.yaml"
        remedy = "A YOLO data set has one, with names, train and val"
        raise InputMissingError(what, remedy=remedy, file=root)
    return yolo_yaml.read(file)


def split_sources(description: Description, split: str) -> list[Path]:
    """The folders of pictures, and the lists of pictures, that make up a split.

    Raises InputMissingError: no such split, or one of them is not there.
    """
    if split not in description.splits:
        there = f"There are: {', '.join(description.splits)}" if description.splits else "It names none"
        raise InputMissingError(f"no split {split!r}", remedy=there, file=description.file)
    top = description.file.parent
    found = []
    for text in description.splits[split]:
        inside = text.replace("\\", "/")
        while inside.startswith("../"):
            inside = inside.removeprefix("../")
        tries = [
            top / description.base / text,
            top / text,
            top / inside,
            *(top / folder for folder in (f"{split}/{IMAGES}", f"{IMAGES}/{split}")),
        ]
        place = next((path for path in tries if path.exists()), None)
        if place is None:
            raise InputMissingError(
                f"the pictures of {split!r} are not there: {text}",
                remedy="Correct the path; it is relative to path, or to the file's own folder",
                file=description.file,
                line=description.lines[split],
            )
        found.append(place)
    return found


def split_names(description: Description) -> list[str]:
    """The splits that the description names, in the usual order."""
    return [name for name in SPLITS if name in description.splits]


def picture_files(sources: Sequence[Path], top: Path, faults: list[Fault]) -> Iterator[Path]:
    """The pictures of some folders, sorted by name, and of some lists, in their order.

    Args:
        sources: the folders and lists.
        top: the data set's folder. A link in a source that leads out of both is named and not followed.
        faults: get what is wrong on the way: links, and a picture that a list names twice (a warning with the line),
            which is given once.
    """
    for source in sources:
        if source.is_dir():
            inside = source.resolve()
            whole = top.resolve() if inside.is_relative_to(top.resolve()) else inside
            yield from sorted(_walk(source, whole, faults))
            continue
        first: dict[Path, int] = {}
        for number, name, path in _rows(source):
            if first.setdefault(path, number) != number:
                what = f"{name} is already in line {first[path]}; it is used once. Delete this line."
                faults.append(Fault(source, number, "duplicate-id", "warning", what))
                continue
            yield path


def listed(source: Path) -> Iterator[Path]:
    """The pictures that a list names."""
    return (path for _, _, path in _rows(source))


def label_file(picture: Path, top: Path) -> Path:
    """The labels of a picture: the first of `label_files` that is there, or where they would be."""
    places = label_files(picture, top)
    return next((path for path in places if path.exists()), places[0])


def label_files(picture: Path, top: Path) -> list[Path]:
    """Where the labels of a picture may lie: in `labels` for the last `images` of its path, then beside it.

    Args:
        picture: its path.
        top: the data set's folder; a folder `images` above it is none of ours.

    >>> top = Path("images/data")
    >>> [path.as_posix() for path in label_files(top / "images/val/a.jpg", top)]
    ['images/data/labels/val/a.txt', 'images/data/images/val/a.txt']
    >>> [path.as_posix() for path in label_files(top / "val/a.jpg", top)]
    ['images/data/val/a.txt']
    """
    folders = dict.fromkeys((labels_folder(picture.parent, top), picture.parent))
    return [folder / f"{picture.stem}.txt" for folder in folders]


def labels_folder(pictures: Path, top: Path) -> Path:
    """The folder of labels that goes with a folder of pictures: the same one where no part is called `images`."""
    base = top if pictures.is_relative_to(top) else Path()
    parts = list(pictures.relative_to(base).parts)
    if IMAGES not in parts:
        return pictures
    parts[len(parts) - 1 - parts[::-1].index(IMAGES)] = LABELS
    return base.joinpath(*parts)


def _walk(folder: Path, top: Path, faults: list[Fault]) -> Iterator[Path]:
    """Pictures below a folder. Links to folders are not followed, so that nothing is walked for ever."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = Path(entry.path)
                is_picture = entry.name.lower().endswith(IMAGE_SUFFIXES)
                if entry.is_symlink() and (is_picture or entry.is_dir()):
                    fault = link_fault(path, top)
                    if fault is None and entry.is_dir():
                        what = "a link to a folder, which is not followed. Name that folder in data.yaml."
                        fault = Fault(path, None, "linked-folder", "warning", what)
                    if fault is not None:
                        faults.append(fault)
                        continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(path, top, faults)
                elif is_picture:
                    yield path
    except PermissionError as error:
        raise NotPermittedError("may not be read", remedy="Change its permissions", file=folder) from error


def _rows(source: Path) -> Iterator[tuple[int, str, Path]]:
    """The lines of a list of pictures: 1-based number, text and path."""
    for number, line in enumerate(_list_text(source).split("\n"), start=1):
        name = line.strip()
        if name and "\0" not in name:
            yield number, name, Path(name) if name.startswith("/") else source.parent / name.removeprefix("./")


def _list_text(file: Path) -> str:
    try:
        return file_bytes(file, MAX_LIST_BYTES).decode("utf-8-sig", "surrogateescape")
    except DataError as error:
        if error.kind == "empty-file":
            return ""
        raise
