"""Which layout a data folder has, and the reader that goes with it: the one door through which splits come in.

A user names a folder. What it is taken for is said aloud (`describe`), because a guess that nobody sees is the start of
a long search, and can be overridden by name. Readers of pictures with boxes go through the index cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from singleshot.data import cache as index_cache
from singleshot.data import unions
from singleshot.data.boxes import coco, coco_folder, voc, voc_folder, yolo, yolo_folder, yolo_yaml
from singleshot.data.faults import LEFT_OUT_WARNINGS
from singleshot.data.load.samples import SampleTable
from singleshot.data.masks import cityscapes, kitti_road
from singleshot.data.masks import folders as mask_folders
from singleshot.errors import DataError, InputMissingError, NotPermittedError, UsageError
from singleshot.storage.files import file_bytes
from singleshot.structures import Dataset, LabelMap

Layout = Literal["voc", "coco", "yolo", "kitti_road", "cityscapes", "masks"]
TITLES: dict[Layout, str] = {
    "voc": "Pascal VOC",
    "coco": "COCO json",
    "yolo": "YOLO txt",
    "kitti_road": "KITTI road",
    "cityscapes": "Cityscapes",
    "masks": "pictures and masks",
}
NEAR_FOLDERS = 200


def _is_voc(root: Path) -> bool:
    return bool(unions.folders(root))


def _is_coco(root: Path) -> bool:
    return bool(coco_folder.split_files(root))


def _is_yolo(root: Path) -> bool:
    file = yolo_folder.yaml_file(root)
    if file is None or file.stem in ("data", "dataset"):
        return file is not None
    try:
        return b"names" in file_bytes(file, yolo_yaml.MAX_BYTES)
    except (DataError, InputMissingError):  # empty, a pipe, a folder called so: no description
        return False


# The likeliest first: a VOC folder with masks is a data set of boxes, unless masks are asked for.
_TESTS: tuple[tuple[Layout, Callable[[Path], bool]], ...] = (
    ("voc", _is_voc),
    ("coco", _is_coco),
    ("yolo", _is_yolo),
    ("kitti_road", kitti_road.looks_like),
    ("cityscapes", cityscapes.looks_like),
    ("masks", mask_folders.looks_like),
)


def check_name(name: str | None) -> Layout | None:
    """A layout's name as the user gave it, with `-` for `_` if they like. Raises UsageError for no such layout."""
    for layout in get_args(Layout):
        if name is not None and name.replace("-", "_").lower() == layout:
            return layout
    if name is None:
        return None
    raise UsageError(f"no layout is called {name!r}", remedy=f"--data-format takes {', '.join(get_args(Layout))}")


def recognise(root: Path | str, *, with_masks: bool = False) -> Layout:
    """The layout of a folder.

    Args:
        root: a folder, or the JSON or `data.yaml` of a data set.
        with_masks: pictures with masks are wanted; a VOC folder is then taken for its masks.

    Raises:
        InputMissingError: there is no such folder, or it has none of the layouts; the message names one nearby.
        NotPermittedError: a folder may not be listed.
    """
    root = Path(root)
    try:
        is_there = root.exists()
    except PermissionError as error:
        raise _closed(root) from error
    if not is_there:
        raise InputMissingError("no such folder", remedy=f"Name a data set{_nearby(root)}", file=root)
    found = _first(root, with_masks)
    if found is None:
        known = "VOC, COCO or YOLO, KITTI road, Cityscapes, or folders of images and masks"
        remedy = f"Known are {known}{_nearby(root)}"
        raise InputMissingError("a data set in no layout that is known", remedy=remedy, file=root)
    return found


def read(
    root: Path | str,
    split: str,
    *,
    layout: str | None = None,
    label_map: LabelMap | None = None,
    annotated: bool = True,
    allow_unlabelled: bool = False,
    fix_boxes: bool = False,
    with_masks: bool = False,
    with_pictures: bool = True,
    cache: bool = True,
) -> Dataset:
    """One split of a data set in any layout.

    Args:
        root: the folder, or the JSON or `data.yaml` of a data set.
        split: its name there; see `splits`. For VOC also a union, see `unions`.
        layout: the layout's name, or None to find out.
        label_map: the classes and their order; None for the data set's own. Masks have their own always.
        annotated: False for a test set whose annotations are kept by a server.
        allow_unlabelled: of VOC, see `voc.read`. In COCO and YOLO a picture without labels is background anyway.
        fix_boxes: of VOC, see `voc.read`.
        with_masks: pictures with masks are wanted, see `recognise`.
        with_pictures: False where pictures need not be there, to judge COCO results.
        cache: use the index cache.

    Raises what `recognise` and the layout's reader raise; UsageError for a layout that does not exist.
    """
    root = Path(root)
    chosen = check_name(layout) or recognise(root, with_masks=with_masks)
    if chosen == "kitti_road":
        return kitti_road.read(root, split)
    if chosen == "cityscapes":
        return cityscapes.read(root, split, annotated=None if annotated else False)
    if chosen == "masks":
        return mask_folders.read(root, split)
    union = chosen == "voc" and unions.is_union(root, split)

    def build() -> Dataset:
        if chosen == "coco":
            return coco.read(root, split, label_map=label_map, annotated=annotated, with_pictures=with_pictures)
        if chosen == "yolo":
            return yolo.read(root, split, label_map=label_map, annotated=annotated)
        rules = {"allow_unlabelled": allow_unlabelled, "fix_boxes": fix_boxes}
        reader = unions.read if union else voc.read
        return reader(root, split, label_map=label_map, annotated=annotated, **rules)

    if not cache:
        return build()
    identity = {
        "layout": chosen,
        "root": str(root),
        "place": str(root.resolve()),
        "split": split,
        "names": None if label_map is None else label_map.names,
        "options": [annotated, with_pictures, allow_unlabelled, fix_boxes],
    }
    return index_cache.cached(identity, _sources(root, split, chosen, union), build)


def splits(root: Path | str, *, layout: str | None = None, with_masks: bool = False) -> list[str]:
    """The names of a data set's splits; without VOC's lists of single classes.

    Raises what `recognise` raises, UsageError for a layout that does not exist, and InputMissingError where a folder is
    not of the layout that was named and its splits are to be read from it (YOLO, Cityscapes); else there are none.
    """
    root = Path(root)
    chosen = check_name(layout) or recognise(root, with_masks=with_masks)
    if chosen == "voc":
        there = unions.folders(root)
        names = [(folder, name) for folder in there for name in voc_folder.split_files(folder)]
        plain = [(folder, name) for folder, name in names if "_" not in name] or names
        return [name if len(there) == 1 else f"{folder.name.removeprefix('VOC')}_{name}" for folder, name in plain]
    if chosen == "coco":
        return list(coco_folder.split_files(root))
    if chosen == "yolo":
        return yolo_folder.split_names(yolo_folder.locate(root))
    if chosen == "kitti_road":
        return list(kitti_road.SPLITS)
    if chosen == "cityscapes":
        return cityscapes.splits(root)
    return mask_folders.splits(root)


def describe(dataset: Dataset) -> str:
    """What a folder was taken for, its counts, its class table and its warnings by kind, as lines for a person."""
    table = SampleTable.from_samples(dataset.samples)
    head = f"{dataset.root}: taken for {TITLES.get(dataset.layout, dataset.layout)}, split {dataset.split}"  # pyright: ignore[reportArgumentType, reportCallIssue]
    names = dataset.label_map.names
    head += f": {len(dataset)} pictures, {len(names)} classes"
    if len(table.mask_paths):
        return f"{head}, with masks\n  {' · '.join(names)}{_warnings(dataset)}"
    counts = np.bincount(table.class_ids, minlength=len(names)).tolist()
    empty = int((np.diff(table.box_ends) == 0).sum())
    head += f", {len(table.class_ids)} objects"
    head += f" ({int(table.difficult.sum())} difficult)" if table.difficult.any() else ""
    head += f", {empty} pictures without objects" if empty else ""
    listed = " · ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    return f"{head}\n  {listed}{_warnings(dataset)}"


def _warnings(dataset: Dataset) -> str:
    """A line with the number of warnings of each kind, which stop nothing and would else pass unseen; "" for none."""
    kinds = Counter(fault.kind for fault in dataset.faults if fault.severity == "warning")
    counts = [
        f"{count} {kind}{' (left out)' if kind in LEFT_OUT_WARNINGS else ''}" for kind, count in kinds.most_common()
    ]
    return f"\n  warnings: {', '.join(counts)}" if counts else ""


def _first(root: Path, with_masks: bool) -> Layout | None:
    tests = reversed(_TESTS) if with_masks else _TESTS
    try:
        return next((layout for layout, looks_like in tests if looks_like(root)), None)
    except PermissionError as error:
        raise _closed(Path(error.filename or root)) from error


def _closed(path: Path) -> NotPermittedError:
    return NotPermittedError("may not be read", remedy="Change its permissions", file=path)


def _nearby(root: Path) -> str:
    """A folder in a known layout below, above or beside one that has none."""
    parent = root.resolve().parent
    for near in [*_folders(root), parent, *_folders(parent)][:NEAR_FOLDERS]:
        try:
            layout = _first(near, with_masks=False)
        except NotPermittedError:
            continue
        if layout is not None:
            return f"; {near} looks like {TITLES[layout]}"
    return ""


def _folders(root: Path) -> list[Path]:
    """The folders in a folder; none of one that may not be looked into."""
    try:
        return sorted(path for path in _entries(root) if path.is_dir())
    except OSError:
        return []


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing for one that may not be listed."""
    try:
        return list(folder.iterdir()) if folder.is_dir() else []
    except OSError:
        return []


def _sources(root: Path, split: str, layout: Layout, union: bool) -> Iterable[Path]:
    """The files and folders that a split's answer depends on."""
    if layout == "voc":
        chosen = unions.parts(root, split) if union else [(voc_folder.find_folder(root, annotated=False), split)]
        for folder in dict.fromkeys(folder for folder, _ in chosen):
            for name in (voc_folder.SPLIT_FOLDER, voc_folder.ANNOTATION_FOLDER, voc_folder.PICTURE_FOLDER):
                yield folder / name
    elif layout == "coco":
        file = coco_folder.split_file(root, split)
        yield file
        own = dict.fromkeys((root if root.is_dir() else root.parent, file.parent))
        yield from (place for place in coco_folder.picture_folders(root, file) if place not in own)
        for folder in own:  # what lies in them, and not below: that is other splits
            yield from sorted(path for path in _entries(folder) if not path.is_dir())
    else:
        description = yolo_folder.locate(root)
        yield description.file
        for source in yolo_folder.split_sources(description, split):
            yield source
            top = description.file.parent
            if source.is_dir():
                labels = yolo_folder.labels_folder(source, top)
                yield from [labels] if labels != source else []
            else:
                for picture in yolo_folder.listed(source):
                    yield picture
                    yield from yolo_folder.label_files(picture, top)
