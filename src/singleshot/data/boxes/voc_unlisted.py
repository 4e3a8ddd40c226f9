"""Pascal VOC's XML without VOC's lists: beside the images or in a folder of its own, with or without splits' folders.

labelImg leaves `a.jpg` and `a.xml` in one folder, Roboflow's VOC export in one for each split, and many data sets have
`images/` and `annotations/`; all of these, and deeper folders, are read by the rules of `data.tree`. What the XML says
about file and folder is not used, as in `voc`; its corners are VOC's, 1-based and inclusive.
"""

from __future__ import annotations

from pathlib import Path

from singleshot.data import tree
from singleshot.data.boxes import records, voc_xml
from singleshot.data.boxes.check_box import INCLUSIVE
from singleshot.data.boxes.records import Object, Record
from singleshot.data.boxes.voc_xml import Annotation
from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault, InputMissingError, NotPermittedError
from singleshot.storage.files import opened
from singleshot.structures import Dataset, LabelMap

LAYOUT = "voc_xml"
_HEAD_BYTES = 2048


def read(
    root: Path | str,
    split: str,
    *,
    label_map: LabelMap | None = None,
    annotated: bool = True,
    allow_unlabelled: bool = False,
    fix_boxes: bool = False,
) -> Dataset:
    """Read one split of a folder of images and VOC's XML, in the order of the images' paths.

    Args:
        root: the folder.
        split: `train`, `val` or `test`, where folders have such names; `all` for images in no such folder.
        label_map: the classes and their order. Where None, those of all annotations below `root`, sorted.
        annotated: False for images without annotations.
        allow_unlabelled: take an image without XML for one without objects; else it is left out.
        fix_boxes: swap the corners of an inverted box and use it; else it is left out.

    Returns:
        Samples as `voc.read` gives them; `box_places` are lines. Kinds of fault as there, and
        `annotation-without-picture` (a warning) for XML without an image.

    Raises:
        InputMissingError: no such folder or split.
        DataError: the split is empty (`empty-split`).
        NotPermittedError: a folder or file may not be read.
    """
    root = Path(root)
    if not annotated:
        label_map = label_map or LabelMap(())

    def records_of(pairs: tree.Pairs) -> tuple[list[Record], list[Fault]]:
        if not annotated:
            return [Record(image, image, None, ()) for image in pairs.files], []
        return _records(pairs, allow_unlabelled, fix_boxes)

    return records.read_paired(root, split, LAYOUT, ".xml", records_of, label_map, INCLUSIVE)


def _records(pairs: tree.Pairs, allow_unlabelled: bool, fix_boxes: bool) -> tuple[list[Record], list[Fault]]:
    """Return the annotated images of a split, and what is wrong with the files of the others."""
    found, faults = [], []
    for image, file in pairs.files.items():
        if file is None:
            if allow_unlabelled:
                found.append(Record(image, image, None, ()))
            continue
        try:
            annotation = voc_xml.read(file)
        except DataError as error:
            faults.append(error.as_fault())
            continue
        faults += annotation.faults
        objects, swapped = _objects(annotation, file, fix_boxes)
        faults += swapped
        found.append(Record(image, file, annotation.size_hw, objects))
    without = [image for image, file in pairs.files.items() if file is None]
    faults += records.unlabelled(without, ".xml", allow=allow_unlabelled)
    faults += [make_fault("annotation-without-picture", "has no image of its name", file) for file in pairs.alone]
    return found, faults


def _objects(annotation: Annotation, file: Path, fix_boxes: bool) -> tuple[list[Object], list[Fault]]:
    """Return the objects of an annotation, with the corners of inverted boxes swapped if that is wanted."""
    objects, faults = [], []
    for item in annotation.objects:
        xmin, ymin, xmax, ymax = item.corners
        written = f"{xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}"
        if fix_boxes and (xmax < xmin or ymax < ymin):
            message = f"box ({written}) of class {item.name!r} is inverted; its corners are swapped"
            faults.append(make_fault("swapped-box", message, file, item.box_line))
            xmin, ymin, xmax, ymax = min(xmin, xmax), min(ymin, ymax), max(xmin, xmax), max(ymin, ymax)
        box_xyxy = (xmin - 1, ymin - 1, xmax, ymax)
        objects.append(
            Object(
                item.name, box_xyxy, item.box_line,
                difficult=item.difficult, name_line=item.name_line, written=written,
            )
        )  # fmt: skip
    return objects, faults


# ---- Folders


def fits(root: Path) -> bool:
    """Return whether the first XML file below a folder is an annotation of VOC, and there are images."""
    if not root.is_dir():
        return False
    first = next((path for path in tree.probe(root, of_each=1000) if path.suffix.lower() == ".xml"), None)
    if first is None:
        return False
    try:
        with opened(first) as stream:
            head = stream.read(_HEAD_BYTES)
    except (DataError, InputMissingError, NotPermittedError):
        return False
    return (b"<annotation>" in head or b"<annotation " in head) and tree.has_images(root)


def splits(root: Path) -> list[str]:
    """Return the splits that folders name; `all` for images in no such folder."""
    return tree.splits_of(tree.read_tree(root, ".xml").images, root)


def sources(root: Path, _split: str) -> list[Path]:
    """Return the folders that a split's samples depend on, for the cache."""
    return [root]
