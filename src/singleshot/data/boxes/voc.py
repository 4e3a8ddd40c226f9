"""Pascal VOC: `Annotations/*.xml`, `ImageSets/Main/<split>.txt` and `JPEGImages/*`, read and written.

The image of id X is `JPEGImages/X.<extension>` whatever the XML's `filename`, `folder` and `path` say, for these name
the annotator's own folders in most real data sets. Corners, 1-based and inclusive in VOC, become continuous edges
(x1 − 1, y1 − 1, x2, y2) here and nowhere else. A box that cannot be right never reaches a sample: it is left out and
named, with file and line, in `Dataset.faults`.

Several lists can be read as one split: parts joined by `+`, or a name of `UNIONS`, the unions that papers trained on.
A part is `<folder>_<list>`, where the folder may leave out its `VOC` (`2007_trainval`); in a lone VOC folder it is just
the list. The list `annotated` stands for every image that has an annotation, whether or not a list names it.

    07+12     trainval of 2007 and of 2012: 16,551 images
    07++12    the same and test of 2007: 21,503 images, to be evaluated on test of 2012
    2017      trainval and test of 2007, and every annotated image of 2012 (17,125, where its list names 11,540):
              what the posts of 2017 trained on

Layout and meaning: the VOC2007/2012 development kits (`VOCinit.m`, `PASreadrecord.m`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from singleshot.boxes import clip
from singleshot.data import folders
from singleshot.data import splits as split_lists
from singleshot.data.boxes import class_names, voc_xml
from singleshot.data.boxes.check_box import INCLUSIVE, UNKNOWN_SIZE_HW, USABLE, check_box
from singleshot.data.boxes.coordinates import other_kind
from singleshot.data.boxes.voc_xml import AnnotatedObject, Annotation
from singleshot.data.boxes.writing import Item, counted, has_own_areas, make_folders, note, outline_note, split_name
from singleshot.data.faults import make_fault
from singleshot.data.orientation import image_size
from singleshot.errors import DataError, Fault, InputMissingError, NotPermittedError, SingleshotError, os_errors
from singleshot.images import IMAGE_SUFFIXES
from singleshot.storage.letter_case import as_found
from singleshot.structures import Dataset, LabelMap, Sample

IMAGE_FOLDER, ANNOTATION_FOLDER, SPLIT_FOLDER = "JPEGImages", "Annotations", "ImageSets/Main"
MAX_SPLIT_BYTES = 64 * 2**20
SHOWN_NAMES = 20
EVERY = "annotated"
UNIONS = {
    "07+12": "2007_trainval+2012_trainval",
    "07++12": "2007_trainval+2007_test+2012_trainval",
    "2017": "2007_trainval+2007_test+2012_annotated",
}
_SECOND_COLUMN = re.compile(r"(.*\S)\s+(?:-1|0|1)")


# ---- Reading


def read(
    root: Path | str,
    split: str,
    *,
    label_map: LabelMap | None = None,
    annotated: bool = True,
    allow_unlabelled: bool = False,
    fix_boxes: bool = False,
) -> Dataset:
    """Read one split of a Pascal VOC folder or devkit, in the order of its list.

    Args:
        root: the folder that holds `Annotations`, `ImageSets` and `JPEGImages`, or one (a `VOCdevkit`) in which
            such folders lie: exactly one, or those that a union names.
        split: the name of a list in `ImageSets/Main`, or a union. The second column of per-class lists (−1, 0, 1) is
            ignored.
        label_map: the classes and their order. Where None, they are those of *all* annotations in the folder, sorted,
            so that every split gives the same ids.
        annotated: False for a test set whose annotations are kept by a server: samples without boxes, and the label
            map as given or empty.
        allow_unlabelled: take an image that has no annotation for one without objects; else it is left out.
        fix_boxes: swap the corners of an inverted box and use it; else it is left out.

    Returns:
        Samples with float64 boxes and the size as annotated (the image's own where the annotation has none; None
        where there is no annotation). `box_places` counts a file's objects. An image without objects is a sample with
        no boxes. An image that is missing, has no annotation, or an annotation that cannot be read, is in `faults`
        only. The kinds of fault are `missing-picture`, `missing-annotation` (a warning; where it is allowed, the note
        `unlabelled`), `duplicate-id`, `unknown-class`, `swapped-box` (a warning), and those of `folders.listing`,
        `check_box`, `class_names`, `voc_xml` and `images`.

    Raises:
        InputMissingError: no such folder, layout or split.
        DataError: the split is empty (`empty-split`).
        NotPermittedError: a folder or file may not be read.
    """
    root = Path(root)
    union = is_union(root, split)
    chosen = parts(root, split) if union else [(find_folder(root, annotated=annotated), split)]
    opened = {path: Folder(path, annotated=annotated) for path in dict.fromkeys(path for path, _ in chosen)}
    known: dict[Path, LabelMap] = {}
    found: list[tuple[str, Dataset]] = []
    for path, name in chosen:
        # A folder's classes come from all its annotations; its second list need not look for them once more.
        part = _read_part(
            opened[path], root, name, label_map or known.get(path), annotated, allow_unlabelled, fix_boxes
        )
        known.setdefault(path, part.label_map)
        found.append((path.name, part))
    return split_lists.joined(root, split, found, label_map) if union else found[0][1]


def _read_part(
    folder: Folder,
    root: Path,
    split: str,
    label_map: LabelMap | None,
    annotated: bool,
    allow_unlabelled: bool,
    fix_boxes: bool,
) -> Dataset:
    list_file = split_file(folder.root, split)
    lines, faults = folder.listed(list_file)
    faults = [*folder.faults, *faults]
    if annotated:
        faults += folder.unannotated(lines, list_file, allow=allow_unlabelled)
    annotations: dict[str, Annotation] = {}
    not_permitted: list[Path] = []
    for image_id in lines:
        if image_id in folder.annotation_files:
            try:
                annotations[image_id] = folder.annotation(image_id)
                faults += annotations[image_id].faults
            except DataError as error:
                faults.append(error.as_fault())
            except NotPermittedError:
                not_permitted.append(folder.annotation_files[image_id])
        elif allow_unlabelled or not annotated:
            annotations[image_id] = Annotation(None, (), ())
    if not_permitted:
        more = f", nor may {len(not_permitted) - 1} others" if len(not_permitted) > 1 else ""
        raise NotPermittedError(f"may not be read{more}", remedy="Change the permissions", file=not_permitted[0])
    if label_map is None:
        every, errors = folder.annotations()
        reported = {fault.file for fault in faults}
        for path, error in errors.items():
            if path not in reported:  # the annotation is of another split
                message = f"{error.message}; it is not in this split, but its classes are not known either."
                faults.append(Fault(path, error.line, getattr(error, "kind", "bad-data"), "warning", message))
        label_map, warnings = folder.classes(every)
        faults += warnings
    odd = other_coordinates(folder, annotations)
    faults += [] if odd is None else [odd]
    samples = []
    for image_id, annotation in annotations.items():
        try:
            size_hw, turned = annotation.size_hw, None
            if image_id in folder.annotation_files:
                where = folder.annotation_files[image_id], annotation.size_line
                size_hw, turned = image_size(folder.images[image_id], size_hw, *where)
        except DataError as error:
            faults.append(error.as_fault())
            continue
        faults += [] if turned is None else [turned]
        if turned is not None and turned.severity == "fatal":
            continue
        if odd is not None:
            annotation = replace(annotation, objects=())
        sample, box_faults = folder.sample(image_id, annotation, size_hw, label_map, fix_boxes=fix_boxes)
        samples.append(sample)
        faults += box_faults
    return Dataset(root, "voc", split, label_map, tuple(samples), tuple(faults))


class Folder:
    """One VOC folder: its images, lists and annotations, each annotation parsed at most once.

    Args:
        root: the folder itself, see `find_folder`.
        annotated: whether it has annotations.

    Attributes:
        images, annotation_files: the files by id.
        faults: of links, and of files that have the id of another.
    """

    def __init__(self, root: Path, *, annotated: bool = True) -> None:
        self.root = root
        self.image_listing = folders.listing(root / IMAGE_FOLDER, root)
        images = root / IMAGE_FOLDER
        self.images = as_found(folders.by_stem(self.image_listing.files, IMAGE_SUFFIXES, images), root)
        self.faults = [
            *self.image_listing.faults,
            *folders.unused_duplicates(self.image_listing.files, self.images, IMAGE_SUFFIXES, images),
        ]
        self.annotation_files: dict[str, Path] = {}
        if annotated:
            annotations = folders.listing(root / ANNOTATION_FOLDER, root)
            by_stem = folders.by_stem(annotations.files, (".xml",), root / ANNOTATION_FOLDER)
            self.annotation_files = as_found(by_stem, root)
            self.faults += annotations.faults
        self._parsed: dict[str, Annotation | SingleshotError] = {}

    def annotation(self, image_id: str) -> Annotation:
        """Return the annotation of an image, one of `annotation_files`. Raises what `voc_xml.read` raises."""
        found = self._parsed.get(image_id)
        if found is None:
            try:
                found = voc_xml.read(self.annotation_files[image_id])
            except SingleshotError as error:
                found = error
            self._parsed[image_id] = found
        if isinstance(found, SingleshotError):
            raise found
        return found

    def annotations(self) -> tuple[dict[str, Annotation], dict[Path, SingleshotError]]:
        """Return all annotations that can be read, by id, and the errors of the others, by file."""
        found, errors = {}, {}
        for image_id, path in self.annotation_files.items():
            try:
                found[image_id] = self.annotation(image_id)
            except SingleshotError as error:
                errors[path] = error
        return found, errors

    def classes(self, annotations: Mapping[str, Annotation]) -> tuple[LabelMap, list[Fault]]:
        """Return the classes that annotations name, sorted, and warnings about names that are probably slips."""
        files_of: dict[str, dict[Path, int | None]] = {}
        for image_id, annotation in annotations.items():
            for item in annotation.objects:
                files_of.setdefault(item.name, {}).setdefault(self.annotation_files[image_id], item.name_line)
        names = tuple(sorted(name for name in files_of if name == name.strip()))
        warnings = class_names.variant_faults(names, self.root / ANNOTATION_FOLDER)
        return LabelMap(names), warnings + class_names.single_file_faults(files_of)

    def listed(self, list_file: Path) -> tuple[dict[str, int | None], list[Fault]]:
        """Return the images of a list that the folder has, by id with their lines, and the faults of its other lines.

        Args:
            list_file: the list, or `Annotations` itself for every image with an annotation; see `split_file`.

        Raises DataError where the list is empty (`empty-split`), or cannot be read.
        """
        if list_file.is_dir():
            files = folders.by_stem(folders.listing(list_file, self.root).files, (".xml",), list_file)
            lines: Iterable[tuple[int | None, str]] = ((None, image_id) for image_id in files)
        else:
            lines = ids(list_file, self.images)
        first, faults = split_lists.without_repeats(((line, each, each) for line, each in lines), list_file)
        if not first:
            raise DataError("0 images in the split", kind="empty-split", remedy="List one id a line", file=list_file)
        for image_id in [image_id for image_id in first if image_id not in self.images]:
            message = f"image {image_id} not found in {IMAGE_FOLDER}"
            faults.append(make_fault("missing-picture", message, list_file, first.pop(image_id)))
        return first, sorted(faults, key=lambda fault: fault.line or 0)

    def unannotated(self, lines: Mapping[str, int | None], list_file: Path, *, allow: bool) -> list[Fault]:
        """Return a fault for each image of a list that has no annotation: a warning, or a note where it is allowed."""
        faults = []
        for image_id, line in lines.items():
            if image_id not in self.annotation_files:
                message = f"{image_id} has no {ANNOTATION_FOLDER}/{image_id}.xml; it is "
                kind, outcome = ("unlabelled", "taken for background") if allow else ("missing-annotation", "left out")
                faults.append(make_fault(kind, f"{message}{outcome}", list_file, line))
        return faults

    def sample(
        self,
        image_id: str,
        annotation: Annotation,
        size_hw: tuple[int, int] | None,
        label_map: LabelMap,
        *,
        fix_boxes: bool = False,
    ) -> tuple[Sample, list[Fault]]:
        """Return an image with the boxes that can be used, and the faults of its objects.

        Args:
            image_id: its id.
            annotation: its annotation.
            size_hw: its height and width; None where nobody knows.
            label_map: the classes.
            fix_boxes: swap the corners of an inverted box.
        """
        image = self.images.get(image_id, self.root / IMAGE_FOLDER / f"{image_id}.jpg")
        file = self.annotation_files.get(image_id, image)
        names = label_map.names
        indices, boxes, class_ids, difficult, faults = [], [], [], [], []
        for index, item in enumerate(annotation.objects):
            xmin, ymin, xmax, ymax = item.corners
            if fix_boxes and (xmax < xmin or ymax < ymin):
                message = f"{shown(item)} is inverted; its corners are swapped"
                faults.append(make_fault("swapped-box", message, file, item.box_line))
                xmin, ymin, xmax, ymax = min(xmin, xmax), min(ymin, ymax), max(xmin, xmax), max(ymin, ymax)
            if item.name != item.name.strip():
                message = f"class {item.name!r} has a space at its edge"
                faults.append(make_fault("unknown-class", message, file, item.name_line, remedy="Delete the space"))
                continue
            if item.name not in names:
                message = class_names.unknown_class(item.name, names)
                faults.append(make_fault("unknown-class", message, file, item.name_line))
                continue
            box_xyxy = (xmin - 1, ymin - 1, xmax, ymax)
            fault = check_box(box_xyxy, size_hw or UNKNOWN_SIZE_HW, INCLUSIVE)
            if fault is not None:
                faults.append(make_fault(fault.kind, f"{shown(item)} {fault.message}", file, item.box_line))
            if fault is None or fault.kind in USABLE:
                indices.append(index)
                boxes.append(box_xyxy)
                class_ids.append(names.index(item.name))
                difficult.append(item.difficult)
        return Sample(
            image_id,
            image,
            size_hw,
            clip(np.array(boxes, np.float64).reshape(-1, 4), size_hw or UNKNOWN_SIZE_HW),
            np.array(class_ids, np.int64),
            np.array(difficult, np.bool_),
            annotation_path=file,
            box_places=np.array(indices, np.int64),
        ), faults


def other_coordinates(folder: Folder, annotations: Mapping[str, Annotation]) -> Fault | None:
    """Return a fatal fault where most boxes of some annotations are not corners in pixels; see `coordinates`."""
    rows = [
        (item.corners, each.size_hw[::-1]) for each in annotations.values() if each.size_hw for item in each.objects
    ]
    corners = np.array([box for box, _ in rows], np.float64).reshape(-1, 4)
    sizes_wh = np.array([size for _, size in rows], np.float64).reshape(-1, 2)
    kind = other_kind(corners, sizes_wh, "xyxy inclusive")
    if kind is None:
        return None
    message = f"most of the {len(rows)} boxes look like {kind}"
    return make_fault("other-coordinates", message, folder.root / ANNOTATION_FOLDER)


def shown(item: AnnotatedObject) -> str:
    """Return a box as its file has it, for messages."""
    xmin, ymin, xmax, ymax = item.corners
    return f"box ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}) of class {item.name!r}"


# ---- Folders and lists


def fits(root: Path) -> bool:
    """Return whether a folder is a VOC folder or a devkit, with a list in it; without lists it is `voc_unlisted`'s."""
    return any(split_files(folder) for folder in folders_in(root))


def splits(root: Path) -> list[str]:
    """Return the names of a folder's lists, without those of single classes; of a devkit, `2007_train` and the like."""
    inside = folders_in(root)
    names = [(folder, name) for folder in inside for name in split_files(folder)]
    plain = [(folder, name) for folder, name in names if "_" not in name] or names
    return [name if len(inside) == 1 else f"{folder.name.removeprefix('VOC')}_{name}" for folder, name in plain]


def sources(root: Path, split: str) -> Iterable[Path]:
    """Return the folders that a split's samples depend on, for the cache."""
    chosen = parts(root, split) if is_union(root, split) else [(find_folder(root, annotated=False), split)]
    names = (SPLIT_FOLDER, ANNOTATION_FOLDER, IMAGE_FOLDER)
    return [folder / name for folder in dict.fromkeys(folder for folder, _ in chosen) for name in names]


def folders_in(root: Path) -> list[Path]:
    """Return the VOC folders in a devkit, or around it; the folder itself where it is one.

    Folders in it that may not be listed are passed over. Raises NotPermittedError where that is the folder itself.
    """
    needed = (IMAGE_FOLDER, SPLIT_FOLDER)
    with os_errors(root, "read"):
        if not root.is_dir():
            return []
        if all((root / name).is_dir() for name in needed):
            return [root]
        inside = [*(Path(entry.path) for entry in folders.entries(root)), *folders.matching(root, "VOCdevkit/*")]
        return [path for path in inside if folders.contains(path, needed)]


def find_folder(root: Path, *, annotated: bool = True) -> Path:
    """Find the VOC folder that a user means: `root`, or the only one in it or in its `VOCdevkit`.

    Args:
        root: what the user named.
        annotated: whether there must be annotations.

    Raises:
        InputMissingError: there is none, or more than one.
        NotPermittedError: a folder may not be listed.
    """
    needed = [IMAGE_FOLDER, SPLIT_FOLDER, *([ANNOTATION_FOLDER] if annotated else [])]
    with os_errors(root, "read"):
        if not root.is_dir():
            raise InputMissingError("no such folder", remedy="Name a folder in Pascal VOC layout", file=root)
        missing = [name for name in needed if not (root / name).is_dir()]
        if not missing:
            return root
        inside = [*(Path(entry.path) for entry in folders.entries(root)), *folders.matching(root, "VOCdevkit/*")]
        inside = sorted(path for path in inside if folders.contains(path, needed))
    if len(inside) == 1:
        return inside[0]
    if inside:
        names = ", ".join(path.name for path in inside)
        remedy = f"Name one of them: {names}, or a union of splits such as 07+12"
        raise InputMissingError("several Pascal VOC folders inside", remedy=remedy, file=root)
    # Perhaps the user named `Annotations` itself, or a folder further up.
    parent = root.resolve().parent
    below = [path.parent for path in folders.matching(root, "*/*/Annotations")]
    below = [path for path in below if folders.contains(path, needed)]
    nearby = [parent] if folders.contains(parent, needed) else below
    raise InputMissingError(
        f"not a Pascal VOC folder: {' and '.join(f'{name}/' for name in missing)} missing",
        remedy=f"A VOC folder holds {', '.join(f'{name}/' for name in needed)}"
        + (f"; {nearby[0]} is one" if nearby else ""),
        file=root,
    )


def split_files(folder: Path) -> dict[str, Path]:
    """Return the lists in `ImageSets/Main` by name: train, val, and the per-class ones such as cat_train."""
    files = folders.listing(folder / SPLIT_FOLDER, folder).files
    return {path.stem: path for path in files if path.suffix == ".txt"}


def split_file(folder: Path, split: str) -> Path:
    """Return the list of one split. Raises InputMissingError, with the names that there are.

    Where no list is called `annotated`, that is the folder of annotations: every image that has one.
    """
    lists = split_files(folder)
    if split == EVERY and split not in lists:
        return folder / ANNOTATION_FOLDER
    if split not in lists:
        # Per-class lists (cat_train) come last: a mistyped split is never meant to be one of those.
        names = sorted(lists, key=lambda name: ("_" in name, name))
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        remedy = f"There are: {', '.join(names[:SHOWN_NAMES])}{more}" if names else "There is none"
        raise InputMissingError(f"no split {split!r}", remedy=remedy, file=folder / SPLIT_FOLDER)
    return lists[split]


def ids(list_file: Path, images: Mapping[str, Path]) -> Iterable[tuple[int, str]]:
    """Yield a list's ids with their 1-based lines. An id may hold spaces if an image has that name.

    A list may name files (`a.jpg`, `JPEGImages/a.jpg`, with backslashes, or by another machine's absolute path): the
    id is then the longest end of that path that is an image's, with or without its extension.

    Raises what `splits.numbered_lines` raises.
    """
    for line, text in split_lists.numbered_lines(list_file, MAX_SPLIT_BYTES):
        columns = _SECOND_COLUMN.fullmatch(text)
        written = [text, *([columns[1]] if columns else [])]
        found = next((each for name in written for each in _possible_ids(name) if each in images), None)
        yield line, found or written[-1]


def _possible_ids(name: str) -> Iterator[str]:
    """Yield the ids that a list's name may stand for, the likeliest first."""
    yield name
    if ".." in name.split("/"):
        return
    parts = folders.name_below(name).split("/")
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        yield end
        if end.lower().endswith(IMAGE_SUFFIXES):
            yield end.rpartition(".")[0]


def is_union(root: Path, split: str) -> bool:
    """Return whether a split's name is a union, or a part of a devkit such as `2007_test`.

    A user's own list with such a name in a lone VOC folder is that list.
    """
    inside = folders_in(root)
    if len(inside) == 1 and split in split_files(inside[0]):
        return False
    return split in UNIONS or "+" in split or (len(inside) > 1 and _part(split, inside) is not None)


def parts(root: Path, split: str) -> list[tuple[Path, str]]:
    """Return the folder and the list of each part of a union. Raises InputMissingError for a part without a folder."""
    inside = folders_in(root)
    found = []
    for text in UNIONS.get(split, split).split("+"):
        part = _part(text, inside)
        if part is None:
            names = ", ".join(path.name for path in inside) or "no VOC folder"
            message = f"split {split!r}: no folder for its part {text!r}"
            remedy = f"There are: {names}; write a part as 2007_trainval, or a union as {', '.join(UNIONS)}"
            raise InputMissingError(message, remedy=remedy, file=root)
        found.append(part)
    return found


def _part(text: str, inside: Sequence[Path]) -> tuple[Path, str] | None:
    for folder in inside:
        for prefix in (folder.name, folder.name.removeprefix("VOC")):
            if prefix and text.startswith(f"{prefix}_"):
                return folder, text[len(prefix) + 1 :]
    return (inside[0], text) if len(inside) == 1 else None


# ---- Writing


def write(datasets: Sequence[Dataset], items: Iterable[Item], folder: Path) -> list[str]:
    """Write splits into an empty folder: the inverse of `read`.

    Args:
        datasets: the splits, all with the same classes.
        items: their images, each once.
        folder: the folder.

    Returns sentences about what VOC cannot hold. A box no more than a pixel wide or high is left out: its inclusive
    corners would be equal, which means empty to a reader.
    """
    make_folders(folder, IMAGE_FOLDER, ANNOTATION_FOLDER, SPLIT_FOLDER)
    names = datasets[0].label_map.names
    thin = crowds = areas = 0
    objects = np.zeros(len(names), np.int64)
    written: dict[Path, str] = {}
    for item in items:
        sample = item.sample
        written[sample.image_path] = item.stem
        kept = ((sample.boxes_xyxy[:, 2:] - sample.boxes_xyxy[:, :2]) > 1).all(axis=1)
        thin += int((~kept).sum())
        crowds += 0 if sample.crowd is None else int((sample.crowd & kept).sum())
        areas += has_own_areas(sample)
        objects += np.bincount(sample.class_ids[kept], minlength=len(names))
        text = voc_xml.annotation_xml(
            item.file_name,
            item.size_hw,
            sample.boxes_xyxy[kept],
            [names[class_id] for class_id in sample.class_ids[kept].tolist()],
            difficult=sample.difficult[kept],
        )
        (folder / ANNOTATION_FOLDER / f"{item.stem}.xml").write_text(text, encoding="utf-8")
        item.copy_image(folder / IMAGE_FOLDER / item.file_name)
    for dataset in datasets:
        stems = "".join(f"{written[sample.image_path]}\n" for sample in dataset.samples)
        # File names are bytes on Linux, and come back as the bytes they were.
        (folder / SPLIT_FOLDER / f"{split_name(dataset)}.txt").write_bytes(stems.encode("utf-8", "surrogateescape"))
    notes = note(thin, "box is", "boxes are", "no more than a pixel wide or high, which VOC cannot say: left out")
    notes += note(crowds, "crowd is", "crowds are", "written as difficult: VOC knows no crowds")
    absent = [name for name, count in zip(names, objects.tolist(), strict=True) if not count]
    if absent:
        notes.append(f"VOC has no list of classes: {', '.join(absent)} have no object and are lost")
    if list(names) != sorted(names):
        notes.append("VOC has no order of classes: a reader sorts them by name, so their ids change")
    if areas:
        notes.append(f"areas (in {counted(areas, 'image', 'images')}) are lost: VOC has boxes only")
    return notes + outline_note(datasets, "VOC has boxes only")
