"""Read a split of a data folder in any layout: recognise the layout, then call its reader.

A user names a folder. `describe` says what it was taken for, because a wrong guess that nobody is told of costs hours;
the layout can be named instead. A new layout is a module with `fits`, `splits`, `read` and `sources`, and a row of
`READERS`. Readers of boxes go through the cache.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from singleshot.data import cache as dataset_cache
from singleshot.data import class_choice
from singleshot.data.boxes import (
    coco,
    csv_boxes,
    cvat,
    imagefolder,
    kitti_objects,
    label_studio,
    labelme,
    via,
    voc,
    voc_unlisted,
    yolo,
)
from singleshot.data.class_choice import ClassChoice
from singleshot.data.faults import LEFT_OUT_WARNINGS
from singleshot.data.folders import links_are_followed, subfolders
from singleshot.data.load.samples import SampleTable
from singleshot.data.masks import cityscapes, kitti_road, outlines, roboflow
from singleshot.data.masks import folders as mask_folders
from singleshot.data.splits import joined
from singleshot.data.tree import ALL, SPLIT_OF, probe
from singleshot.errors import InputMissingError, NotPermittedError, SingleshotError, UsageError, os_errors
from singleshot.images import IMAGE_SUFFIXES, pixel_limit
from singleshot.structures import Dataset, LabelMap

Layout = Literal[
    "voc", "coco", "yolo", "kitti_road", "cityscapes", "masks", "voc_xml", "labelme", "csv", "kitti_objects",
    "cvat", "label_studio", "via", "imagefolder", "roboflow_masks", "labelme_masks",
]  # fmt: skip
MASKS: tuple[Layout, ...] = ("masks", "cityscapes", "kitti_road", "roboflow_masks", "labelme_masks")
"""Layouts with masks, in the order in which they are tried where masks are wanted."""
PROBED: tuple[Layout, ...] = (
    *("voc_xml", "labelme", "csv", "kitti_objects"),
    *("cvat", "label_studio", "via", "imagefolder"),
)
"""Layouts that are recognised by files anywhere below a folder: too slow to try on every folder nearby."""
MAX_NEARBY = 200
MAX_COUNTED = 5000
_REMEDIES = {
    ".txt": "If these are YOLO labels, add classes.txt with the name of a class in every line",
    ".xml": "Export Pascal VOC, whose files begin with <annotation>, or CVAT for images 1.1",
    ".json": "Export LabelMe, COCO or YOLO, or the JSON of Label Studio or VIA; if it is one of these, it is damaged",
    ".jsonl": "Call it metadata.jsonl and give each line `file_name` and `objects`",
    ".csv": "Begin it with the header filename,width,height,class,xmin,ymin,xmax,ymax",
    ".tfrecord": "TFRecord is not read; export COCO or Pascal VOC",
    ".record": "TFRecord is not read; export COCO or Pascal VOC",
    ".parquet": "Parquet is not read; export COCO or imagefolder",
    ".zip": "Unpack it",
}
"""By the suffix of files that are in no layout: what to do about them."""
_YEAR = re.compile(r"(?:-dev)?[0-9]{4}$")


class Reader(NamedTuple):
    """How one layout is read.

    Args:
        title: its name in messages.
        fits: whether a folder (or a file that stands for one) has this layout.
        splits: the names of its splits.
        read: `read(root, split, **options)`.
        options: the options of `data.read.read` that its `read` takes.
        sources: the files and folders that a split's samples depend on; None if the layout is not cached.
    """

    title: str
    fits: Callable[[Path], bool]
    splits: Callable[[Path], list[str]]
    read: Callable[..., Dataset]
    options: tuple[str, ...] = ()
    sources: Callable[[Path, str], Iterable[Path]] | None = None


BOXES = ("label_map", "annotated")
# The likeliest first: a VOC folder with masks is a data set of boxes, unless masks are asked for.
READERS: dict[Layout, Reader] = {
    "voc": Reader("Pascal VOC", voc.fits, voc.splits, voc.read, (*BOXES, "allow_unlabelled", "fix_boxes"), voc.sources),
    "coco": Reader("COCO json", coco.fits, coco.splits, coco.read, (*BOXES, "with_images"), coco.sources),
    "yolo": Reader("YOLO txt", yolo.fits, yolo.splits, yolo.read, BOXES, yolo.sources),
    "kitti_road": Reader("KITTI road", kitti_road.looks_like, lambda _: list(kitti_road.SPLITS), kitti_road.read),
    "cityscapes": Reader(
        "Cityscapes", cityscapes.looks_like, cityscapes.splits, cityscapes.read, options=("annotated",)
    ),
    # Before `masks`: a VOC folder whose lists of boxes are gone may still have lists of masks.
    "voc_xml": Reader(
        "Pascal VOC without lists",
        voc_unlisted.fits,
        voc_unlisted.splits,
        voc_unlisted.read,
        (*BOXES, "allow_unlabelled", "fix_boxes"),
        voc_unlisted.sources,
    ),
    "masks": Reader("images and masks", mask_folders.looks_like, mask_folders.splits, mask_folders.read),
    "roboflow_masks": Reader("Roboflow masks", roboflow.looks_like, roboflow.splits, roboflow.read),
    "labelme": Reader(
        "LabelMe json",
        labelme.fits,
        labelme.splits,
        labelme.read,
        ("label_map", "allow_unlabelled"),
        labelme.sources,
    ),
    "kitti_objects": Reader(
        "KITTI object labels",
        kitti_objects.fits,
        kitti_objects.splits,
        kitti_objects.read,
        ("label_map", "allow_unlabelled"),
        kitti_objects.sources,
    ),
    "csv": Reader(
        "CSV with a header", csv_boxes.fits, csv_boxes.splits, csv_boxes.read, ("label_map",), csv_boxes.sources
    ),
    "cvat": Reader("CVAT for images", cvat.fits, cvat.splits, cvat.read, ("label_map",), cvat.sources),
    "label_studio": Reader(
        "Label Studio json",
        label_studio.fits,
        label_studio.splits,
        label_studio.read,
        ("label_map", "allow_unlabelled"),
        label_studio.sources,
    ),
    "via": Reader("VIA", via.fits, via.splits, via.read, ("label_map",), via.sources),
    "imagefolder": Reader(
        "Hugging Face imagefolder",
        imagefolder.fits,
        imagefolder.splits,
        imagefolder.read,
        ("label_map",),
        imagefolder.sources,
    ),
    # After `labelme`, so that outlines are masks only where masks are wanted.
    "labelme_masks": Reader("LabelMe json as masks", labelme.fits, labelme.splits, outlines.read),
}


def check_name(name: str | None) -> Layout | None:
    """Return the layout of a name as the user gave it, `-` or `_`. Raises UsageError for no such layout."""
    for layout in get_args(Layout):
        if name is not None and name.replace("-", "_").lower() == layout:
            return layout
    if name is None:
        return None
    raise UsageError(f"no layout is called {name!r}", remedy=f"--data-format takes {', '.join(get_args(Layout))}")


def recognise(root: Path | str, *, with_masks: bool = False) -> Layout:
    """Return the layout of a folder.

    Args:
        root: a folder, or the JSON or `data.yaml` of a data set.
        with_masks: images with masks are wanted; a VOC folder is then taken for its masks.

    Raises:
        InputMissingError: there is no such folder, or it has none of the layouts; the message names one nearby.
        NotPermittedError: a folder may not be listed.
    """
    root = Path(root)
    with os_errors(root, "read"):
        exists = root.exists()
    if not exists:
        raise InputMissingError("no such folder", remedy=f"Name a data set{_nearby(root)}", file=root)
    found = next(_fitting(root, with_masks), None)
    if found is None:
        known = "VOC, COCO or YOLO, KITTI road, Cityscapes, or folders of images and masks"
        message, remedy = _contents(root)
        remedy = remedy or f"Known are {known}{_nearby(root)}"
        raise InputMissingError(f"a data set in no layout that is known{message}", remedy=remedy, file=root)
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
    with_images: bool = True,
    choice: ClassChoice | None = None,
    cache: bool = True,
) -> Dataset:
    """Read one split of a data set in any layout.

    Args:
        root: the folder, or the JSON or `data.yaml` of a data set.
        split: its name there; see `splits`. For VOC also a union, see `voc.UNIONS`. `val` stands for `valid` too, and
            `all` for all splits together, unless the data set has one of that name.
        layout: the layout's name, or None to find out.
        label_map: the classes and their order; None for the data set's own. Masks always have their own.
        annotated: False for a test set whose annotations are kept by a server.
        allow_unlabelled: of VOC, see `voc.read`. In COCO and YOLO an image without labels is background anyway.
        fix_boxes: of VOC, see `voc.read`.
        with_masks: images with masks are wanted, see `recognise`.
        with_images: of COCO: False where the image files may be missing, to evaluate results.
        choice: which classes are read, and under which names; None for all, as they are.
        cache: use the cache.

    Raises what `recognise` and the layout's reader raise; UsageError for a layout that does not exist, and for a name
    of `choice` that no split of the data set has.
    """
    root = Path(root)
    if choice:
        whole = read(
            root, split,
            layout=layout, annotated=annotated, allow_unlabelled=allow_unlabelled, fix_boxes=fix_boxes,
            with_masks=with_masks, with_images=with_images, cache=cache,
        )  # fmt: skip
        if choice.strict:
            try:
                choice.check(whole.label_map.names)
            except UsageError:  # COCO has classes for each split, and another one may have these
                choice.check(class_names(root, layout=layout, with_masks=with_masks, with_images=with_images))
        return class_choice.apply(whole, choice, label_map)
    chosen = check_name(layout) or recognise(root, with_masks=with_masks)
    if chosen == "labelme" and with_masks:
        chosen = "labelme_masks"
    reader = READERS[chosen]
    if split in ("val", ALL) and root.is_dir():
        names = reader.splits(root)
        if split == ALL and ALL not in names and names:
            return read_pool(
                root, names,
                layout=layout, label_map=label_map, annotated=annotated, allow_unlabelled=allow_unlabelled,
                fix_boxes=fix_boxes, with_masks=with_masks, with_images=with_images, cache=cache,
            )  # fmt: skip
        if split == "val" and "val" not in names:
            split = next((name for name in ("valid", "validation") if name in names), split)
    options = {
        "label_map": label_map,
        "annotated": annotated,
        "allow_unlabelled": allow_unlabelled,
        "fix_boxes": fix_boxes,
        "with_images": with_images,
    }
    if chosen == "cityscapes" and annotated:
        options["annotated"] = None  # a split without annotations is recognised

    def build() -> Dataset:
        return reader.read(root, split, **{name: options[name] for name in reader.options})

    if reader.sources is None or not cache:
        return build()
    identity = {
        "layout": chosen,
        "root": str(root),
        "place": str(root.resolve()),
        "split": split,
        "names": None if label_map is None else label_map.names,
        "options": [annotated, with_images, allow_unlabelled, fix_boxes],
        "limits": [pixel_limit(), links_are_followed(), list(IMAGE_SUFFIXES)],
    }
    return dataset_cache.cached(identity, reader.sources(root, split), build)


def read_pool(root: Path | str, names: Sequence[str] | None = None, **options: Any) -> Dataset:
    """Read several splits as one, each image once; None for all splits of the folder. Takes the options of `read`.

    Raises InputMissingError where there is no split, and what `read` raises.
    """
    root = Path(root)
    layout, with_masks = options.get("layout"), options.get("with_masks", False)
    names = splits(root, layout=layout, with_masks=with_masks) if names is None else names
    if not names:
        raise InputMissingError("no split", remedy="Name one by --split", file=root)
    parts: list[tuple[str, Dataset]] = []
    label_map: LabelMap | None = options.get("label_map")
    # COCO's files, and the folders of a VOCdevkit, have classes of their own each. Elsewhere those of one split are
    # those of the whole folder, and need not be collected from all its annotations once more.
    chosen = check_name(layout) or recognise(root, with_masks=with_masks)
    is_shared = chosen != "coco" and not (chosen == "voc" and len(voc.folders_in(root)) > 1)
    for name in names:
        of_part: dict[str, Any] = {**options, "label_map": label_map}
        part = read(root, name, **of_part)
        label_map = part.label_map if is_shared else label_map
        parts.append((name, part))
    first = parts[0][1]
    if len(parts) == 1:
        return first
    ids: dict[str, int | None] = {}
    for _, part in parts:
        for name, category_id in zip(part.label_map.names, part.category_ids or repeat(None), strict=False):
            ids.setdefault(name, category_id)
    in_order = LabelMap(tuple(ids)) if first.category_ids else None
    whole = joined(root, ALL, parts, label_map or in_order)
    category_ids = tuple(ids[name] for name in whole.label_map.names) if first.category_ids else ()
    return replace(whole, mask_code=first.mask_code, colours=first.colours, category_ids=category_ids)


def class_names(root: Path | str, **options: Any) -> tuple[str, ...]:
    """Return the class names of all splits that can be read, each once. Takes the options of `read`."""
    layout, with_masks = options.get("layout"), options.get("with_masks", False)
    names: dict[str, None] = {}
    for split in splits(root, layout=layout, with_masks=with_masks):
        with contextlib.suppress(SingleshotError):  # whoever reads that split is told
            names |= dict.fromkeys(read(root, split, **options).label_map.names)
    return tuple(names)


def usual_name(split: str) -> str:
    """Return `train`, `val` or `test` for a split of that kind; any other name unchanged.

    >>> usual_name("valid"), usual_name("val2017"), usual_name("Validation"), usual_name("mine")
    ('val', 'val', 'val', 'mine')
    """
    return SPLIT_OF.get(_YEAR.sub("", split.lower()), split)


def choose(root: Path | str, preferred: Sequence[str], *, layout: str | None = None, with_masks: bool = False) -> str:
    """Return the split to use where the user names none: the first of `preferred` that exists, the only one, or `all`.

    Raises InputMissingError where there is no split, and what `splits` raises.
    """
    root = Path(root)
    names = splits(root, layout=layout, with_masks=with_masks)
    usual = {usual_name(name): name for name in reversed(names)}
    for name in preferred:
        if name in usual:
            return name if name in names else usual[name]
    if not names:
        raise InputMissingError("no split", remedy="Name one by --split", file=root)
    return names[0] if len(names) == 1 else ALL


def splits(root: Path | str, *, layout: str | None = None, with_masks: bool = False) -> list[str]:
    """Return the names of a data set's splits; without VOC's lists of single classes.

    Raises what `recognise` raises, UsageError for a layout that does not exist, and InputMissingError where a folder is
    not of the layout that was named and its splits are read from it (YOLO, Cityscapes); else it has none.
    """
    root = Path(root)
    return READERS[check_name(layout) or recognise(root, with_masks=with_masks)].splits(root)


def describe(dataset: Dataset) -> str:
    """Return what a folder was taken for, its counts, its class table and its warnings by kind, as lines of text."""
    table = SampleTable.from_samples(dataset.samples)
    title = next((reader.title for name, reader in READERS.items() if name == dataset.layout), dataset.layout)
    also = alternatives(dataset.root, dataset.layout, masks=dataset.mask_code is not None)
    head = f"{dataset.root}: taken for {title}{also}, split {dataset.split}"
    names = dataset.label_map.names
    head += f": {len(dataset)} images, {len(names)} classes"
    if len(table.mask_paths):
        return f"{head}, with masks\n  {' · '.join(names)}{_warnings(dataset)}"
    counts = np.bincount(table.class_ids, minlength=len(names)).tolist()
    empty = int((np.diff(table.box_ends) == 0).sum())
    head += f", {len(table.class_ids)} objects"
    head += f" ({int(table.difficult.sum())} difficult)" if table.difficult.any() else ""
    head += f", {empty} images without objects" if empty else ""
    listed = " · ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    return f"{head}\n  {listed}{_warnings(dataset)}"


def others(root: Path, layout: str, *, masks: bool = False) -> list[Layout]:
    """Return the other layouts that a folder fits, the likeliest first: each could be chosen by its name.

    Args:
        root: the folder, or the file that stands for it.
        layout: the one that was taken.
        masks: whether that has masks. Layouts with boxes and those with masks are not alternatives: what is trained
            decides between them. Nor are VOC's lists and its XML without them.
    """
    found: list[Layout] = []
    for name, reader in READERS.items():
        is_kind = (name in MASKS) == masks and name != layout and {name, layout} != {"voc", "voc_xml"}
        if is_kind and reader.fits(root):
            found.append(name)
    return found


def alternatives(root: Path, layout: str, *, masks: bool = False) -> str:
    """Return how to choose the other layouts that a folder fits, in brackets to follow its name; "" for none."""
    found = others(root, layout, masks=masks)
    return "".join(f" (it fits {READERS[name].title} too: --data-format {name})" for name in found)


def _warnings(dataset: Dataset) -> str:
    """Return a line with the number of warnings of each kind, which stop nothing; "" for none."""
    kinds = Counter(fault.kind for fault in dataset.faults if fault.severity == "warning")
    counts = [
        f"{count} {kind}{' (left out)' if kind in LEFT_OUT_WARNINGS else ''}" for kind, count in kinds.most_common()
    ]
    return f"\n  warnings: {', '.join(counts)}" if counts else ""


def _fitting(root: Path, with_masks: bool) -> Iterator[Layout]:
    """Yield the layouts that a folder fits, the likeliest first."""
    known: list[Layout] = list(READERS)
    if with_masks:
        known = [*MASKS, *(layout for layout in reversed(known) if layout not in MASKS)]
    for layout in known:
        with os_errors(root, "read"):
            fits = READERS[layout].fits(root)
        if fits:
            yield layout


def _contents(root: Path) -> tuple[str, str]:
    """Return what a folder in no known layout has, to follow a message, and the remedy if that shows one."""
    if not root.is_dir():
        return "", ""
    paths = list(probe(root, MAX_COUNTED))
    images = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in paths)
    stems = {path.stem for path in paths if path.suffix.lower() in IMAGE_SUFFIXES}
    of_images = Counter(path.suffix.lower() for path in paths if path.stem in stems)
    others = {suffix: of_images[suffix] for suffix in (".txt", ".xml", ".json") if of_images[suffix]}
    if not images and not paths and any(path.is_symlink() for path in root.iterdir()):
        return ": there are only links below it", "Put copies in their place, or use --follow-links"
    if not images:
        found = next((suffix for suffix in _REMEDIES if any(path.suffix.lower() == suffix for path in paths)), "")
        remedy = _REMEDIES[found] if found in (".tfrecord", ".record", ".parquet", ".zip") else ""
        remedy = f"Put the images into it{_nearby(root)}" if found and not remedy else remedy
        return (": there is no image below it", remedy) if paths else (": it is empty", "")
    apart = Counter(path.suffix.lower() for path in paths if path.stem not in stems)
    known = [suffix for suffix in _REMEDIES if others.get(suffix)]
    known += [suffix for suffix in _REMEDIES if suffix not in known and suffix != ".txt" and apart[suffix]]
    counts = ", ".join(
        [f"{images} images", *(f"{count} {suffix} of the same names" for suffix, count in others.items())]
        + [f"{apart[suffix]} {suffix}" for suffix in known if suffix not in others]
    )
    if known and (others or not _nearby(root)):  # else those files may be the other folder's
        return f": {counts}", _REMEDIES[known[0]]
    if not known and not any(path.suffix.lower() in (".txt", ".yaml", ".png") for path in paths):
        return f": {counts} and no annotations", f"Annotate them, see docs/how-to/own-data.md{_nearby(root)}"
    return f": {counts}", ""


def _nearby(root: Path) -> str:
    """Name a folder in a known layout below, above or beside one that has none."""
    parent = root.resolve().parent
    for near in [*subfolders(root), parent, *subfolders(parent)][:MAX_NEARBY]:
        try:
            readers = (reader for name, reader in READERS.items() if name not in PROBED)
            found = next((reader for reader in readers if reader.fits(near)), None)
        except NotPermittedError:
            continue
        if found is not None:
            return f"; {near} looks like {found.title}"
    return ""
