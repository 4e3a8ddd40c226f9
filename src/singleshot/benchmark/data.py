"""The pictures of a workload: the user's, or street scenes drawn once at the real sets' picture sizes.

Drawn pictures lie in the user's cache, never in a data folder. Their files have the real sets' formats and about
their sizes in bytes, so decoding costs what it costs there. A few hundred different ones are repeated to an epoch,
each time read and decoded anew; they will be in the system's file cache, as data on a RAM disk would be.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from singleshot.benchmark.workloads import Workload
from singleshot.data import read
from singleshot.errors import InputMissingError, NotPermittedError, StorageError
from singleshot.storage.cache import cache_folder
from singleshot.streets.scene import scene
from singleshot.streets.traffic import CLASS_NAMES, MASK_NAMES
from singleshot.structures import UNKNOWN, Dataset, LabelMap, MaskCode, Sample

VERSION = 1  # to be raised when other pictures are drawn
JPEG_QUALITY = 95
INDEX = "index.json"
_YEAR = re.compile(r"(19|20)\d\d$")
# What is drawn, in the words of the real sets; the rest is their first class.
_IN_VOC = {"car": "car", "pedestrian": "person", "traffic light": "bottle"}
_IN_CITYSCAPES = {"pavement": "sidewalk", "pedestrian": "person"}


@dataclass(frozen=True)
class WorkloadData:
    """What an epoch reads.

    Args:
        train: the pictures to learn from, in the number that an epoch has.
        val: those of the validation pass; None where there are none.
        source: what they are, for the report.
    """

    train: Dataset
    val: Dataset | None
    source: str


def given(workload: Workload, root: Path) -> WorkloadData:
    """The user's data: its own counts and picture sizes, and the workload's network and batch.

    Raises:
        InputMissingError: no split to train on, or what `read.read` says.
    """
    names = read.splits(root, with_masks=workload.of_pixels)
    kinds = {name: _YEAR.sub("", name) for name in names}  # COCO's train2017
    train = next((name for wanted in ("train", "trainval") for name in names if kinds[name].endswith(wanted)), None)
    if train is None:
        remedy = f"Its splits are: {', '.join(names) or 'none'}"
        raise InputMissingError("no split train or trainval", remedy=remedy, file=root)
    learnt = read.read(root, train, with_masks=workload.of_pixels)
    val = next((name for name, kind in kinds.items() if kind.endswith("val") and not kind.endswith("trainval")), None)
    judged = None
    if val is not None:
        judged = read.read(root, val, with_masks=workload.of_pixels, label_map=learnt.label_map)
    return WorkloadData(learnt, judged, f"{root.name}: {len(learnt)} pictures of {train}")


def drawn(workload: Workload, on_progress: Callable[[int, int], None] | None = None) -> WorkloadData:
    """Drawn street scenes, from the cache or drawn now.

    Args:
        workload: says size, format and number.
        on_progress: called with (pictures done, pictures in all) where they are drawn now.

    Raises:
        NotPermittedError, StorageError: the cache cannot be written.
    """
    folder = _folder(workload)
    if not (folder / INDEX).is_file():
        _draw(workload, folder, on_progress)
    rows = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    samples = [_sample(workload, folder, row) for row in rows]
    shared = {"layout": "streets", "label_map": LabelMap(workload.class_names), "mask_code": _code(workload)}
    train = Dataset(folder, split="train", samples=_repeated(samples, workload.train_images), **shared)
    val = Dataset(folder, split="val", samples=_repeated(samples[::-1], workload.val_images), **shared)
    height, width = workload.picture_size_hw
    kind = {"jpg": "JPEG", "png": "PNG"}[workload.picture_format]
    return WorkloadData(
        train, val, f"drawn: {len(samples)} {kind} files of {width}×{height}, repeated to {len(train)} pictures"
    )


def _folder(workload: Workload) -> Path:
    height, width = workload.picture_size_hw
    name = f"streets-{height}x{width}-{workload.picture_format}-{workload.drawn}-v{VERSION}"
    return cache_folder("benchmark", name)


def _draw(workload: Workload, folder: Path, on_progress: Callable[[int, int], None] | None) -> None:
    """Draw into a folder beside it, which then takes its name: it appears whole or not at all."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    rows = []
    try:
        unfinished.mkdir(parents=True)
        for index in range(workload.drawn):
            seen = scene(0, "train", index, size_hw=workload.picture_size_hw)
            name = f"{index:05d}.{workload.picture_format}"
            options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY) if name.endswith("jpg") else ()
            picture = cv2.imencode(f".{workload.picture_format}", cv2.cvtColor(seen.image, cv2.COLOR_RGB2BGR), options)
            mask = cv2.imencode(".png", seen.mask)
            (unfinished / name).write_bytes(picture[1].tobytes())
            (unfinished / f"{index:05d}_mask.png").write_bytes(mask[1].tobytes())
            labels = [CLASS_NAMES[class_id] for class_id in seen.class_ids]
            rows.append({"picture": name, "boxes_xyxy": seen.boxes_xyxy.tolist(), "labels": labels})
            if on_progress is not None:
                on_progress(index + 1, workload.drawn)
        (unfinished / INDEX).write_text(json.dumps(rows), encoding="utf-8")
        if folder.exists() and not (folder / INDEX).is_file():  # not ours to use
            shutil.rmtree(folder)
        try:
            unfinished.rename(folder)
        except OSError:
            if not (folder / INDEX).is_file():
                raise  # and if it is, another run has drawn the same pictures meanwhile
    except PermissionError as error:
        raise NotPermittedError("no permission to write", remedy="Set SINGLESHOT_CACHE", file=folder) from error
    except OSError as error:
        raise StorageError(f"writing failed ({error.strerror or error})", remedy="Free space", file=folder) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sample(workload: Workload, folder: Path, row: dict) -> Sample:
    names = workload.class_names
    labels = [names.index(wanted) if (wanted := _IN_VOC.get(label)) in names else 0 for label in row["labels"]]
    stem = Path(row["picture"]).stem
    return Sample(
        stem,
        folder / row["picture"],
        workload.picture_size_hw,
        np.array(row["boxes_xyxy"], dtype=np.float32).reshape(-1, 4),
        np.array(labels, dtype=np.int64),
        np.zeros(len(labels), dtype=bool),
        mask_path=folder / f"{stem}_mask.png" if workload.of_pixels else None,
    )


def _code(workload: Workload) -> MaskCode | None:
    """What the drawn masks' values mean in the workload's classes."""
    if not workload.of_pixels:
        return None
    names = [_IN_CITYSCAPES.get(name, name) for name in MASK_NAMES]
    ids = [workload.class_names.index(name) if name in workload.class_names else 0 for name in names]
    return MaskCode(tuple(ids) + (UNKNOWN,) * (256 - len(ids)))


def _repeated(samples: list[Sample], count: int) -> list[Sample]:
    return [replace(samples[place % len(samples)], image_id=f"{place:06d}") for place in range(count)]
