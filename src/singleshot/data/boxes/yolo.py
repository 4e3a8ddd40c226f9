"""YOLO's text files (`class x y width height` a line) with their `data.yaml`, read and written.

Numbers are fractions of the image, x and y those of the box's centre: continuous, so the box's edges in pixels are
(x ∓ width / 2) · W and (y ∓ height / 2) · H. The labels of `…/images/a.jpg` are `…/labels/a.txt`, or lie beside the
image. An image without labels is a background image: that is YOLO's rule, and such images are counted in a note.
A line with the corners of an outline instead of a box gives the box around it; in a data set of poses (`kpt_shape`)
keypoints follow the box and are not read. The format has no image sizes, so every image's header is read.

`data.yaml` is written for the machine and the folder that it was made on, so its paths are tried as they are written
and then from the data set's own folder: an export whose `train: ../train/images` lies beside it is found, and so are
backslashes, the drives and absolute paths of another machine, paths that begin with the project's name, and
`valid/images` for `val`. A path that was not found as written has a note (`moved-path`). The same holds for the lines
of a list. Both may name files outside the data set's folder: that is usual in this format, and only images and their
labels are read there (a note, `outside-folder`).

Every fault has its file and line; a faulty box never reaches a sample. Format: the YOLO v5 and later documentation.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from singleshot import boxes
from singleshot.data import folders
from singleshot.data import splits as split_lists
from singleshot.data.boxes import yolo_names, yolo_yaml
from singleshot.data.boxes.check_box import LEFT_OUT, USABLE, check_box
from singleshot.data.boxes.class_names import unknown_class, variant_faults
from singleshot.data.boxes.coordinates import other_kind, without_boxes
from singleshot.data.boxes.writing import Item, crowd_count, has_own_areas, make_folders, note, outline_note, split_name
from singleshot.data.boxes.yolo_yaml import SPLITS, Description
from singleshot.data.faults import make_fault
from singleshot.data.orientation import image_size
from singleshot.data.tree import ALL
from singleshot.errors import DataError, Fault, InputMissingError, UsageError, os_errors
from singleshot.images import IMAGE_SUFFIXES
from singleshot.storage.files import file_bytes
from singleshot.structures import Dataset, LabelMap, Sample

MAX_LABEL_BYTES = 10 * 2**20
IMAGES, LABELS = "images", "labels"
ALIASES = {"val": ("valid", "validation"), "test": ("testing",), "train": ("training",)}
"""Other names of the splits: in folders, and on the command line."""
Box = tuple[float, float, float, float]
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,9}\.?[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_CLASS = re.compile(r"\+?[0-9]{1,6}(?:\.0{0,30})?|\+?[0-9]\.[0-9]{0,30}[eE]\+?0?[0-5]", re.ASCII)


# ---- Reading


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None, annotated: bool = True) -> Dataset:
    """Read one split of a data set in YOLO's format, in the order of file names (or of the list of images).

    Args:
        root: the folder with a `data.yaml`, or that file.
        split: `train`, `val` or `test`, as `data.yaml` names them.
        label_map: the classes and their order. Where None, those of `data.yaml`. A class that it does not have is a
            fault where it is used.
        annotated: False for images without labels.

    Returns:
        Samples with float64 boxes; `box_places` are lines of `annotation_path`. Kinds of fault: `bad-line`,
        `unknown-class`, `missing-picture`, `duplicate-id`, `label-without-picture`, `linked-folder` (warnings),
        `unlabelled` (a note, but a warning where no image has labels), `unknown-key` (a note), `class-variants`, and
        those of `folders.link_fault`, `check_box` and `images`.

    Raises:
        InputMissingError: no such folder, `data.yaml`, split, or folder of images.
        ConfigError: `data.yaml` is wrong, with its line.
        DataError: there is no image (`empty-split`).
        NotPermittedError: a folder or file may not be read.
    """
    root = Path(root)
    description = describe(root)
    top = description.top
    faults = list(description.faults) + variant_faults(description.names, description.file)
    label_map = label_map or LabelMap(description.names)
    located = _sources_and_notes(description, split)
    images = [path for path, _ in located]
    faults += [fault for _, fault in located if fault is not None]
    paths, source_faults, lines = _image_files(images, description)
    faults += source_faults
    if not paths:
        raise DataError("0 images in the split", kind="empty-split", remedy="Add images", file=images[0])
    class_ids = {name: class_id for class_id, name in enumerate(label_map.names)}
    samples: list[Sample] = []
    every_box: list[Box] = []
    first: tuple[Path, int] | None = None
    unlabelled = outlines = 0
    unique_stems = len({path.stem for path in paths}) == len(paths)
    for path in paths:
        image_id = path.stem if unique_stems else path.as_posix().lstrip("/")
        labels = label_file(path, top)
        try:
            size_hw, turned = image_size(path, None)
            text = _text(labels) if annotated else ""
        except DataError as error:
            faults.append(error.as_fault())
            continue
        except InputMissingError:
            file, line = lines.get(path, (path, None))
            message = "no such image" if line is None else f"no such image: {path}"
            faults.append(make_fault("missing-picture", message, file, line, remedy="Add it or delete its line"))
            continue
        faults += [] if turned is None or not annotated else [turned]
        unlabelled += text is None
        if description.keypoint_numbers is None:
            outlines += sum(len(line.split()) > 6 for line in (text or "").split("\n"))
        sample, written, box_faults = _sample(image_id, path, size_hw, labels, text or "", description, class_ids)
        samples.append(sample)
        every_box += [box for _, box in written]
        first = first or (labels, written[0][0]) if written else first
        faults += box_faults
    kind = other_kind(_centred(every_box), np.ones((1, 2)), "cxcywh fractions")
    if kind is not None and first is not None and not any(fault.kind == "other-coordinates" for fault in faults):
        faults = [fault for fault in faults if fault.kind not in (*USABLE, *LEFT_OUT)]
        message = f"most of the {len(every_box)} boxes of {split} look like {kind}"
        faults.append(make_fault("other-coordinates", message, *first))
        samples = [without_boxes(sample) for sample in samples]
    if unlabelled and annotated:
        message = f"{unlabelled} of {len(paths)} images have no labels; they are background images"
        severity = "warning" if unlabelled == len(samples) else "note"
        faults.append(make_fault("unlabelled", message, images[0], severity=severity))
    if annotated and all(source.is_dir() for source in images):  # a list may leave out what it likes
        faults += _labels_without_image(paths, top)
    return Dataset(root, "yolo", split, label_map, tuple(samples), tuple(faults), outlines=outlines)


def _sample(
    image_id: str,
    path: Path,
    size_hw: tuple[int, int],
    labels: Path,
    text: str,
    description: Description,
    class_ids: dict[str, int],
) -> tuple[Sample, list[tuple[int, Box]], list[Fault]]:
    """Return an image with the boxes of its label file that can be used, all boxes with their lines, and faults.

    Boxes are edges as fractions of the image; where most of them are of another kind, none can be used.
    """
    found: list[tuple[int, int, Box, str]] = []
    faults: list[Fault] = []
    for line, line_text in enumerate(text.split("\n"), start=1):
        columns = line_text.split()
        if not columns:
            continue
        parsed = _parse(columns, description, class_ids)
        if isinstance(parsed, _BadLine):
            faults.append(make_fault(parsed.kind, parsed.message, labels, line, remedy=parsed.remedy))
            continue
        more = " …" if len(columns) > 5 else ""
        shown = f"box ({' '.join(columns[1:5])}{more}) of class {description.names[int(float(columns[0]))]!r}"
        found.append((line, *parsed, shown))
    written = [(line, box) for line, _, box, _ in found]
    kind = other_kind(_centred([box for _, box in written]), np.ones((1, 2)), "cxcywh fractions")
    if kind is not None and kind.startswith("pixels"):  # the rest is decided by all files
        message = f"most of its {len(found)} boxes look like {kind}"
        faults.append(make_fault("other-coordinates", message, labels, found[0][0]))
        found = []
    rows, used_ids, lines = [], [], []
    for line, class_id, (left, top, right, bottom), shown in found:
        box_xyxy = (left * size_hw[1], top * size_hw[0], right * size_hw[1], bottom * size_hw[0])
        fault = check_box(box_xyxy, size_hw)
        if fault is not None:
            faults.append(make_fault(fault.kind, f"{shown} {fault.message}", labels, line))
        if fault is None or fault.kind in USABLE:
            rows.append(box_xyxy)
            used_ids.append(class_id)
            lines.append(line)
    return (
        Sample(
            image_id,
            path,
            size_hw,
            boxes.clip(np.array(rows, np.float64).reshape(-1, 4), size_hw),
            np.array(used_ids, np.int64),
            np.zeros(len(rows), np.bool_),
            annotation_path=labels,
            box_places=np.array(lines, np.int64),
        ),
        written,
        sorted(faults, key=lambda fault: fault.line or 0),
    )


def _centred(edges: list[Box]) -> Float[ndarray, "N 4"]:
    """Return boxes as the numbers of their lines: centres and sizes."""
    return boxes.xyxy_to_cxcywh(np.array(edges, np.float64).reshape(-1, 4))


class _BadLine(NamedTuple):
    kind: str
    message: str
    remedy: str | None = None


def _parse(columns: list[str], description: Description, class_ids: dict[str, int]) -> tuple[int, Box] | _BadLine:
    """Return the class id and the edges of one line, as fractions of the image, or what is wrong with it."""
    first, *rest = columns
    keypoints = description.keypoint_numbers
    is_outline = keypoints is None and len(rest) >= 6 and len(rest) % 2 == 0
    is_class = bool(_CLASS.fullmatch(first)) and float(first) % 1 == 0
    if not is_class or not (len(rest) == 4 + (keypoints or 0) or is_outline):
        found = f"{len(columns)} columns" if is_class else f"the class is {first[:40]!r}"
        points = "" if keypoints is None else f" and {keypoints} numbers of keypoints"
        return _BadLine("bad-line", f"{found} and not a line `class x y width height`{points}")
    bad = next((column for column in rest if not _NUMBER.fullmatch(column)), None)
    if bad is not None:
        return _BadLine("not-a-number", f"{bad[:40]!r} is not a number", "Write plain digits such as 0.48")
    number, names = int(float(first)), description.names
    if number >= len(names):
        remedy = f"Correct it or add its name to {description.file.name}"
        return _BadLine("unknown-class", f"class {number} is none of 0 … {len(names) - 1}", remedy)
    class_id = class_ids.get(names[number])
    if class_id is None:
        return _BadLine("unknown-class", unknown_class(names[number], tuple(class_ids)))
    numbers = [float(column) for column in rest]
    if is_outline:
        xs, ys = numbers[::2], numbers[1::2]
        return class_id, (min(xs), min(ys), max(xs), max(ys))
    x, y, width, height = numbers[:4]
    return class_id, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _text(labels: Path) -> str | None:
    """Read a label file; None where there is none. An empty one is that of an image without objects."""
    try:
        return file_bytes(labels, MAX_LABEL_BYTES).decode("utf-8-sig")
    except InputMissingError:
        return None
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text", kind="not-text", remedy="Write it anew", file=labels, line=1) from error
    except DataError as error:
        if error.kind == "empty-file":
            return ""
        raise


def _labels_without_image(paths: list[Path], top: Path) -> Iterator[Fault]:
    """Yield a warning for each label file without an image, in the folders of the images' labels."""
    known = {file for path in paths for file in label_files(path, top)}
    for folder in sorted({path.parent for path in known if path.parent.name != IMAGES}):
        if any(path.parent == folder for path in paths):
            continue  # labels beside images: other text files there are not faults
        for path in folders.matching(folder, "*.txt"):
            if path not in known and path.name not in yolo_names.NAMES_FILES:
                yield make_fault("label-without-picture", "labels without an image in this split", path)


# ---- Folders


def fits(root: Path) -> bool:
    """Return whether a folder has a `data.yaml` or what stands for it, see `described_by`, or is such a file."""
    return described_by(root) is not None


def described_by(root: Path) -> Path | None:
    """Return `data.yaml`, or another YAML file with class names, or what `yolo_names` knows, or None."""
    file = yaml_file(root)
    if file is not None and file.stem in ("data", "dataset"):
        return file
    try:
        if file is not None and b"names" in file_bytes(file, yolo_yaml.MAX_BYTES):
            return file
    except (DataError, InputMissingError):  # empty, a pipe, a folder with that name: not a description
        pass
    return yolo_names.find(root)


def splits(root: Path) -> list[str]:
    """Return the splits that the description names, in the usual order."""
    named = describe(root).splits
    return [name for name in (*SPLITS, ALL) if name in named]


def sources(root: Path, split: str) -> Iterator[Path]:
    """Yield the files and folders that a split's samples depend on, for the cache."""
    description = describe(root)
    top = description.top
    yield description.file
    for source in split_sources(description, split):
        yield source
        if source.is_dir():
            labels = labels_folder(source, top)
            yield from [labels] if labels != source else []
        elif source.suffix.lower() in IMAGE_SUFFIXES:
            yield from label_files(source, top)
        else:
            for _, _, image in _listed(source, description):
                yield image
                yield from label_files(image, top)


def yaml_file(root: Path) -> Path | None:
    """Return the description of a data set: `data.yaml`, or the only other YAML file of the folder, or None.

    Raises NotPermittedError where the folder may not be listed.
    """
    if root.is_file():
        return root if root.suffix.lower() in (".yaml", ".yml") else None
    with os_errors(root, "read"):
        inside = folders.matching(root, "*.[yY]*[mM][lL]") if root.is_dir() else []
    files = [path for path in inside if path.suffix.lower() in (".yaml", ".yml")]
    named = [path for path in files if path.stem in ("data", "dataset")]
    return named[0] if named else files[0] if len(files) == 1 else None


def describe(root: Path) -> Description:
    """Read the description of a data set. Raises InputMissingError where there is none, and what the readers raise."""
    file = described_by(root) or yaml_file(root)
    if file is None:
        message = "no data.yaml" if root.is_dir() else "no such folder or data.yaml"
        remedy = "A YOLO data set has one, with names, train and val"
        raise InputMissingError(message, remedy=remedy, file=root)
    return yolo_yaml.read(file) if file.suffix.lower() in (".yaml", ".yml") else yolo_names.describe(file, root)


def split_sources(description: Description, split: str) -> list[Path]:
    """Return the folders of images, and the lists of images, that make up a split.

    Raises InputMissingError: no such split, or one of them does not exist.
    """
    return [path for path, _ in _sources_and_notes(description, split)]


def _sources_and_notes(description: Description, split: str) -> list[tuple[Path, Fault | None]]:
    """Return the sources of a split, each with a note where it is not at the path that `data.yaml` says."""
    # A description may call it by another name: `valid` and `validation` are `val`.
    names = (name for name, others in ALIASES.items() if split in others and name in description.splits)
    split = next(names, split)
    if split not in description.splits:
        remedy = f"There are: {', '.join(description.splits)}" if description.splits else "It names none"
        raise InputMissingError(f"no split {split!r}", remedy=remedy, file=description.file)
    top, line = description.top, description.lines[split]
    found: list[tuple[Path, Fault | None]] = []
    for text in description.splits[split]:
        written = _slashed(text)
        inside = written
        while inside.startswith("../"):
            inside = inside.removeprefix("../")
        first = [*_joined(_base(description), written), *_joined(top, written), top / inside]
        names = (split, *ALIASES.get(split, ()))
        usual = [top / folder for name in names for folder in (f"{name}/{IMAGES}", f"{IMAGES}/{name}")]
        ends = [end for end in _ends_below(top, written) if len(end.relative_to(top).parts) > 1 or end.name in names]
        source = next((path for path in [*first, *ends, *usual] if folders.exists(path)), None)
        if source is None:
            raise InputMissingError(
                f"the images of {split!r} do not exist: {text}",
                remedy="Correct the path; it is relative to path, or to the file's own folder",
                file=description.file,
                line=line,
            )
        fault = None
        if source not in first:
            message = f"{text} does not exist; {source} is used for {split}"
            fault = make_fault("moved-path", message, description.file, line)
        found.append((_below(source, top), fault))
    return found


def _slashed(text: str) -> str:
    r"""Return a path of another machine with slashes; without the drive of Windows, which none has here.

    >>> _slashed("C:\\data\\images"), _slashed("images\\train")
    ('/data/images', 'images/train')
    """
    return re.sub(r"^[A-Za-z]:(?=/)", "", text.replace("\\", "/"))


def _base(description: Description) -> Path:
    """Return the folder that a description's paths are relative to; it may not exist."""
    return description.top / _slashed(description.base)


def _joined(folder: Path, name: str) -> list[Path]:
    """Return a path in a folder without `..`; [] for the root of the file system, which is never a data set."""
    path = Path(os.path.normpath(folder / name)) if ".." in name.split("/") else folder / name
    return [path] if path.parent != path else []


def _ends_below(top: Path, name: str) -> list[Path]:
    """Return the path below the data's folder for each end of a name, the longest first.

    Another machine's absolute paths, and paths that begin with the project's name, end in the path that is right here.

    >>> [path.as_posix() for path in _ends_below(Path("pets"), "/home/me/pets/train")]
    ['pets/home/me/pets/train', 'pets/me/pets/train', 'pets/pets/train', 'pets/train']
    """
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return [top.joinpath(*parts[start:]) for start in range(len(parts))]


def _below(path: Path, top: Path) -> Path:
    """Return a path as one below the data's folder where it is one: an absolute path may lead into a relative one."""
    if path.is_relative_to(top):
        return path
    resolved, folder = path.resolve(), top.resolve()
    return top / resolved.relative_to(folder) if resolved.is_relative_to(folder) else path


class _ImageFiles(NamedTuple):
    """Images of a split.

    Args:
        paths: each once, in order.
        faults: of links, and of images that a list names twice.
        lines: where a list names each; none for those found in a folder.
    """

    paths: list[Path]
    faults: list[Fault]
    lines: dict[Path, tuple[Path, int]]


def _image_files(sources: Sequence[Path], description: Description) -> _ImageFiles:
    """Return the images of some folders, sorted by name, and of some lists, in their order; each once.

    Args:
        sources: the folders, lists and images.
        description: the data set's description, in its folder. A link in a source that leads out of both is a fault
            and not followed.
    """
    top = description.top
    files: dict[Path, None] = {}
    faults: list[Fault] = []
    lines: dict[Path, tuple[Path, int]] = {}
    for source in sources:
        if source.is_dir():
            inside = source.resolve()
            outermost = top.resolve() if inside.is_relative_to(top.resolve()) else inside
            found = list(_walk(source, outermost, folders.around(source)))
            faults += [each for each in found if isinstance(each, Fault)]
            files |= dict.fromkeys(sorted(each for each in found if isinstance(each, Path)))
        elif source.suffix.lower() in IMAGE_SUFFIXES:  # a description may name images themselves
            files.setdefault(source)
        else:
            listed, repeats = split_lists.without_repeats(_listed(source, description), source)
            faults += repeats
            files |= dict.fromkeys(listed)
            lines |= {path: (source, line) for path, line in listed.items() if line is not None}
    outside = [path for path in files if not path.is_relative_to(top) and folders.is_file(path)]
    if outside:
        message = f"{len(outside)} images lie outside the data's folder, the first is {outside[0]}"
        faults.append(make_fault("outside-folder", message, description.file))
    return _ImageFiles(list(files), faults, lines)


def label_file(image: Path, top: Path) -> Path:
    """Return the labels of an image: the first of `label_files` that exists, or else the first."""
    files = label_files(image, top)
    return next((path for path in files if folders.exists(path)), files[0])


def label_files(image: Path, top: Path) -> list[Path]:
    """Return where the labels of an image may lie: in `labels` for the last `images` of its path, then beside it.

    Args:
        image: its path.
        top: the data set's folder; a folder `images` above it does not count.

    >>> top = Path("images/data")
    >>> [path.as_posix() for path in label_files(top / "images/val/a.jpg", top)]
    ['images/data/labels/val/a.txt', 'images/data/images/val/a.txt']
    >>> [path.as_posix() for path in label_files(top / "val/a.jpg", top)]
    ['images/data/val/a.txt']
    """
    return [folder / f"{image.stem}.txt" for folder in dict.fromkeys((labels_folder(image.parent, top), image.parent))]


def labels_folder(images: Path, top: Path) -> Path:
    """Return the folder of labels for a folder of images: the same one where no part of its path is `images`."""
    base = top if images.is_relative_to(top) else Path(images.anchor)
    parts = list(images.relative_to(base).parts)
    if IMAGES not in parts:
        return images
    parts[len(parts) - 1 - parts[::-1].index(IMAGES)] = LABELS
    return base.joinpath(*parts)


def _walk(folder: Path, top: Path, way: frozenset[str]) -> Iterator[Path | Fault]:
    """Yield the images below a folder and the faults of links; folders are entered as `folders.enters` says."""
    way |= {os.path.realpath(folder)}
    for entry in folders.entries(folder):
        path = Path(entry.path)
        is_image = entry.name.lower().endswith(IMAGE_SUFFIXES)
        if entry.is_symlink() and (is_image or entry.is_dir()):
            fault = folders.link_fault(path, top)
            if fault is None and entry.is_dir():
                if folders.enters(path, way):
                    yield from _walk(path, top, way)
                    continue
                fault = folders.unfollowed(path)
            if fault is not None:
                yield fault
                continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, top, way)
        elif is_image:
            yield path
        elif (fault := folders.unread(path)) is not None:
            yield fault


def _listed(source: Path, description: Description) -> Iterator[tuple[int, str, Path]]:
    """Yield the lines of a list of images: 1-based number, text and path.

    A path is relative to the list, to the data set's folder or to its `path`; of another machine's path, the longest
    end that the data set's folder has is used.
    """
    top = description.top
    for line, text in split_lists.numbered_lines(source):
        if "\0" in text:
            continue
        name = _slashed(text).removeprefix("./")
        tried = [path for folder in (source.parent, top, _base(description)) for path in _joined(folder, name)]
        tried += _ends_below(top, name)
        path = next((path for path in tried if folders.is_file(path)), tried[0] if tried else source.parent / name)
        yield line, text, _below(path, top)


# ---- Writing


def write(datasets: Sequence[Dataset], items: Iterable[Item], folder: Path) -> list[str]:
    """Write splits into an empty folder: `data.yaml`, `images/<split>/*` and `labels/<split>/*.txt`.

    The inverse of `read`: centres and sizes as fractions of the image, with digits enough for a millionth of a pixel.
    An image without objects gets an empty file of labels, which shows that it is meant to have none.

    Args:
        datasets: the splits, all with the same classes.
        items: their images.
        folder: the folder.

    Returns sentences about what YOLO cannot hold. Raises UsageError for a split that is not train, val or test:
    `data.yaml` has no key for another.
    """
    names = [split_name(dataset) for dataset in datasets]
    unknown = [name for name in names if name not in SPLITS]
    if unknown:
        message = f"YOLO knows the splits train, val and test, not {', '.join(unknown)}"
        raise UsageError(message, remedy="Choose some of them by --split")
    make_folders(folder, *(f"{part}/{name}" for part in (IMAGES, LABELS) for name in names))
    difficult = crowds = areas = 0
    for item in items:
        sample, (height, width) = item.sample, item.size_hw
        rows = boxes.xyxy_to_cxcywh(boxes.scale(sample.boxes_xyxy, (1 / height, 1 / width))).tolist()
        lines = [
            " ".join([str(class_id), *(f"{number:.12g}" for number in row)])
            for class_id, row in zip(sample.class_ids.tolist(), rows, strict=True)
        ]
        text = "".join(f"{line}\n" for line in lines)
        (folder / LABELS / item.split / f"{item.stem}.txt").write_text(text, encoding="utf-8")
        item.copy_image(folder / IMAGES / item.split / item.file_name)
        crowds += crowd_count(sample)
        difficult += int(sample.difficult.sum()) - crowd_count(sample)
        areas += has_own_areas(sample)
    # JSON's strings are YAML's: a class called `no` or `1` stays text. Its escapes are not: they cut an emoji in two.
    classes = "".join(
        f"  {index}: {json.dumps(name, ensure_ascii=False)}\n" for index, name in enumerate(datasets[0].label_map.names)
    )
    paths = "".join(f"{name}: {IMAGES}/{name}\n" for name in names)
    (folder / "data.yaml").write_text(f"{paths}names:\n{classes}", encoding="utf-8")
    return [
        *note(difficult, "difficult box is", "difficult boxes are", "ordinary now: YOLO knows no difficult ones"),
        *note(crowds, "crowd is an", "crowds are", "ordinary boxes now: YOLO knows no crowds"),
        *note(areas, "image's areas are", "images' areas are", "lost where they are not those of the boxes"),
        *outline_note(datasets, "boxes only are written"),
    ]
