"""What is wrong with a data set: every fault with its file, line and kind, before an hour of training finds it.

The audit reads what training would read and more: all splits and what is in none of them, every annotation, and every
picture to its last byte (a JPEG cut in half is a picture to most decoders). Nothing is written to the data folder.
What is unusual but clean (grey pictures, fractional corners, pictures without objects) raises no warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from singleshot.data import read, unions
from singleshot.data.boxes import coco_folder
from singleshot.data.check import dataset, voc
from singleshot.data.check.report import Audit, in_order
from singleshot.errors import DataError, Fault, InputMissingError, UsageError, sentence
from singleshot.structures import Dataset, LabelMap

Progress = Callable[[int, int], None]


def audit(
    root: Path | str,
    *,
    data_format: str | None = None,
    split: str | None = None,
    classes: tuple[str, ...] | None = None,
    allow_unlabelled: bool = False,
    processes: int = 0,
    progress: Progress | None = None,
) -> Audit:
    """Everything that is wrong with a data set.

    Args:
        root: its folder.
        data_format: its layout, see `layouts`; None to find out.
        split: look at one split (of VOC also a union) alone; None for everything that is there.
        classes: the classes that there may be; None for those of the data set. Not for masks, which have a list.
        allow_unlabelled: a picture without annotation is background, and nothing is said of it.
        processes: how many decode pictures, safe from crashes of the decoder; 0 to do it in this one. A script that
            uses some needs the guard `if __name__ == "__main__":`.
        progress: called with the files done so far and their number.

    Raises:
        InputMissingError: no such folder or layout, not the split that was named, or none of them.
        UsageError: `classes` for a data set of masks.
        NotPermittedError: a folder may not be listed.
        StoppedError: the processes cannot be started.
    """
    root = Path(root)
    layout = read.check_name(data_format) or read.recognise(root)
    if classes is not None and layout not in ("voc", "coco", "yolo"):
        raise UsageError(f"the classes of {read.TITLES[layout]} are given", remedy="Leave --classes out", file=root)
    if layout != "voc":
        names = [split] if split is not None else read.splits(root, layout=layout)
        if not names:
            raise InputMissingError("no split", remedy="Name one by --split", file=root)
        datasets, faults = _read(root, layout, names, None if classes is None else LabelMap(classes))
        if faults and (split is not None or not datasets) and faults[0].kind == "missing-split":
            raise InputMissingError(faults[0].message, file=faults[0].file, line=faults[0].line)
        found = dataset.audit(datasets, processes=processes, progress=progress) if datasets else None
        return _joined(layout, [found] if found else [], faults)
    audits = [
        voc.audit(
            folder,
            split=name,
            classes=classes,
            allow_unlabelled=allow_unlabelled,
            processes=processes,
            progress=progress,
        )
        for folder, name in _voc_parts(root, split)
    ]
    return _joined(layout, audits, [])


def _voc_parts(root: Path, split: str | None) -> Sequence[tuple[Path, str | None]]:
    """The folders to look at, and in each the list or None for all of it."""
    if split is not None and unions.is_union(root, split):
        return unions.parts(root, split)
    return [(folder, split) for folder in unions.folders(root) or [root]]


def _read(
    root: Path, layout: str, names: Sequence[str], label_map: LabelMap | None
) -> tuple[list[Dataset], list[Fault]]:
    """The splits that can be read at all, and the faults of those that cannot."""
    datasets, faults = [], []
    for name in names:
        # COCO's test sets come as image_info_test2017.json, without annotations.
        file = coco_folder.split_files(root).get(name) if layout == "coco" else None
        annotated = file is None or not file.name.startswith("image_info")
        try:
            options = {"layout": layout, "label_map": label_map, "annotated": annotated}
            datasets.append(read.read(root, name, **options, cache=False))
        except InputMissingError as error:
            what = f"{error.message}. {sentence(error.remedy or 'Add it')}"
            faults.append(Fault(error.file or root, error.line, "missing-split", "fatal", what))
        except DataError as error:
            if error.file is None:
                raise
            faults.append(error.as_fault())
    if layout == "kitti_road" and datasets:  # its splits are a convention, and need not all be there
        faults = [fault for fault in faults if fault.kind != "empty-split"]
    return datasets, faults


def _joined(layout: str, audits: Sequence[Audit], faults: Sequence[Fault]) -> Audit:
    if len(audits) == 1 and not faults:
        return audits[0]

    def every() -> Iterator[Fault]:
        for each in audits:
            yield from each.faults
        yield from faults

    names = dict.fromkeys(name for each in audits for name in each.classes)
    images, objects = sum(each.images for each in audits), sum(each.objects for each in audits)
    return Audit(layout, images, objects, tuple(names), in_order(every()))
