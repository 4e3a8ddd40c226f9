"""YOLO data sets without a `data.yaml`: darknet's `obj.data`, or class names in a text file beside images and labels.

    obj.data, obj.names, train.txt, obj_train_data/     CVAT's YOLO 1.1, darknet; both may have another name (voc.data)
    classes.txt, notes.json, images/, labels/           Label Studio
    train/a.jpg, train/a.txt, train/classes.txt         labelImg, makesense; `_darknet.labels` of Roboflow

The splits are those of `obj.data`, or else those that folders name (see `data.tree`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from singleshot.data import folders, tree
from singleshot.data.boxes.fields import is_text, read_json
from singleshot.data.boxes.yolo_yaml import Description
from singleshot.errors import ConfigError, DataError, SingleshotError
from singleshot.images import IMAGE_SUFFIXES
from singleshot.storage.files import file_bytes

NAMES_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "classes.names", "notes.json")
MAX_BYTES = 2**20
MAX_PROBED = 2000
_SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}


def find(root: Path) -> Path | None:
    """Return the file that describes a data set: `obj.data`, or class names where images have labels; or None."""
    if not root.is_dir():
        return None
    data = next(_data_files(root), None)
    if data is not None:
        return data
    names = next(_names_files(root), None)
    return names if names is not None and _has_labels(root) else None


def _data_files(root: Path) -> Iterator[Path]:
    """Yield the descriptions of darknet in a folder and its `data`: `obj.data`, and others that name their classes."""
    for folder in (root, root / "data"):
        found = [path for path in folders.files_in(folder) if path.suffix == ".data"]
        yield from sorted((path for path in found if _is_data(path)), key=lambda path: path.name != "obj.data")


def _is_data(file: Path) -> bool:
    try:
        return file.name == "obj.data" or bool(re.search(rb"(?m)^\s*names\s*=", file_bytes(file, MAX_BYTES)))
    except SingleshotError:
        return False


def _names_files(root: Path) -> Iterator[Path]:
    """Yield the files of class names in a folder and in those in it."""
    inside = folders.subfolders(root)
    with contextlib.suppress(OSError):
        inside = inside + [path / "labels" for path in inside if (path / "labels").is_dir()]
    for folder in [root, *inside]:
        yield from (folder / name for name in NAMES_FILES if (folder / name).is_file())


def _has_labels(root: Path) -> bool:
    """Return whether one of the first text files is a label file of an image: numbers, at least five a line.

    Where all of them are empty, they are label files without objects.
    """
    images, texts = set[str](), list[Path]()
    for path in tree.probe(root, MAX_PROBED, of_each=100):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.add(path.stem)
        elif path.suffix == ".txt" and path.name not in NAMES_FILES:
            texts.append(path)
    of_images = [each for each in texts if each.stem in images][:20]
    empty = 0
    for path in of_images:
        try:
            columns = file_bytes(path, MAX_BYTES).split(b"\n", 1)[0].split()
            if len(columns) >= 5 and [float(column) for column in columns]:
                return True
        except DataError as error:
            empty += error.kind == "empty-file"
        except (SingleshotError, ValueError):
            continue
    return 0 < empty == len(of_images)


def describe(file: Path, root: Path) -> Description:
    """Return what the file that `find` found says.

    Raises:
        ConfigError: it names no classes, one twice, or a list that does not exist, with its line.
        InputMissingError, NotPermittedError: a file may not be read, or there is none.
    """
    if file.suffix == ".data":
        return _of_data(file, root)
    names = read_names(file)
    for other in _names_files(root):
        if other.suffix != ".json" and read_names(other) != names:
            remedy = "Make them equal, or delete one"
            raise ConfigError(f"its classes are not those of {file.relative_to(root)}", remedy=remedy, file=other)
    splits = _folders(root)
    return Description(file, "", splits, dict.fromkeys(splits, 1), names, (), folder=root)


def _of_data(file: Path, root: Path) -> Description:
    """Read darknet's `obj.data`: lines `key = value`; its paths are those of another machine as often as not."""
    values: dict[str, tuple[str, int]] = {}
    for line, text in _lines(file):
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not value:
            raise ConfigError(f"{text[:40]!r} is not key = value", remedy="Correct it", file=file, line=line)
        values[key] = value, line
    names_text, line = values.get("names", ("obj.names", 1))
    names_file = _end(names_text, file, root)
    if names_file is None:
        raise ConfigError(f"{names_text} does not exist", remedy="Add it", file=file, line=line)
    splits: dict[str, tuple[str, ...]] = {}
    lines: dict[str, int] = {}
    for key, split in _SPLITS.items():
        if key in values:
            text, line = values[key]
            found = _end(text, file, root)
            splits[split] = (text if found is None else found.relative_to(root).as_posix(),)
            lines[split] = line
    if not any(folders.exists(root / text) for (text,) in splits.values()):  # an export without lists of its images
        splits = _folders(root)
        lines = dict.fromkeys(splits, 1)
    return Description(file, "", splits, lines, read_names(names_file), (), folder=root)


def _end(text: str, file: Path, root: Path) -> Path | None:
    """Return the longest end of a path that exists beside a file or below the root."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    ends = [base.joinpath(*parts[start:]) for start in range(len(parts)) for base in (root, file.parent)]
    return next((path for path in ends if folders.is_file(path)), None)


def read_names(file: Path) -> tuple[str, ...]:
    """Read class names: one a line, or the `categories` of Label Studio's `notes.json`.

    Raises ConfigError where there is none, a blank one between others, or one twice, with its line.
    """
    if file.suffix == ".json":
        content = read_json(file, max_bytes=MAX_BYTES)
        rows = content.get("categories") if isinstance(content, dict) else None
        rows = [row.get("name") if isinstance(row, dict) else None for row in rows] if isinstance(rows, list) else []
        if not rows or not all(is_text(name) for name in rows) or len(set(rows)) != len(rows):
            raise ConfigError("no list `categories` of different names", remedy="Write classes.txt", file=file)
        return tuple(map(str, rows))
    names: dict[str, int] = {}
    for line, text in _lines(file):
        if text in names:
            message = f"class {text!r} is already in line {names[text]}"
            raise ConfigError(message, remedy="Give every class one name", file=file, line=line)
        if line != len(names) + 1:
            raise ConfigError("a blank line before a class", remedy="Write a name in every line", file=file, line=line)
        names[text] = line
    if not names:
        raise ConfigError("no class names", remedy="Write one a line", file=file, line=1)
    return tuple(names)


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank, stripped, with their numbers. Raises ConfigError for another encoding."""
    try:
        text = file_bytes(file, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("not UTF-8 text", remedy="Save it as UTF-8", file=file) from error
    except DataError as error:
        raise ConfigError(error.message, remedy=error.remedy, file=file) from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _folders(root: Path) -> dict[str, tuple[str, ...]]:
    """Return by split the uppermost folders of its images, relative to the root."""
    found: dict[str, set[Path]] = {}
    for image in tree.read_tree(root, ".txt").images:
        found.setdefault(tree.split_and_name(image, root)[0], set()).add(image.parent)
    return {
        split: tuple(
            folder.relative_to(root).as_posix()
            for folder in sorted(found[split])
            if not any(parent in found[split] for parent in folder.parents)
        )
        for split in tree.ORDER
        if split in found
    }
